"""The options that change permissions and owners on the way, checked before anything is done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from deltasync.errors import UsageError
from deltasync.tree.chmod import parse_chmod
from deltasync.tree.owner_map import parse_owner_map

__all__ = ["permissions_and_owners"]

MAX_CHMOD_BYTES = 4095
MAX_MAP_BYTES = 65535


def permissions_and_owners(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that `--chmod`, `--chown`, `--usermap` and `--groupmap` come to.

    Raises:
        UsageError: One of them is malformed, or says the same as another.
    """
    found: dict[str, Any] = {}
    chmod = os.fsencode(",".join(values["chmod"]))
    if values["chmod"]:
        try:
            parse_chmod(chmod, 0)
        except ValueError as error:
            raise UsageError(f"--chmod: {error}") from error
        if len(chmod) > MAX_CHMOD_BYTES:
            raise UsageError(f"--chmod: at most {MAX_CHMOD_BYTES} bytes")
        found["chmod"] = chmod
    user, _, group = (values["chown"] or "").partition(":")
    for option, field, whole in (("usermap", "owner", user), ("groupmap", "group", group)):
        text = values[option]
        if whole and text is not None:
            raise UsageError(f"--chown and --{option} exclude each other")
        if whole and ("," in whole or ":" in whole):
            raise UsageError(f"--chown: {values['chown']!r} is not USER, USER:GROUP or :GROUP")
        if whole or text is not None:
            found[option] = _map(option, f"*:{whole}" if whole else text)
            found[field] = True
    return found


def _map(option: str, text: str) -> bytes:
    pairs = os.fsencode(text)
    try:
        if not parse_owner_map(pairs):
            raise ValueError("there is nothing in it")
    except ValueError as error:
        raise UsageError(f"--{option}: {error}") from error
    if len(pairs) > MAX_MAP_BYTES:
        raise UsageError(f"--{option}: at most {MAX_MAP_BYTES} bytes")
    return pairs
