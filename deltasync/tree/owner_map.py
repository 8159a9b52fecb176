"""Whose files become whose: the pairs of `--usermap` and `--groupmap`, read and matched. Pure.

    map  = pair *("," pair)
    pair = from ":" to
    from = number / number "-" number / name / pattern / ""

The first pair that matches counts. Patterns are matched with the sender's names, and the empty one with what has no name; numbers with
numbers. The meaning of each is rsync's (rsync(1), --usermap).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from deltasync.tree.wildmatch import literal, name_expression, parse

__all__ = ["MAX_PAIRS", "Pair", "find", "parse_owner_map"]

MAX_PAIRS = 4096
"""Most pairs in a map."""

_NUMBERS = re.compile(rb"([0-9]{1,10})(?:-([0-9]{1,10}))?\Z")
_MAX_NUMBER = (1 << 32) - 1


class Pair(NamedTuple):
    """One pair.

    Attributes:
        low, high: The numbers that match; None where names do.
        name: Matches names.
        to: The name or number that stands instead, as written.
    """

    low: int | None
    high: int | None
    name: re.Pattern[bytes] | None
    to: bytes


def parse_owner_map(text: bytes) -> tuple[Pair, ...]:
    """Read pairs; none from an empty text.

    Raises:
        ValueError: They are malformed.
    """
    pairs = text.split(b",") if text else []
    if len(pairs) > MAX_PAIRS:
        raise ValueError(f"there are more than {MAX_PAIRS} pairs")
    return tuple(map(_parse, pairs))


def _parse(text: bytes) -> Pair:
    origin, colon, to = text.rpartition(b":")
    if not colon or not to or b":" in origin:
        raise ValueError(f"{text.decode(errors='replace')!r} is not FROM:TO")
    numbers = _NUMBERS.match(origin)
    if numbers is not None:
        low, high = int(numbers[1]), int(numbers[2] or numbers[1])
        if not low <= high <= _MAX_NUMBER:
            raise ValueError(f"{text.decode()!r}: the numbers are not ascending, or too large")
        return Pair(low, high, None, to)
    if origin[:1].isdigit():
        raise ValueError(f"{text.decode(errors='replace')!r}: {origin.decode(errors='replace')!r} is neither a number nor a name")
    tokens = parse(origin) if {*b"*?["} & {*origin} else literal(origin)
    if tokens is None:
        raise ValueError(f"{text.decode(errors='replace')!r}: the pattern can't match anything")
    return Pair(None, None, re.compile(name_expression(tokens) + rb"\Z", re.DOTALL), to)


def find(pairs: Sequence[Pair], number: int, name: bytes) -> bytes | None:
    """Return what stands instead of an owner, by the sender's number and name (empty for none); None if no pair matches."""
    for pair in pairs:
        if pair.name is not None:
            if pair.name.match(name):
                return pair.to
        elif pair.low is not None and pair.high is not None and pair.low <= number <= pair.high:
            return pair.to
    return None
