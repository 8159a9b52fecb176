"""The windows of a patch in place, one at a time: gathered into a record, written to the file, and compared with it after a crash."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from enum import Enum, auto

from blake3 import blake3

from deltasync.delta.order import Window, Write
from deltasync.patch.disk import Disk, read_at, write_at
from deltasync.patch.journal import Damaged, Journal

__all__ = ["Windows"]

_SECTOR_BYTES = 512
"""What a disk writes wholly or not at all."""
_DIGEST_BYTES = 8
_PIECE_BYTES = 1 << 20


class Windows:
    """Works on one file and its journal; both stay their owner's.

    Args:
        disk: Where they are.
        journal: The journal.
        fd: The file.
        base_bytes: The file's length before the patch.
    """

    def __init__(self, disk: Disk, journal: Journal, fd: int, base_bytes: int) -> None:
        self._disk = disk
        self._journal = journal
        self._fd = fd
        self._base_bytes = base_bytes

    def gather(self, window: Window) -> bytearray:
        """Set aside what the window says, and return its record: what it moves, and digests of what it destroys.

        Raises:
            OSError: The file can't be read, or the journal not written.
        """
        for base_at, aside_at, length in window.saves:
            for at in range(0, length, _PIECE_BYTES):
                piece = memoryview(bytearray(min(_PIECE_BYTES, length - at)))
                self._read_base(base_at + at, piece)
                self._journal.put_aside(aside_at + at, piece)
        moved = sum(write.length for write in window.writes if write.source in "ba")
        payload = bytearray(moved)
        room = memoryview(payload)
        for write in window.writes:
            if write.source == "b":
                self._read_base(write.source_at, room[: write.length])
            elif write.source == "a":
                self._journal.read_aside(write.source_at, room[: write.length])
            else:
                continue
            room = room[write.length :]
        room.release()
        for write in window.writes:
            payload += self._digests(write)
        return payload

    def _read_base(self, at: int, buffer: memoryview) -> None:
        if read_at(self._disk, self._fd, at, buffer) < len(buffer):
            raise Damaged(errno.EIO, "it was cut short by someone else")

    def _digests(self, write: Write) -> bytes:
        """Return the digests of the sectors, as far as they are the base's, that a write destroys."""
        end = min(write.target_at + write.length, self._base_bytes)
        digests: list[bytes] = []
        for start in range(write.target_at, end, _PIECE_BYTES):
            piece = memoryview(bytearray(min(_PIECE_BYTES, end - start)))
            self._read_base(start, piece)
            digests += [blake3(piece[low:high]).digest(_DIGEST_BYTES) for low, high in _sectors(start, start + len(piece))]
        return b"".join(digests)

    def write(self, window: Window, payload: bytearray) -> None:
        """Write a window to the file; it may have been written before, as a whole or in part.

        Raises:
            OSError: It can't be written.
        """
        for at, content in self._contents(window, payload):
            write_at(self._disk, self._fd, at, content)

    def _contents(self, window: Window, payload: bytearray) -> Iterator[tuple[int, memoryview]]:
        """Yield what a window writes: places and contents, in pieces."""
        moved = memoryview(payload)
        buffer = memoryview(bytearray(_PIECE_BYTES))
        zeros = memoryview(bytes(_PIECE_BYTES))
        for target_at, length, source, source_at in window.writes:
            for at in range(0, length, _PIECE_BYTES):
                take = min(_PIECE_BYTES, length - at)
                if source == "l":
                    self._journal.read_literals(source_at + at, buffer[:take])
                    yield target_at + at, buffer[:take]
                elif source == "z":
                    yield target_at + at, zeros[:take]
                else:
                    yield target_at + at, moved[:take]
                    moved = moved[take:]

    def is_ours(self, window: Window, payload: bytearray) -> bool:
        """Tell whether nobody else wrote where a window does.

        Each sector is as it was before, or as the window leaves it. A process that was killed may have stopped within one: that one begins
        as the window leaves it, and those before it have been written and those behind it have not.
        """
        written, stopped = True, False
        for state in self._states(window, payload):
            if state is _State.BEGUN and (stopped or not written):
                return False
            if state is _State.NEITHER or (state is _State.NEW and stopped):
                return False
            stopped = stopped or state is _State.BEGUN
            written = written and state is not _State.OLD
        return True

    def _states(self, window: Window, payload: bytearray) -> Iterator[_State]:
        """Yield the state of each sector that a window writes, in the order in which it does."""
        digests = memoryview(payload)[sum(write.length for write in window.writes if write.source in "ba") :]
        for at, content in self._contents(window, payload):
            found = memoryview(bytearray(len(content)))
            found = found[: read_at(self._disk, self._fd, at, found)]
            of_base = min(max(self._base_bytes - at, 0), len(content))
            for low, high in _sectors(at, at + of_base):
                old = bytes(digests[:_DIGEST_BYTES])
                was_so = blake3(found[low:high]).digest(_DIGEST_BYTES) == old
                yield _state(found[low:high], content[low:high], was_so=was_so)
                digests = digests[_DIGEST_BYTES:]
            # Behind the base's end there was nothing, or what the system gives for that.
            for low, high in _sectors(at + of_base, at + len(content)):
                beyond = found[of_base + low : of_base + high]
                yield _state(beyond, content[of_base + low : of_base + low + len(beyond)], was_so=not any(beyond))


class _State(Enum):
    """How a sector is found: as it was, as it shall be or both, begun as it shall be, or none of these."""

    OLD = auto()
    NEW = auto()
    BOTH = auto()
    BEGUN = auto()
    NEITHER = auto()


def _state(found: memoryview, new: memoryview, *, was_so: bool) -> _State:
    if was_so:
        return _State.BOTH if found == new else _State.OLD
    if found == new:
        return _State.NEW
    return _State.BEGUN if found[:1] == new[:1] else _State.NEITHER


def _sectors(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range of a file that lie in one sector each, as offsets from its start."""
    at = start
    while at < end:
        stop = min(end, at - at % _SECTOR_BYTES + _SECTOR_BYTES)
        yield at - start, stop - start
        at = stop
