"""A base: the receiver's present file, opened to be signed and copied from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from deltasync.delta.blocks import first_block_bytes
from deltasync.delta.digest import DIGEST_BYTES, leaf_bytes
from deltasync.engine.elsewhere import Candidate
from deltasync.engine.reading import OPEN_FLAGS, Changing, check_regular, read_exactly
from deltasync.fs.identity import Identity, Look, look
from deltasync.tree.entry import Entry
from deltasync.wire.settings import Settings

if TYPE_CHECKING:
    from deltasync.fs.index import Remembered

__all__ = ["Base", "worth_a_delta"]

MIN_DELTA_BYTES = 128 << 10
"""A file shorter than this travels whole, in a pack: that costs less than a round trip of checksums."""
MIN_BASE_BYTES = 32 << 10
"""A shorter base has too little to offer."""


def worth_a_delta(entry: Entry, current: Entry | None, settings: Settings) -> bool:
    """Tell whether a file is asked for as a delta to what it replaces."""
    if current is None or not current.size:
        return False
    if settings.update_mode == "inplace":
        # What the user wants to stay the same file must not be replaced, however small it is.
        return True
    return not settings.whole_file and current.size >= MIN_BASE_BYTES and entry.size >= MIN_DELTA_BYTES


class Base:
    """An opened base.

    Attributes:
        fd: Its descriptor.
        size: Its length when it was opened.
        target_bytes: The length of the file that is wanted, as it was listed.
        block_bytes: The length of the blocks of round one.
        look: The look at it when it was opened.
        digests, weak: The BLAKE3 of the blocks of round one, 32 bytes each, and their weak sums, packed, as far as it is signed.
        of_leaves: Whether these blocks are the leaves of its file digest.
        signed: Whether round one is through.
        fine: Whether the second round has begun.
        candidate: Where it comes from, if it is not what has the wanted file's name.
        broken: Whether it could not be read as it was; what is made from it then proves wrong, or is not proven at all.
    """

    def __init__(self, fd: int, looked: Look, target_bytes: int, block_bytes: int) -> None:
        """Take over `fd`; `open` is the way to get one."""
        self.fd = fd
        self.look = looked
        self.size = looked.identity.size
        self.target_bytes = target_bytes
        self.block_bytes = first_block_bytes(self.size, block_bytes)
        self.digests: list[bytes] = []
        self.weak = bytearray()
        self.signed = self.fine = self.broken = False
        self.candidate: Candidate | None = None
        self.of_leaves = self.block_bytes == leaf_bytes(self.size)
        self._vouches = self.of_leaves and looked.identity.settled(looked.at_ns)

    @classmethod
    def open(cls, dir_fd: int, name: bytes, target_bytes: int, block_bytes: int) -> Self:
        """Open a base.

        Args:
            dir_fd: Its directory.
            name: Its name there.
            target_bytes: The length of the file that is wanted.
            block_bytes: What the user wants as length of the blocks, or 0.

        Raises:
            OSError: It can't be opened, is empty, or is no regular file.
        """
        fd = os.open(name, OPEN_FLAGS, dir_fd=dir_fd)
        try:
            check_regular(os.fstat(fd))
            looked = look(fd)
            if not looked.identity.size:
                raise OSError("it is empty")
            return cls(fd, looked, target_bytes, block_bytes)
        except BaseException:
            os.close(fd)
            raise

    def read(self, at: int, buffer: memoryview) -> None:
        """Fill a buffer, with zeros where it can't be read; any thread may do so."""
        try:
            read_exactly(self.fd, at, buffer)
        except (OSError, Changing):
            self.broken = True
            buffer[:] = bytes(len(buffer))

    def leaf(self, index: int) -> tuple[bytes, bytes] | None:
        """Return digest and packed weak sum of a leaf, if the base's size and times vouch that they still hold."""
        return (self.digests[index], bytes(self.weak[4 * index : 4 * index + 4])) if self._vouches and index < len(self.digests) else None

    @property
    def unchanged(self) -> bool:
        """Whether nobody wrote to it since it was opened."""
        return not self.broken and Identity.of(os.fstat(self.fd)) == self.look.identity

    def lost_its_name(self) -> None:
        """Take note that its name went to another file, which gave it a new time of change and nothing else."""
        now = Identity.of(os.fstat(self.fd))
        if now._replace(ctime_ns=self.look.identity.ctime_ns) == self.look.identity:
            self.look = self.look._replace(identity=now)

    @property
    def checksums(self) -> Remembered:
        """Its checksums, once it is signed in round one, if its blocks are leaves."""
        from deltasync.fs.index import Remembered

        return Remembered(self.block_bytes, bytes(self.weak), b"".join(self.digests))

    def known(self, remembered: Remembered) -> None:
        """Take its checksums from an earlier time, instead of reading it."""
        self.weak = bytearray(remembered.weak)
        self.digests = [remembered.digests[at : at + DIGEST_BYTES] for at in range(0, len(remembered.digests), DIGEST_BYTES)]

    def close(self) -> None:
        """Let go of it; once."""
        os.close(self.fd)
