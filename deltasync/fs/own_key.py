"""The X25519 key pair that this installation is known by: one private file, made once.

The file holds the private key as 43 characters and nothing else; mode 0600, this user's own, no symlink. A looser one is refused: who
knows what others have read meanwhile.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from deltasync.errors import StateError
from deltasync.fs.home import make_private, state_directory
from deltasync.fs.line_file import LineFile, private_text
from deltasync.tree.names import shown
from deltasync.wire.keys import KEY_BYTES, decode_secret, encode
from deltasync.wire.noise import public_key

__all__ = ["OwnKey", "home", "load", "load_or_make", "replace"]

_NAME = "key"


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key pair, 32 bytes each; the private part is not shown by `repr`."""

    private: bytes = field(repr=False)
    public: bytes


def home() -> str:
    """Return the directory of this installation, which need not exist yet.

    Raises:
        StateError: There is none.
    """
    directory = state_directory()
    if directory is None:
        raise StateError("there is no home directory of this user to keep keys in; set DELTASYNC_HOME")
    return directory


def load(directory: str) -> OwnKey | None:
    """Return the key pair, or None where there is none yet.

    Raises:
        StateError: The file is not private, or holds no key.
    """
    path = os.path.join(directory, _NAME)
    try:
        text = private_text(path, forbidden=0o077)
    except FileNotFoundError:
        return None
    try:
        private = decode_secret(text.removesuffix("\n"))
    except ValueError as error:
        raise StateError(f"{shown(path)} holds no key: {error}; deltasync key new --force makes another") from error
    return OwnKey(private, public_key(private))


def load_or_make(directory: str) -> OwnKey:
    """Return the key pair, which is made if there is none; of two processes that make one at once, both get the same.

    Raises:
        StateError: As `load`; or it can't be made.
    """
    found = load(directory)
    if found is None:
        _keep(directory, lambda before: before or [_fresh()])
        found = load(directory)
    if found is None:
        raise StateError(f"{shown(directory)}: the key that was just made is gone")
    return found


def replace(directory: str) -> OwnKey:
    """Make a new key pair in the place of whatever is there.

    Raises:
        StateError: It can't be made.
    """
    path = os.path.join(directory, _NAME)
    try:
        make_private(directory)
        # Whatever could not be used, a symlink above all, goes first; what it pointed to stays.
        if os.path.lexists(path):
            os.unlink(path)
    except OSError as error:
        raise StateError(f"{shown(path)} can't be replaced: {error.strerror}") from error
    return load_or_make(directory)


def _keep(directory: str, change: Callable[[list[str]], list[str]]) -> None:
    LineFile(directory, _NAME).update(change)


def _fresh() -> str:
    return encode(secrets.token_bytes(KEY_BYTES))
