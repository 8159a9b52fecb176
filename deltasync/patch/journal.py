"""The journal of a file that is changed in place: all that is about to be written, on the disk before the first byte of the file changes.

    0            intent, a page (`fs.journals`)
    4,096        decision, a page
    8,192        two slots of 24 MiB: the records of the windows, by turns
    + 48 MiB     16 MiB less the two pages: what is set aside
    64 MiB       literals, then the plan

A record is the window's number (u64), the length of what follows (u64) and the BLAKE3 of both and of what follows: the moved bytes that the
window writes, in the order of its writes, and 8 bytes of BLAKE3 for each sector, or part of one, that it destroys. The plan has for each
window the number of its saves and writes (u32 each), each save as base offset, place aside and length (u64 each), and each write as target
offset, length and source offset (u64 each) and source (a byte: `b`ase, `a`side, `l`iterals, `z`eros). All is little-endian.

Room that nothing was written to is a hole, so that the file takes no more of the disk than what it holds.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterable
from struct import Struct, error
from typing import Self

from blake3 import blake3

from deltasync.delta.needs import Save
from deltasync.delta.order import Limits, Window, Write
from deltasync.fs.journals import PAGE_BYTES, Head, journal_name, packed_page, quarantine_name, unpacked_page
from deltasync.patch.disk import Disk, read_at, write_at

__all__ = ["LIMITS", "Busy", "Damaged", "Journal"]

_DECISION_AT = PAGE_BYTES
_SLOTS_AT = 2 * PAGE_BYTES
_SLOT_BYTES = 24 << 20
_ASIDE_AT = _SLOTS_AT + 2 * _SLOT_BYTES
_LITERALS_AT = 64 << 20
LIMITS = Limits(window=20 << 20, aside=_LITERALS_AT - _ASIDE_AT, step=4 << 20)
"""What a plan may use; a record with its head fits into its slot."""

_ASIDE_PIECE_BYTES = 1 << 20

_RECORD = Struct("<QQ32s")
_COUNTS = Struct("<II")
_SAVE = Struct("<QQQ")
_WRITE = Struct("<QQQc")


class Busy(OSError):
    """A live process has the journal, or the file."""


class Damaged(OSError):
    """The journal does not hold what it must hold."""


class Journal:
    """One journal, open and locked until it is closed.

    Attributes:
        literal_bytes: How much of its file's new content it holds.
    """

    def __init__(self, disk: Disk, dir_fd: int, name: bytes, fd: int) -> None:
        """Take over `fd`; `create` and `open` are the ways to get one. `dir_fd` stays the caller's."""
        self.literal_bytes = 0
        self._disk = disk
        self._dir_fd = dir_fd
        self._name = name
        self._fd = fd

    @classmethod
    def create(cls, disk: Disk, dir_fd: int, head: Head) -> Self:
        """Make the journal of a file.

        Raises:
            Busy: It has one.
            OSError: It can't be made.
        """
        name = journal_name(head.name)
        try:
            fd = disk.create(dir_fd, name)
        except FileExistsError as error:
            raise Busy(errno.EBUSY, "another patch of it is not finished") from error
        made = cls(disk, dir_fd, name, fd)
        try:
            # Recovery may have met it before it was locked; then it removes it, and the name may be another journal's by now.
            if not disk.lock(fd) or not made.stands:
                raise Busy(errno.EBUSY, "someone else has its journal")
        except BaseException:
            disk.close(fd)
            raise
        try:
            # The second page gets its room here, so that a full disk can't stop the decision.
            write_at(disk, fd, 0, packed_page(head) + bytes(PAGE_BYTES))
        except BaseException:
            made.remove()
            raise
        return made

    @classmethod
    def open(cls, disk: Disk, dir_fd: int, name: bytes) -> Self:
        """Open a journal that is there.

        Raises:
            FileNotFoundError: It is gone.
            Busy: A live process has it.
            OSError: It can't be opened.
        """
        fd = disk.open(dir_fd, name)
        try:
            if not disk.lock(fd):
                raise Busy(errno.EBUSY, "a live process has it")
            opened = cls(disk, dir_fd, name, fd)
            if not stat.S_ISREG(disk.status(fd).st_mode):
                raise Damaged(errno.EINVAL, "it has the name of a journal and is none; remove it")
            # Whoever had it locked may have removed it meanwhile.
            if not opened.stands:
                raise FileNotFoundError(errno.ENOENT, "it is gone")
        except BaseException:
            disk.close(fd)
            raise
        return opened

    @property
    def stands(self) -> bool:
        """Whether it has its name still, so that recovery finds it.

        Raises:
            OSError: That can't be told.
        """
        try:
            return self._disk.identity_at(self._dir_fd, self._name)[:2] == self._disk.identity(self._fd)[:2]
        except FileNotFoundError:
            return False

    @property
    def owner(self) -> int:
        """Whose it is, by number."""
        return self._disk.status(self._fd).st_uid

    # Pages --------------------------------------------------------------------------------------------------------------------------

    @property
    def intent(self) -> Head | None:
        """What it was made for."""
        return self._page(0)

    @property
    def decision(self) -> Head | None:
        """What is decided; None if nothing is."""
        return self._page(_DECISION_AT)

    def _page(self, at: int) -> Head | None:
        page = bytearray(PAGE_BYTES)
        read_at(self._disk, self._fd, at, memoryview(page))
        return unpacked_page(bytes(page))

    def decide(self, head: Head) -> None:
        """Write the decision, and have it survive a power cut; everything else must have been synced before.

        Raises:
            OSError: It can't be written. Whether it is on the disk is not known then.
        """
        write_at(self._disk, self._fd, _DECISION_AT, packed_page(head))
        self.sync()

    def sync(self) -> None:
        """Have all that was written survive a power cut."""
        self._disk.sync(self._fd)

    def reserve(self, windows: list[Window]) -> None:
        """Make sure that there is room for what is written to it after the decision.

        Raises:
            OSError: There is not.
        """
        for slot in range(2):
            longest = max((sum(write.cost for write in window.writes) for window in windows[slot::2]), default=0)
            if longest:
                self._disk.reserve(self._fd, _SLOTS_AT + slot * _SLOT_BYTES, min(_RECORD.size + longest, _SLOT_BYTES))
        aside = max((save.aside_at + save.length for window in windows for save in window.saves), default=0)
        if aside:
            self._disk.reserve(self._fd, _ASIDE_AT, aside)

    def refresh(self, head: Head, number: int, payload: bytearray) -> None:
        """Write what is needed from a window on anew, and have it survive a power cut.

        An earlier sync may have failed: then what is read is not what is on the disk, and a later sync would not say so.

        Args:
            head: The decision.
            number: The window.
            payload: Its record.

        Raises:
            OSError: It can't be written.
        """
        piece, zeros = memoryview(bytearray(_ASIDE_PIECE_BYTES)), bytes(_ASIDE_PIECE_BYTES)
        for at in range(0, LIMITS.aside, len(piece)):
            got = read_at(self._disk, self._fd, _ASIDE_AT + at, piece)
            if piece[:got] != zeros[:got]:
                write_at(self._disk, self._fd, _ASIDE_AT + at, piece[:got])
        self.write_record(number, payload)
        self.decide(head)

    # Content ------------------------------------------------------------------------------------------------------------------------

    def append(self, data: bytes | bytearray | memoryview) -> int:
        """Keep literals; return their offset among the literals."""
        at = self.literal_bytes
        write_at(self._disk, self._fd, _LITERALS_AT + at, data)
        self.literal_bytes += len(data)
        return at

    def read_literals(self, at: int, buffer: memoryview) -> None:
        """Read literals.

        Raises:
            Damaged: They are not there.
        """
        self._read(_LITERALS_AT + at, buffer)

    def put_aside(self, at: int, data: memoryview) -> None:
        """Keep what is set aside."""
        write_at(self._disk, self._fd, _ASIDE_AT + at, data)

    def read_aside(self, at: int, buffer: memoryview) -> None:
        """Read what was set aside."""
        self._read(_ASIDE_AT + at, buffer)

    def _read(self, at: int, buffer: memoryview) -> None:
        if read_at(self._disk, self._fd, at, buffer) < len(buffer):
            raise Damaged(errno.EIO, "its journal is cut short")

    # Plan and records ---------------------------------------------------------------------------------------------------------------

    def write_plan(self, head: Head, windows: Iterable[Window]) -> Head:
        """Write the plan, after all literals; return the head with what it has to say of both."""
        rows = bytearray()
        count = 0
        for window in windows:
            count += 1
            rows += _COUNTS.pack(len(window.saves), len(window.writes))
            for save in window.saves:
                rows += _SAVE.pack(*save)
            for write in window.writes:
                rows += _WRITE.pack(write.target_at, write.length, write.source_at, write.source.encode())
        write_at(self._disk, self._fd, _LITERALS_AT + self.literal_bytes, rows)
        digest = blake3(rows).digest()
        return head._replace(literal_bytes=self.literal_bytes, plan_bytes=len(rows), windows=count, plan_digest=digest)

    def plan(self, head: Head) -> list[Window]:
        """Return the plan.

        Raises:
            Damaged: It is not what was written.
        """
        rows = bytearray(head.plan_bytes)
        self._read(_LITERALS_AT + head.literal_bytes, memoryview(rows))
        if blake3(rows).digest() != head.plan_digest:
            raise Damaged(errno.EIO, "its journal is damaged")
        try:
            return _unpacked(rows, head.windows)
        except (error, ValueError) as reason:
            raise Damaged(errno.EIO, "its journal is damaged") from reason

    def write_record(self, number: int, payload: bytearray) -> None:
        """Write the record of a window.

        Raises:
            ValueError: It is too long.
        """
        if _RECORD.size + len(payload) > _SLOT_BYTES:
            raise ValueError("the record of a window is too long")
        at = _SLOTS_AT + number % 2 * _SLOT_BYTES
        write_at(self._disk, self._fd, at + _RECORD.size, payload)
        write_at(self._disk, self._fd, at, _RECORD.pack(number, len(payload), _record_digest(number, payload)))

    def last_record(self) -> tuple[int, bytearray]:
        """Return the number of the last window whose record is whole, and that record.

        Raises:
            Damaged: There is none.
        """
        best: tuple[int, bytearray] | None = None
        for slot in range(2):
            at = _SLOTS_AT + slot * _SLOT_BYTES
            head = bytearray(_RECORD.size)
            if read_at(self._disk, self._fd, at, memoryview(head)) < len(head):
                continue
            number, length, digest = _RECORD.unpack(head)
            if number % 2 != slot or length > _SLOT_BYTES - _RECORD.size or (best is not None and best[0] > number):
                continue
            payload = bytearray(length)
            whole = read_at(self._disk, self._fd, at + _RECORD.size, memoryview(payload)) == length
            if whole and _record_digest(number, payload) == digest:
                best = number, payload
        if best is None:
            raise Damaged(errno.EIO, "its journal is damaged")
        return best

    # Its end ------------------------------------------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Remove it, and let go of it.

        Raises:
            OSError: It can't be removed; it is let go of all the same.
        """
        try:
            self._disk.unlink(self._dir_fd, self._name)
        finally:
            self.close()

    def quarantine(self) -> None:
        """Set it aside, so that it is never applied, and let go of it; one that was set aside earlier stays.

        Raises:
            OSError: It can't be renamed; it is let go of all the same.
        """
        try:
            to = first = quarantine_name(self._name)
            number = 1
            while self._is_taken(to):
                to, number = b"%s-%d" % (first, number), number + 1
            self._disk.rename(self._dir_fd, self._name, to)
            self._disk.sync_directory(self._dir_fd)
        finally:
            self.close()

    def _is_taken(self, name: bytes) -> bool:
        try:
            self._disk.identity_at(self._dir_fd, name)
        except FileNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Let go of it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._disk.close(fd)


def _record_digest(number: int, payload: bytearray) -> bytes:
    return blake3(number.to_bytes(8, "little") + len(payload).to_bytes(8, "little")).update(payload).digest()


def _unpacked(rows: bytearray, count: int) -> list[Window]:
    """Return the windows of a plan; struct.error or ValueError says that it is none."""
    windows: list[Window] = []
    at = 0
    for _ in range(count):
        saves, writes = _COUNTS.unpack_from(rows, at)
        at += _COUNTS.size
        window = Window([], [])
        for _ in range(saves):
            window.saves.append(Save(*_SAVE.unpack_from(rows, at)))
            at += _SAVE.size
        for _ in range(writes):
            target_at, length, source_at, source = _WRITE.unpack_from(rows, at)
            window.writes.append(Write(target_at, length, source.decode("ascii"), source_at))
            at += _WRITE.size
        windows.append(window)
    return windows
