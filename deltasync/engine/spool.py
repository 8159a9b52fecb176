"""A list of byte records that grows with the tree and stays small: kept compressed, read forwards or backwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator

if sys.version_info >= (3, 14):
    from compression.zstd import compress, decompress
else:
    from backports.zstd import compress, decompress

__all__ = ["Spool"]

BLOCK_BYTES = 256 << 10


class Spool:
    """Records in the order of `append`; in memory, in compressed blocks, since paths shrink to a tenth.

    A record is any bytes; `len()` is the number of records.
    """

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, record: bytes) -> None:
        """Add a record at the end."""
        self._open.append(record)
        self._open_bytes += len(record)
        self._count += 1
        if self._open_bytes >= BLOCK_BYTES:
            self._blocks.append(compress(_joined(self._open), 1))
            self._open = []
            self._open_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            yield from _split(decompress(block))
        yield from self._open

    def __reversed__(self) -> Iterator[bytes]:
        yield from reversed(self._open)
        for block in reversed(self._blocks):
            yield from reversed(_split(decompress(block)))


def _joined(records: list[bytes]) -> bytes:
    return b"".join(b"%08x" % len(record) + record for record in records)


def _split(block: bytes) -> list[bytes]:
    records: list[bytes] = []
    at = 0
    while at < len(block):
        size = int(block[at : at + 8], 16)
        records.append(block[at + 8 : at + 8 + size])
        at += 8 + size
    return records
