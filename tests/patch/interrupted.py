"""Patches in place that were interrupted: a file, its journal, and nobody who has them open."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from deltasync.delta.digest import FileDigest
from deltasync.fs.identity import Identity
from deltasync.patch.disk import SystemDisk
from deltasync.patch.inplace import InPlace

__all__ = ["NEW", "OLD", "held", "interrupt"]

OLD = bytes(range(256)) * 40
EDITS = {1000: b"x" * 700, 6000: b"y" * 900}
NEW = OLD[:1000] + EDITS[1000] + OLD[1700:6000] + EDITS[6000] + OLD[6900:]


class _Failing(SystemDisk):
    """A disk that takes so many writes to one file and no more."""

    def __init__(self, writes: int) -> None:
        self._left = writes
        self.fd = -1

    def write(self, fd: int, at: int, data: memoryview) -> int:
        """See `Disk.write`."""
        if fd == self.fd:
            if not self._left:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._left -= 1
        return super().write(fd, at, data)


def _begin(path: Path, disk: SystemDisk) -> InPlace:
    path.write_bytes(OLD)
    dir_fd = os.open(path.parent, os.O_RDONLY)
    try:
        place = InPlace.create(dir_fd, os.fsencode(path.name), len(NEW), Identity.of(path.stat()), disk=disk)
    finally:
        os.close(dir_fd)
    for at, content in EDITS.items():
        place.put(at, content)
    place.complete()
    return place


def interrupt(path: Path, *, writes: int | None = 1) -> None:
    """Leave a file half patched, after so many of its two writes; None leaves it before anything was decided."""
    disk = _Failing(writes or 0)
    place = _begin(path, disk)
    if writes is None:
        place._journal.close()
        place._close()
        return
    disk.fd = place._fd
    digest = FileDigest(len(NEW))
    digest.update(NEW)
    try:
        place.seal(digest.digest(), forced=True)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    place.abandon(keep=False)


def held(path: Path) -> InPlace:
    """Begin to patch a file, and go on holding it; `abandon` ends that."""
    return _begin(path, SystemDisk())
