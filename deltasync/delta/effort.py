"""How much of a file an engine sums and rolls over. Pure.

The native engine and numpy take any file whole. Plain Python sums some 25 MB and rolls over 3 MB a second: beyond a second or two of that
it saves the user nothing, and the rest of a base is compared at its own offsets only, the rest of a gap sent as literals.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Effort", "effort"]


class Effort(NamedTuple):
    """What is done for one file.

    Attributes:
        sum_bytes: How much of a base gets weak sums.
        roll_bytes: How much of a target is rolled over, over both rounds.
    """

    sum_bytes: int
    roll_bytes: int


_UNBOUNDED = Effort(1 << 62, 1 << 62)
_PYTHON = Effort(32 << 20, 2 << 20)


def effort(engine: str) -> Effort:
    """Return what an engine, by its name, does for one file."""
    return _PYTHON if engine in ("python", "pyrsync2") else _UNBOUNDED
