"""The digest of a file that is to be remembered: the checksums of its leaves are kept. Pure."""

from __future__ import annotations

from typing import NamedTuple

from deltasync._native import Kernel
from deltasync._native.columns import packed
from deltasync.delta.digest import FileDigest
from deltasync.delta.signature import Buffer, weak_sums

__all__ = ["LeafChecksums", "SummedDigest"]

_WEAK_BYTES = 4


class LeafChecksums(NamedTuple):
    """The weak sums of the leaves of a file, packed as u32, and their BLAKE3, 32 bytes each."""

    weak: bytes
    digests: bytes


class SummedDigest(FileDigest):
    """As `FileDigest`; what comes in pieces that begin and end where leaves do, but for the last, is summed as well.

    Args:
        size: As there.
        kernel: What sums.
    """

    def __init__(self, size: int, kernel: Kernel) -> None:
        super().__init__(size)
        self._kernel = kernel
        self._weak = bytearray()
        self._digests = bytearray()
        self._aligned = True

    def update(self, data: Buffer) -> None:
        """Take the next bytes of the content."""
        self._aligned = self._aligned and not self._filled
        if self._aligned:
            self._weak += packed("I", weak_sums(self._kernel, data, self.leaf_bytes))
        super().update(data)

    def zeros(self, count: int) -> None:
        """Take `count` zero bytes."""
        self._aligned = self._aligned and not self._filled
        self._weak += bytes(_WEAK_BYTES * -(-count // self.leaf_bytes))
        super().zeros(count)

    def _add(self, digest: bytes) -> None:
        super()._add(digest)
        self._digests += digest

    @property
    def checksums(self) -> LeafChecksums | None:
        """The checksums, after `digest`; None if the content came in other pieces."""
        if not self._aligned or len(self._weak) // _WEAK_BYTES != -(-self.size // self.leaf_bytes):
            return None
        return LeafChecksums(bytes(self._weak), bytes(self._digests))
