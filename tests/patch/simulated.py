"""A disk in memory that loses what was not synced: sector by sector, in any order, as a power cut may."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from deltasync.fs.identity import Identity
from deltasync.patch.attributes import NOTHING_LOST, Attributes, Lost

__all__ = ["PowerCut", "SimulatedDisk"]

SECTOR = 512


class PowerCut(BaseException):
    """The power went out; nobody may catch this on the way."""


@dataclass
class _File:
    """A file: what is seen of it, what is on the disk, and what is on its way there, in order (a sector, or a length under None)."""

    inode: int
    size: int = 0
    sectors: dict[int, bytes] = field(default_factory=dict)
    kept_size: int = 0
    kept: dict[int, bytes] = field(default_factory=dict)
    pending: list[tuple[int | None, bytes | int]] = field(default_factory=list)
    changes: int = 0


class SimulatedDisk:
    """The operations of `deltasync.patch.disk.Disk` on one directory in memory.

    Args:
        rng: Decides what survives.
        cut_after: The power goes out before the operation of this number, counted from 0; None for never.
        fails: Told the name of each operation, and may raise in its place.
    """

    def __init__(self, rng: random.Random, cut_after: int | None = None, fails: Callable[[str], None] = lambda _: None) -> None:
        self.rng = rng
        self.cut_after = cut_after
        self.fails = fails
        self.operations = 0
        self.log: list[str] = []
        self._names: dict[bytes, _File] = {}
        self._kept_names: dict[bytes, _File] = {}
        self._pending_names: list[tuple[bytes, _File | None]] = []
        self._open: dict[int, _File] = {}
        self._next = 1000

    # For the test -------------------------------------------------------------------------------------------------------------------

    def put(self, name: bytes, content: bytes) -> Identity:
        """Have a file that is safely on the disk."""
        self._next += 1
        file = _File(self._next)
        for at in range(0, len(content), SECTOR):
            file.sectors[at // SECTOR] = content[at : at + SECTOR].ljust(SECTOR, b"\0")
        file.size = len(content)
        file.kept, file.kept_size = dict(file.sectors), file.size
        self._names[name] = self._kept_names[name] = file
        return self._identity(file)

    def content(self, name: bytes) -> bytes:
        """Return what a reader sees."""
        return self._read(self._names[name], 0, self._names[name].size)

    def names(self) -> set[bytes]:
        """Return the names that are there."""
        return set(self._names)

    def overwrite(self, name: bytes, at: int, data: bytes) -> None:
        """Have somebody else write to a file, safely."""
        file = self._names[name]
        self._store(file, at, data)
        self._settle(file)

    def after_power_cut(self) -> SimulatedDisk:
        """Return the disk as it is found afterwards."""
        found = SimulatedDisk(self.rng)
        found._next = self._next
        names = dict(self._kept_names)
        # Names are kept by a log of the filesystem: some of the last changes may be missing, none from between.
        for name, file in self._pending_names[: self.rng.randint(0, len(self._pending_names))]:
            _put(names, name, file)
        chance = self.rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        for name, file in names.items():
            kept, size = dict(file.kept), file.kept_size
            for sector, value in file.pending:
                if self.rng.random() < chance:
                    if sector is None:
                        assert isinstance(value, int)
                        size = value
                        kept = {number: content for number, content in kept.items() if number * SECTOR < size}
                    else:
                        assert isinstance(value, bytes)
                        kept[sector] = value
            reborn = _File(file.inode, size, dict(kept), size, kept)
            found._names[name] = found._kept_names[name] = reborn
        return found

    # The operations -----------------------------------------------------------------------------------------------------------------

    def _step(self, what: str) -> None:
        if self.cut_after is not None and self.operations >= self.cut_after:
            raise PowerCut
        self.operations += 1
        self.log.append(what)
        self.fails(what)

    def create(self, dir_fd: int, name: bytes) -> int:
        """See `Disk`."""
        self._step("create")
        if name in self._names:
            raise FileExistsError(errno.EEXIST, "exists", name)
        self._next += 1
        self._name(name, _File(self._next))
        return self.open(dir_fd, name)

    def open(self, dir_fd: int, name: bytes) -> int:
        """See `Disk`."""
        self._step("open")
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        self._next += 1
        self._open[self._next] = self._names[name]
        return self._next

    def close(self, fd: int) -> None:
        """See `Disk`."""
        del self._open[fd]

    def hold_directory(self, dir_fd: int) -> int:
        """See `Disk`."""
        return dir_fd

    def let_go(self, dir_fd: int) -> None:
        """See `Disk`."""

    def lock(self, fd: int) -> bool:
        """See `Disk`."""
        return True

    def lease(self, fd: int) -> bool:
        """See `Disk`."""
        return True

    def release(self, fd: int) -> None:
        """See `Disk`."""

    def identity(self, fd: int) -> Identity:
        """See `Disk`."""
        return self._identity(self._open[fd])

    def identity_at(self, dir_fd: int, name: bytes) -> Identity:
        """See `Disk`."""
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return self._identity(self._names[name])

    def read(self, fd: int, at: int, buffer: memoryview) -> int:
        """See `Disk`."""
        self._step("read")
        data = self._read(self._open[fd], at, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, fd: int, at: int, data: memoryview) -> int:
        """See `Disk`; now and then it writes less than it was given, up to the end of a sector."""
        self._step("write")
        take = len(data)
        if self.rng.random() < 0.1:
            end = at + self.rng.randint(1, len(data))
            take = max(end - end % SECTOR - at, min(SECTOR - at % SECTOR, take))
        self._store(self._open[fd], at, bytes(data[:take]))
        return take

    def has_holes(self, fd: int) -> bool:
        """See `Disk`."""
        return True

    def reserve(self, fd: int, at: int, length: int) -> None:
        """See `Disk`."""
        self._step("reserve")

    def truncate(self, fd: int, size: int) -> None:
        """See `Disk`."""
        self._step("truncate")
        self._resize(self._open[fd], size)

    def dress(self, fd: int, attributes: Attributes) -> Lost:
        """See `Disk`."""
        self._step("dress")
        return NOTHING_LOST

    def status(self, fd: int) -> os.stat_result:
        """See `Disk`."""
        return os.stat_result((0o100644, self._open[fd].inode, 1, 1, 0, 0, self._open[fd].size, 0, 0, 0))

    def sync(self, fd: int) -> None:
        """See `Disk`."""
        self._step("sync")
        self._settle(self._open[fd])

    def sync_directory(self, dir_fd: int) -> None:
        """See `Disk`."""
        self._step("sync directory")
        self._kept_names = dict(self._names)
        self._pending_names.clear()

    def rename(self, dir_fd: int, name: bytes, to: bytes) -> None:
        """See `Disk`."""
        self._step("rename")
        file = self._names[name]
        self._name(to, file)
        self._name(name, None)

    def unlink(self, dir_fd: int, name: bytes) -> None:
        """See `Disk`."""
        self._step("unlink")
        self._name(name, None)

    # How it is kept -----------------------------------------------------------------------------------------------------------------

    def _identity(self, file: _File) -> Identity:
        return Identity(1, file.inode, file.size, file.changes, file.changes)

    def _name(self, name: bytes, file: _File | None) -> None:
        self._pending_names.append((name, file))
        _put(self._names, name, file)

    def _read(self, file: _File, at: int, length: int) -> bytes:
        end = min(at + length, file.size)
        if at >= end:
            return b""
        first = at // SECTOR
        whole = b"".join(file.sectors.get(number, bytes(SECTOR)) for number in range(first, -(-end // SECTOR)))
        return whole[at - first * SECTOR : end - first * SECTOR]

    def _store(self, file: _File, at: int, data: bytes) -> None:
        if at + len(data) > file.size:
            self._resize(file, at + len(data))
        done = 0
        while done < len(data):
            number, begin = divmod(at + done, SECTOR)
            take = min(SECTOR - begin, len(data) - done)
            old = file.sectors.get(number, bytes(SECTOR))
            file.sectors[number] = old[:begin] + data[done : done + take] + old[begin + take :]
            file.pending.append((number, file.sectors[number]))
            done += take
        file.changes += 1

    def _resize(self, file: _File, size: int) -> None:
        if size < file.size:
            file.sectors = {number: content for number, content in file.sectors.items() if number * SECTOR < size}
            if size % SECTOR and size // SECTOR in file.sectors:
                cut = file.sectors[size // SECTOR][: size % SECTOR].ljust(SECTOR, b"\0")
                file.sectors[size // SECTOR] = cut
                file.pending.append((size // SECTOR, cut))
        if size != file.size:
            file.size = size
            file.pending.append((None, size))
            file.changes += 1

    def _settle(self, file: _File) -> None:
        file.kept, file.kept_size = dict(file.sectors), file.size
        file.pending.clear()


def _put(names: dict[bytes, _File], name: bytes, file: _File | None) -> None:
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file
