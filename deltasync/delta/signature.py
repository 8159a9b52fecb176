"""The signature of a base: for each of its blocks a weak rolling sum and a truncated BLAKE3. Pure.

The weak sum is rsync's (Tridgell and Mackerras: The rsync algorithm, 1996), for a block x of n bytes:

    a = sum(x[i]) mod 2**16        b = sum((n - i) * x[i]) mod 2**16        weak = a | b << 16

Both checksums are unkeyed, so that a signature can be remembered between runs: a prepared collision can only cost that the file is sent
again, because the file digest is proven before anything is committed.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from blake3 import blake3

from deltasync._native import Kernel, KernelTable
from deltasync._native.columns import column
from deltasync.delta.blocks import Layout
from deltasync.delta.digest import zero_digest

__all__ = ["Buffer", "Signature", "block_digests", "weak_sums", "zero_digests"]

Buffer = bytes | bytearray | memoryview


def weak_sums(kernel: Kernel, data: Buffer, block_bytes: int) -> array[int]:
    """Return the weak sum of each block of `data`; the last block may be short."""
    sums = array("I", bytes(4 * -(-len(data) // block_bytes)))
    kernel.weak_sums(data, block_bytes, sums)
    return sums


def block_digests(data: Buffer, block_bytes: int) -> list[bytes]:
    """Return the BLAKE3 digest, 32 bytes, of each block of `data`; the last block may be short."""
    view = memoryview(data)
    return [blake3(view[at : at + block_bytes]).digest() for at in range(0, len(view), block_bytes)]


def zero_digests(size: int, block_bytes: int) -> list[bytes]:
    """Return what `block_digests` returns for `size` zero bytes, without hashing them again and again; their weak sums are 0."""
    whole, rest = divmod(size, block_bytes)
    return [zero_digest(block_bytes)] * whole + ([zero_digest(rest)] if rest else [])


class Signature:
    """The signature of one round, filled in order as it comes.

    Args:
        layout: Where the blocks lie in the base.
        strong_bytes: How many bytes of each block's BLAKE3 there are.

    Attributes:
        layout, strong_bytes: As given.
        count: How many blocks have come.
    """

    def __init__(self, layout: Layout, strong_bytes: int) -> None:
        self.layout = layout
        self.strong_bytes = strong_bytes
        self.count = 0
        self._weak = array("I")
        self._strong = bytearray()
        self._table: KernelTable | None = None

    @property
    def complete(self) -> bool:
        """Whether every block has come."""
        return self.count == len(self.layout)

    def extend(self, first: int, weak: Buffer, strong: Buffer) -> None:
        """Take the checksums of the next blocks.

        Args:
            first: Number of the first of them.
            weak: Their weak sums, packed as little-endian u32.
            strong: Their strong checksums, one after the other.

        Raises:
            ValueError: They are not those that come next, or too many.
        """
        sums = column("I", memoryview(weak))
        if first != self.count or self.count + len(sums) > len(self.layout) or len(strong) != len(sums) * self.strong_bytes:
            raise ValueError("a signature does not go on where it was, or goes on beyond its end")
        self._weak.extend(sums)
        self._strong += strong
        self.count += len(sums)

    def equals(self, index: int, digest: bytes) -> bool:
        """Tell whether a block has this BLAKE3 digest, as far as it is known."""
        at = index * self.strong_bytes
        return self._strong[at : at + self.strong_bytes] == digest[: self.strong_bytes]

    def matching(self, first: int, digests: Sequence[bytes]) -> int:
        """Return how many blocks from `first` on have these BLAKE3 digests, up to the first that has not."""
        size = self.strong_bytes
        at = first * size
        if self._strong[at : at + size * len(digests)] == b"".join([digest[:size] for digest in digests]):
            return len(digests)
        return next(number for number, digest in enumerate(digests) if not self.equals(first + number, digest))

    def index(self, kernel: Kernel) -> None:
        """Make the complete signature ready to be searched; it may be called once, before any `table`."""
        self._table = kernel.build_table(self._weak)

    @property
    def table(self) -> KernelTable:
        """What `scan` looks sums up in.

        Raises:
            ValueError: `index` was not called.
        """
        if self._table is None:
            raise ValueError("the signature is not ready to be searched")
        return self._table
