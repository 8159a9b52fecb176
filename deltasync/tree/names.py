"""Names and relative paths as bytes: what is allowed, what is reserved, how they are shown. Pure.

A *name* is one component of a path; a *relative path* is names joined by `/`, and `b""` is the root itself. Whatever the peer sends
passes `check_name` or `check_path` before anything else sees it.
"""

from __future__ import annotations

import re

__all__ = [
    "MAX_NAME_BYTES",
    "MAX_PATH_BYTES",
    "RESERVED_PREFIX",
    "ROOT_NAME",
    "check_name",
    "check_path",
    "is_reserved",
    "join",
    "shown",
    "split",
]

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1 << 18
"""Longest relative path accepted: 1,024 names of 255 bytes; Linux itself limits a path by depth alone when walked by descriptors."""

RESERVED_PREFIX = b".deltasync~"
"""Names of the receiver's own (staged files, journals) begin so; they are never sent, listed or deleted as content."""

ROOT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
"""What a listener may call a root: it stands in URLs, in files and in logs as it is."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\udc80-\udcff]")


def check_name(name: bytes) -> bytes:
    """Return `name` if it is a legal single path component.

    Raises:
        ValueError: It is empty, `.` or `..`, longer than 255 bytes, or holds `/` or NUL.
    """
    if not name or len(name) > MAX_NAME_BYTES or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise ValueError(f"illegal name {shown(name[:MAX_NAME_BYTES])!r}")
    return name


def check_path(path: bytes) -> bytes:
    """Return `path` if it is a legal relative path (`b""` is the root).

    Raises:
        ValueError: It is longer than `MAX_PATH_BYTES` or one of its components is illegal (an absolute path has an empty first one).
    """
    if len(path) > MAX_PATH_BYTES:
        raise ValueError(f"path of {len(path)} bytes; the limit is {MAX_PATH_BYTES}")
    if path:
        for name in path.split(b"/"):
            check_name(name)
    return path


def is_reserved(name: bytes) -> bool:
    """Tell whether `name` is one of the receiver's own (staged files, journals)."""
    return name.startswith(RESERVED_PREFIX)


def join(parent: bytes, name: bytes) -> bytes:
    """Join a relative directory path (`b""` is the root) and a name."""
    return parent + b"/" + name if parent else name


def split(path: bytes) -> tuple[bytes, bytes]:
    """Split a relative path into its directory (`b""` for the root) and its last name."""
    parent, _, name = path.rpartition(b"/")
    return parent, name


def shown(path: bytes | str) -> str:
    r"""Return a path as one line that is safe on a terminal: bytes that are not UTF-8, and control characters, become `\xff`."""
    text = path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else path
    return _CONTROL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode())
