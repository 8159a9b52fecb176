"""What the engines in Python demand of their arguments; the compiled one looks for itself, and says the same."""

from __future__ import annotations

__all__ = ["MAX_BLOCK_BYTES", "MAX_SUMS", "check_index", "check_scan", "check_table", "check_weak_sums"]

MAX_BLOCK_BYTES = 1 << 26
"""The longest block."""
MAX_SUMS = 1 << 22
"""Most sums of a table."""


def check_weak_sums(data_bytes: int, block_bytes: int, room: int) -> None:
    """Check what `weak_sums` is called with: the length of the data, that of a block, and how many sums there is room for.

    Raises:
        ValueError: A block has no such length, or there is room for another number of sums.
    """
    if not 1 <= block_bytes <= MAX_BLOCK_BYTES:
        raise ValueError("a block has 1 to 67,108,864 bytes")
    if room != -(-data_bytes // block_bytes):
        raise ValueError("there must be room for exactly one sum for each block")


def check_table(sums: int) -> None:
    """Check how many sums `build_table` is called with.

    Raises:
        ValueError: They are too many.
    """
    if sums > MAX_SUMS:
        raise ValueError("a table has at most 4,194,304 sums")


def check_index(index: int, sums: int) -> None:
    """Check the number of a block in a table of so many sums.

    Raises:
        ValueError: There is none of this number.
    """
    if not 0 <= index < sums:
        raise ValueError("there is no block of this number")


def check_scan(data_bytes: int, start: int, stop: int, block_bytes: int) -> None:
    """Check what `scan` is called with: the length of the data, the range of offsets, and the length of a block.

    Raises:
        ValueError: The range runs backwards or beyond the data, or a block has no such length.
    """
    if not (0 <= start <= stop <= data_bytes and 1 <= block_bytes <= MAX_BLOCK_BYTES):
        raise ValueError("a range or the length of a block is beyond its limits")
