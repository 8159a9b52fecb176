"""The file digest: BLAKE3 over a file's length and the BLAKE3 digests of its fixed leaves. Pure.

    leaf_bytes(size)  = 32 KiB, doubled until the file has at most 65,536 leaves
    leaf(i)           = BLAKE3(content[i * leaf_bytes : (i + 1) * leaf_bytes])
    digest            = BLAKE3(u64le(size) || leaf(0) || leaf(1) || ...)

The leaves are independent, so that they can be computed out of order and in parallel, remembered, and resumed; an empty file has none.
BLAKE3 is used unkeyed with its 32-byte output (O'Connor, Aumasson, Neves, Wilcox-O'Hearn: BLAKE3, 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct

from blake3 import blake3

__all__ = [
    "DIGEST_BYTES",
    "MAX_LEAVES",
    "MIN_LEAF_BYTES",
    "SAME_DIGEST_BYTES",
    "FileDigest",
    "file_digest",
    "leaf_bytes",
    "same_digest",
    "zero_digest",
]

DIGEST_BYTES = 32
MIN_LEAF_BYTES = 32 << 10
MAX_LEAVES = 1 << 16

SAME_DIGEST_BYTES = 16
"""How much of a BLAKE3 tells that two small files are equal."""

_LENGTH = Struct("<Q")


def leaf_bytes(size: int) -> int:
    """Return the leaf length for a file of `size` bytes: a power of two of at least 32 KiB."""
    leaf = MIN_LEAF_BYTES
    while leaf * MAX_LEAVES < size:
        leaf *= 2
    return leaf


def file_digest(size: int, leaves: Sequence[bytes]) -> bytes:
    """Return the digest of a file of `size` bytes from those of its leaves.

    Raises:
        ValueError: It has another number of leaves.
    """
    if len(leaves) != -(-size // leaf_bytes(size)):
        raise ValueError(f"a file of {size} bytes has not {len(leaves)} leaves")
    return blake3(_LENGTH.pack(size) + b"".join(leaves)).digest()


def same_digest(content: bytes) -> bytes:
    """Return what tells whether two small files of one length are equal."""
    return blake3(content).digest(SAME_DIGEST_BYTES)


@lru_cache(maxsize=64)
def zero_digest(size: int) -> bytes:
    """Return the BLAKE3 of `size` zero bytes; at most a few sizes are ever asked for."""
    hasher = blake3()
    block = bytes(min(size, 1 << 20))
    left = size
    while left:
        take = min(left, len(block))
        hasher.update(memoryview(block)[:take])
        left -= take
    return hasher.digest()


class FileDigest:
    """Computes the digest of one file from its content in order, in pieces of any size.

    Args:
        size: The file's length in bytes, known beforehand because it decides the leaf length.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.leaf_bytes = leaf_bytes(size)
        self._root = blake3(_LENGTH.pack(size))
        self._open = blake3()
        self._filled = 0
        self._done = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the content."""
        view = memoryview(data)
        at, end = 0, len(view)
        if self._filled:
            at = min(self.leaf_bytes - self._filled, end)
            self._extend(view[:at])
        leaf = self.leaf_bytes
        while end - at >= leaf:
            self._add(blake3(view[at : at + leaf]).digest())
            at += leaf
            self._done += leaf
        if at < end:
            self._extend(view[at:])

    def zeros(self, count: int) -> None:
        """Take `count` zero bytes, at a cost that does not grow with the leaf's length for whole leaves."""
        zero = memoryview(bytes(min(count, 1 << 20)))
        while count:
            if not self._filled and count >= self.leaf_bytes:
                self._add(zero_digest(self.leaf_bytes))
                self._done += self.leaf_bytes
                count -= self.leaf_bytes
                continue
            take = min(count, self.leaf_bytes - self._filled, len(zero))
            self._extend(zero[:take])
            count -= take

    def _extend(self, piece: memoryview) -> None:
        self._open.update(piece)
        self._filled += len(piece)
        if self._filled == self.leaf_bytes:
            self._close_leaf()

    def _add(self, digest: bytes) -> None:
        self._root.update(digest)

    def _close_leaf(self) -> None:
        self._add(self._open.digest())
        self._done += self._filled
        self._open = blake3()
        self._filled = 0

    def digest(self) -> bytes:
        """Return the 32-byte digest of everything taken.

        Raises:
            ValueError: Not exactly `size` bytes were taken.
        """
        if self._done + self._filled != self.size:
            raise ValueError(f"{self._done + self._filled} bytes were taken of a file of {self.size}")
        if self._filled:
            self._close_leaf()
        return self._root.digest()
