"""The messages that carry contents, checksums and ranges: fixed layouts, so that no content is copied into an encoder. Pure.

`docs/protocol.md` is the normative description, byte by byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

__all__ = [
    "MAX_BLOCK_BYTES",
    "MAX_COPIES",
    "MAX_DELTAS",
    "MAX_FILE_DATA_BYTES",
    "MAX_GAPS",
    "MAX_ID",
    "MAX_PACK_FILES",
    "MAX_SIGNATURE_BLOCKS",
    "MAX_ZEROS_BYTES",
    "MIN_BLOCK_BYTES",
    "Entries",
    "FileAbort",
    "FileBegin",
    "FileCopy",
    "FileData",
    "FileEnd",
    "FileZeros",
    "Gaps",
    "Pack",
    "Signature",
    "pack_slices",
]

MAX_PACK_FILES = 4096
MAX_FILE_DATA_BYTES = 512 << 10
MAX_ZEROS_BYTES = 256 << 20
"""Longest run of zeros in one message, so that no message costs the receiver more than a moment."""
MAX_ID = 1 << 62
MIN_BLOCK_BYTES = 256
"""Shortest block of a signature: below it the sums are as long as what they stand for is worth."""
MAX_BLOCK_BYTES = 64 << 20
MAX_DELTAS = 8
"""Most files whose signatures may be on their way or in use at once: each side holds their checksums in memory."""
MAX_SIGNATURE_BLOCKS = 16384
"""Most blocks in one `Signature` message."""
MAX_COPIES = 16384
"""Most ranges in one `FileCopy` message."""
MAX_GAPS = 32768
"""Most ranges in one `Gaps` message."""


class Entries(NamedTuple):
    """A chunk of entries, packed as in `tree.rows`."""

    chunk: bytes


class Pack(NamedTuple):
    """Many small files, whole.

    Attributes:
        ids: The files, u64.
        sizes: Their lengths, u32.
        mtimes_ns: Their mtimes as they were when read, i64.
        modes: Their modes as they were when read, u32.
        content: Their contents, one after the other.
    """

    ids: Sequence[int]
    sizes: Sequence[int]
    mtimes_ns: Sequence[int]
    modes: Sequence[int]
    content: bytes | bytearray | memoryview


class FileBegin(NamedTuple):
    """A file that is sent as a stream begins; size, time and mode are those of the file as it is read now."""

    file_id: int
    size: int
    mtime_ns: int
    mode: int


class FileCopy(NamedTuple):
    """Ranges of a streamed file that are ranges of its base; no two ranges of a file's target overlap.

    Attributes:
        file_id: The file; a signature of its base was sent.
        target_at: Where each range begins in the file, u64.
        base_at: Where it begins in the base, u64.
        lengths: How long it is, u64, at least 1.
    """

    file_id: int
    target_at: Sequence[int]
    base_at: Sequence[int]
    lengths: Sequence[int]


class Gaps(NamedTuple):
    """The first round is over; a signature of smaller blocks is asked for, over ranges of the base that had no match.

    Attributes:
        file_id: The file.
        block_bytes: The length of those blocks; each range begins with a block and ends with one that may be shorter.
        strong_bytes: How many bytes of each block's strong checksum are wanted.
        starts: Where each range begins in the base, u64, ascending.
        lengths: How long it is, u64, at least 1.
    """

    file_id: int
    block_bytes: int
    strong_bytes: int
    starts: Sequence[int]
    lengths: Sequence[int]


class Signature(NamedTuple):
    """The checksums of the next blocks of a base.

    Attributes:
        file_id: The file.
        base_bytes: The length of the base.
        block_bytes: The length of its blocks; in the second round that of `Gaps`.
        strong_bytes: How many bytes of each strong checksum there are, 4..32.
        first: Number of the first of these blocks; each round counts from 0, without a gap.
        weak: The weak sums, u32 each, little-endian.
        strong: The strong checksums, one after the other.
    """

    file_id: int
    base_bytes: int
    block_bytes: int
    strong_bytes: int
    first: int
    weak: bytes | memoryview
    strong: bytes | memoryview


class FileData(NamedTuple):
    """The next bytes of a streamed file, among those that no `FileCopy` covers."""

    file_id: int
    content: bytes | bytearray | memoryview


class FileZeros(NamedTuple):
    """The next `zero_bytes` bytes of a streamed file are zero, among those that no `FileCopy` covers."""

    file_id: int
    zero_bytes: int


class FileEnd(NamedTuple):
    """A streamed file is complete; its digest."""

    file_id: int
    digest: bytes


class FileAbort(NamedTuple):
    """A wanted file is not sent: what came of it is void. With `again` it begins anew; otherwise it is given up (a Trouble says why)."""

    file_id: int
    again: bool


def pack_slices(pack: Pack) -> list[memoryview]:
    """Return the content of each file of a pack, as views."""
    view = memoryview(pack.content)
    ends = list(accumulate(pack.sizes))
    return [view[end - size : end] for end, size in zip(ends, pack.sizes, strict=True)]
