"""Files that say what running processes of this user are doing: one each, locked as long as its process lives, in the state directory.

A file that nobody holds a lock on is of a process that is gone, however it ended; whoever reads takes it away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from deltasync.fs.home import make_private, state_directory
from deltasync.fs.locks import lock

__all__ = ["StandingFile", "standings"]

DIRECTORY = "watches"
MAX_BYTES = 1 << 16
_SUFFIX = ".json"


class StandingFile:
    """The file of this process.

    Args:
        number: Tells it from others of this process.
        directory: Where such files are; None for the place in this user's state directory.

    Raises:
        OSError: It can't be made, or there is no state directory.
    """

    def __init__(self, number: int = 0, directory: str | None = None) -> None:
        directory = directory or _directory()
        make_private(directory)
        self._path = os.path.join(directory, f"{os.getpid()}-{number}{_SUFFIX}")
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        lock(self._fd)
        self._length = 0

    def write(self, fields: Mapping[str, object]) -> None:
        """Replace what it says.

        Raises:
            OSError: It can't be written.
        """
        text = json.dumps(fields).encode()
        # One write over all of the former text: a reader finds the one or the other.
        os.pwrite(self._fd, text.ljust(self._length), 0)
        self._length = max(self._length, len(text))

    def close(self) -> None:
        """Take it away."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        os.close(self._fd)


def standings(directory: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield what each running process says; files of those that are gone are taken away.

    Raises:
        OSError: The directory can't be read, or there is no state directory.
    """
    directory = directory or _directory()
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith(_SUFFIX):
            found = _read(os.path.join(directory, name))
            if found is not None:
                yield found


def _read(path: str) -> dict[str, Any] | None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        # It ended meanwhile.
        return None
    try:
        if lock(fd):
            with suppress(FileNotFoundError):
                os.unlink(path)
            return None
        said = json.loads(os.pread(fd, MAX_BYTES, 0))
    except ValueError:
        # Its first words are not written yet.
        return None
    finally:
        os.close(fd)
    return said if isinstance(said, dict) else None


def _directory() -> str:
    state = state_directory()
    if state is None:
        raise FileNotFoundError("there is no directory for what is remembered; DELTASYNC_HOME names one")
    return os.path.join(state, DIRECTORY)
