"""Compression of frame bodies with zstd, and the quick sample that says whether it pays. Pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError

__all__ = ["LEVEL", "MIN_BODY_BYTES", "compress", "decompress", "pays"]

LEVEL = 1
"""zstd's level: 0.5 GB/s on text at a fifth of its size; higher ones cost more time than a common line saves."""

MIN_BODY_BYTES = 128
SAMPLE_BYTES = 16 << 10
WORTHWHILE = 0.92
"""A sample that shrinks to no less than this share of its size is called incompressible."""

_DECOMPRESS: dict[int, int] = {DecompressionParameter.window_log_max: 21}
"""A frame holds at most 1 MiB, so that no honest window is larger than 2 MiB."""

Part = bytes | bytearray | memoryview


def compress(parts: Sequence[Part], length: int) -> bytes | None:
    """Return the parts as one zstd frame, or None where that would not be smaller."""
    if length < MIN_BODY_BYTES:
        return None
    compressor = ZstdCompressor(level=LEVEL)
    made = b"".join([compressor.compress(part) for part in parts])
    made += compressor.flush()
    return made if len(made) + 4 < length else None


def decompress(data: memoryview, length: int) -> bytes:
    """Return the content of one zstd frame that must hold exactly `length` bytes.

    Raises:
        ValueError: It is no zstd frame, or holds more or fewer bytes; never more than `length` + 1 are produced.
    """
    decompressor = ZstdDecompressor(options=_DECOMPRESS)
    try:
        made = decompressor.decompress(data, max_length=length + 1)
    except ZstdError as error:
        raise ValueError(f"bad compressed data ({error})") from error
    if len(made) != length or not decompressor.eof or decompressor.unused_data:
        raise ValueError("compressed data has another length than it says")
    return made


def pays(content: Part) -> bool:
    """Tell from a sample of the middle whether content is worth compressing."""
    if len(content) < MIN_BODY_BYTES:
        return False
    start = max(0, (len(content) - SAMPLE_BYTES) // 2)
    sample = memoryview(content)[start : start + SAMPLE_BYTES]
    return len(ZstdCompressor(level=LEVEL).compress(sample, ZstdCompressor.FLUSH_FRAME)) < WORTHWHILE * len(sample)
