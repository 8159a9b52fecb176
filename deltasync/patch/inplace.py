"""A large file that is changed where it stands: nothing of it is touched before everything that it shall become is on the disk beside it.

    receive     literals go to the journal as they come
    seal        the plan and the first window are written and synced; under a lease the file is looked at once more; the decision is
                written and synced; then window after window is written and synced
    commit      the attributes are set, and the journal is removed

Killed before the decision, the file is old; after it, the journal makes it new (`patch.recovery`). Source of the scheme: redo logging as in
Mohan et al., ARIES (1992); the order of moved ranges is `delta.order`'s.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from contextlib import suppress
from typing import Self

from deltasync.delta.match import Copy
from deltasync.delta.order import Window, Write, in_order
from deltasync.delta.spans import Span
from deltasync.fs.identity import Identity
from deltasync.fs.journals import Head
from deltasync.fs.locks import nobody_else
from deltasync.patch.attributes import Attributes, Lost
from deltasync.patch.disk import DISK, Disk, read_at
from deltasync.patch.journal import LIMITS, Busy, Journal
from deltasync.patch.windows import Windows

__all__ = ["MIN_BYTES", "InPlace"]

MIN_BYTES = 64 << 20
"""A shorter file is only patched in place where the user wants it: staging it costs less than being careful."""

MOVED_PIECE_BYTES = 1 << 20
"""What moves is read in pieces of at most this."""


class InPlace:
    """A file that is being patched in place. Its form is that of `Staged`; one thread uses it at a time.

    Attributes:
        size: Bytes that it will have.
        status: What it is, after `commit`.
        mode: How it takes its place, as `--update-mode` has it.
        decided: Whether it may have been touched, so that only its journal makes it whole, unless it is sealed.
        sealed: Whether its new content is in its place.
    """

    mode = "inplace"

    def __init__(self, disk: Disk, dir_fd: int, fd: int, journal: Journal, head: Head, identity: Identity) -> None:
        """Take over `dir_fd`, `fd` and `journal`; `create` is the way to get one."""
        self.size = head.target_bytes
        self.status: os.stat_result | None = None
        self.decided = self.sealed = False
        self._disk = disk
        self._dir_fd = dir_fd
        self._fd = fd
        self._journal = journal
        self._head = head
        self._identity = identity
        self._moves: list[Copy] = []
        self._literals: list[Write] = []
        self._parts: list[Write] = []
        self._starts: list[int] = []

    @classmethod
    def create(cls, dir_fd: int, name: bytes, size: int, identity: Identity, *, disk: Disk = DISK) -> Self:
        """Begin to patch a file in place.

        Args:
            dir_fd: Its directory; it may be closed afterwards.
            name: Its name there.
            size: Bytes that it will have.
            identity: What it is now, as its base.
            disk: Where it is.

        Raises:
            Busy: Another patch of it is not finished.
            OSError: It can't be opened for writing, is another file by now, or there can't be a journal beside it.
        """
        own_dir_fd, fd = disk.hold_directory(dir_fd), -1
        try:
            fd = disk.open(own_dir_fd, name)
            if disk.identity(fd)[:2] != identity[:2]:
                raise FileNotFoundError(errno.ENOENT, "another file came into its place")
            head = Head(name, identity.inode, identity.size, size)
            return cls(disk, own_dir_fd, fd, Journal.create(disk, own_dir_fd, head), head, identity)
        except BaseException:
            if fd >= 0:
                disk.close(fd)
            disk.let_go(own_dir_fd)
            raise

    def is_alone(self, reader: int) -> bool:
        """Tell whether nobody has the file open but this and `reader`, which becomes a duplicate of this one's descriptor.

        Raises:
            OSError: The descriptor can't be duplicated.
        """
        return nobody_else(self._fd, reader)

    # What comes ---------------------------------------------------------------------------------------------------------------------

    def move(self, copy: Copy) -> None:
        """Take note of a range of the base that shall stand elsewhere. All of these come first."""
        self._moves.append(copy)

    def put(self, at: int, data: bytes | bytearray | memoryview) -> None:
        """Take literals that shall stand at `at`; they come in the order of the file.

        Raises:
            OSError: The journal can't be written.
        """
        kept_at = self._journal.append(data)
        last = self._literals[-1] if self._literals else None
        if last is not None and last.source == "l" and last.target_at + last.length == at and last.source_at + last.length == kept_at:
            self._literals[-1] = last._replace(length=last.length + len(data))
        else:
            self._literals.append(Write(at, len(data), "l", kept_at))

    def clear(self, at: int, count: int) -> None:
        """Take a run of zeros that shall stand at `at`, in the order of the file."""
        self._literals.append(Write(at, count, "z", 0))

    def complete(self) -> None:
        """Take note that all has come, so that it can be read."""
        moved = [Write(copy.target_at, copy.length, "b", copy.base_at) for copy in self._moves]
        self._parts = sorted([*moved, *self._literals])
        self._starts = [part.target_at for part in self._parts]

    def read(self, at: int, buffer: memoryview) -> None:
        """Read what the file shall be, after `complete` and before `seal`; several threads may do so at once.

        Raises:
            OSError: File or journal can't be read.
        """
        end = at + len(buffer)
        if at < self._identity.size:
            read_at(self._disk, self._fd, at, buffer[: self._identity.size - at])
        for part in self._parts[max(bisect_right(self._starts, at) - 1, 0) : bisect_right(self._starts, end)]:
            low, high = max(at, part.target_at), min(end, part.target_at + part.length)
            if low >= high:
                continue
            place, source_at = buffer[low - at : high - at], part.source_at + low - part.target_at
            if part.source == "l":
                self._journal.read_literals(source_at, place)
            elif part.source == "b":
                read_at(self._disk, self._fd, source_at, place)
            else:
                place[:] = bytes(high - low)

    # What is done -------------------------------------------------------------------------------------------------------------------

    def seal(self, digest: bytes, *, forced: bool) -> None:
        """Give the file its new content, which was proven to have this file digest.

        Until the file is touched, any error leaves it as it was, and `abandon` cleans up. After that an error leaves it to recovery.

        Args:
            digest: The file digest.
            forced: Go on where somebody has the file open, who may see it half changed.

        Raises:
            NoOrder: Its moves need more room than there is.
            Busy: Somebody has it open, or wrote to it since it was the base.
            OSError: Something can't be written.
        """
        self._keep_moves()
        plan = self._plan()
        head = self._journal.write_plan(self._head._replace(digest=digest), plan)
        windows = Windows(self._disk, self._journal, self._fd, self._head.base_bytes)
        first = windows.gather(plan[0]) if plan else bytearray()
        if plan:
            self._journal.write_record(0, first)
        self._journal.sync()
        self._disk.sync_directory(self._dir_fd)
        leased = self._disk.lease(self._fd)
        try:
            if not leased and not forced:
                raise Busy(errno.EBUSY, "somebody has it open")
            self._check()
            self._reserve(plan)
            self.decided = True
            self._journal.decide(head)
            self._apply(windows, plan, first)
        finally:
            if leased:
                self._disk.release(self._fd)
        self.sealed = True

    def _keep_moves(self) -> None:
        """Where little moves, keep it beside the literals: then any order will do, and there is room for it, since nothing is set aside."""
        moves, sizes = sorted(self._moves), [copy.length for copy in self._moves]
        if not moves or sum(sizes) > LIMITS.aside:
            return
        buffer = memoryview(bytearray(min(max(sizes), MOVED_PIECE_BYTES)))
        for target_at, base_at, length in moves:
            for at in range(0, length, len(buffer)):
                piece = buffer[: min(len(buffer), length - at)]
                if read_at(self._disk, self._fd, base_at + at, piece) < len(piece):
                    raise Busy(errno.EBUSY, "somebody wrote to it")
                self.put(target_at + at, piece)
        self._moves.clear()
        self.complete()

    def _check(self) -> None:
        """Check that the file is what it was, and that both it and its journal have their names.

        Raises:
            Busy: Somebody was there.
        """
        try:
            now = self._disk.identity_at(self._dir_fd, self._head.name)
        except FileNotFoundError:
            now = None
        if self._disk.identity(self._fd) != self._identity or now != self._identity:
            raise Busy(errno.EBUSY, "somebody wrote to it")
        if not self._journal.stands:
            raise Busy(errno.EBUSY, "somebody removed its journal")

    def _plan(self) -> list[Window]:
        literals = [Span(part.target_at, part.target_at + part.length) for part in self._literals]
        windows = in_order(self._moves, literals, self._head.base_bytes, LIMITS)
        return [Window(window.saves, list(map(self._resolved, window.writes))) for window in windows]

    def _resolved(self, write: Write) -> Write:
        """Return a write of the plan with the place of its literals in the journal."""
        if write.source != "l":
            return write
        part = self._parts[bisect_right(self._starts, write.target_at) - 1]
        return write._replace(source=part.source, source_at=part.source_at + write.target_at - part.target_at if part.source == "l" else 0)

    def _reserve(self, plan: list[Window]) -> None:
        """Make sure that there is room for all that is written.

        Raises:
            OSError: There is not; the file is as it was.
        """
        base, target = self._head.base_bytes, self._head.target_bytes
        try:
            self._journal.reserve(plan)
            if target > base:
                self._disk.reserve(self._fd, base, target - base)
            if self._disk.has_holes(self._fd):
                for window in plan:
                    for write in window.writes:
                        self._disk.reserve(self._fd, write.target_at, write.length)
        except OSError:
            # What was reserved is given back; the error is what counts.
            with suppress(OSError):
                self._disk.truncate(self._fd, base)
                self._disk.dress(self._fd, Attributes(mtime_ns=self._identity.mtime_ns))
            raise

    def _apply(self, windows: Windows, plan: list[Window], first: bytearray) -> None:
        for number, window in enumerate(plan):
            payload = first
            if number:
                payload = windows.gather(window)
                self._journal.write_record(number, payload)
                self._journal.sync()
            windows.write(window, payload)
            if number < len(plan) - 1:
                self._disk.sync(self._fd)
        self._disk.truncate(self._fd, self._head.target_bytes)
        self._disk.sync(self._fd)

    def commit(self, attributes: Attributes) -> Lost:
        """Give the file its attributes, and remove the journal; returns which of them could not be kept.

        Raises:
            OSError: They can't be set, or the journal can't be removed; the content is new in any case.
        """
        lost = self._disk.dress(self._fd, attributes)
        self.status = self._disk.status(self._fd)
        self._journal.remove()
        self._disk.sync_directory(self._dir_fd)
        self._close()
        return lost

    def abandon(self, *, keep: bool) -> None:  # noqa: ARG002 - as `Staged.abandon`.
        """Let go of the file: it is as it was, or, once that was decided, recovery makes it what it shall be."""
        if self._fd < 0:
            return
        if self.decided and not self.sealed:
            self._journal.close()
        else:
            # What can't be removed now is found by the next run.
            with suppress(OSError):
                self._journal.remove()
                self._disk.sync_directory(self._dir_fd)
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        with suppress(OSError):
            self._disk.close(fd)
        self._disk.let_go(self._dir_fd)
