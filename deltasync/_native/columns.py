"""Packed columns of integers: little-endian in a message, in the machine's own order in memory."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

__all__ = ["column", "packed"]


def column(code: str, packed: bytes | memoryview) -> array[int]:
    """Unpack a little-endian column; `code` is that of `array`: `I` u32, `Q` u64, `q` i64."""
    values: array[int] = array(code)
    values.frombytes(packed)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def packed(code: str, values: Iterable[int]) -> bytes:
    """Pack integers as a little-endian column; the inverse of `column`."""
    made: array[int] = array(code, values)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()
