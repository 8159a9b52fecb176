"""All patterns of a list matched at once, byte by byte, in time that no pattern can blow up. Pure.

The states are the bits of one integer: each pattern owns a run of bits, one per token and one for its end, and a bit is set where the
bytes so far can be what stands before that token. A byte costs a few operations on integers of that width, whatever the patterns are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from deltasync.tree.wildmatch import Star, Token

__all__ = ["Automaton", "bits_of"]


def bits_of(number: int) -> Iterator[int]:
    """Yield the places of the set bits of a number of 0 or more, the lowest first."""
    for index, byte in enumerate(number.to_bytes((number.bit_length() + 7) // 8, "little")):
        while byte:
            low = byte & -byte
            yield index * 8 + low.bit_length() - 1
            byte ^= low  # noqa: PLW2901 - The bits that are left are the loop's state.


def _number_of(places: Sequence[int], width: int) -> int:
    """Return the number whose set bits are at `places`, in time proportional to their count and the width."""
    packed = bytearray(width // 8 + 1)
    for place in places:
        packed[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(packed, "little")


class Automaton:
    """Matches texts against many patterns in one pass.

    Args:
        patterns: The tokens of each; the order numbers them.

    Attributes:
        width: How many bits the states have.
        begins: For each pattern the bit of its first token; those of the others follow, and behind them the one that says that all of
            it has matched.
        stars: The bits of all stars.
    """

    def __init__(self, patterns: Sequence[Sequence[Token]]) -> None:
        *begins, width = accumulate((len(tokens) + 1 for tokens in patterns), initial=0)
        self.width = width
        self.begins = tuple(begins)
        self._places: dict[int, list[int]] = {}
        stars: dict[Star, list[int]] = {Star.NAME: [], Star.PATH: []}
        for begin, tokens in zip(begins, patterns, strict=True):
            for place, token in enumerate(tokens, begin):
                if isinstance(token, Star):
                    stars[token].append(place)
                else:
                    self._places.setdefault(token, []).append(place)
        self._path_stars = _number_of(stars[Star.PATH], width)
        self.stars = self._path_stars | _number_of(stars[Star.NAME], width)
        self._takers: dict[int, int] = {}

    def states(self, places: Sequence[int]) -> int:
        """Return the states in which the tokens at these bits are next, and what stands behind them where they are stars."""
        return self._settled(_number_of(places, self.width))

    def run(self, states: int, text: bytes) -> int:
        """Return the states after some more bytes, each of 1..255."""
        takers, stars, path_stars = self._takers, self.stars, self._path_stars
        for byte in text:
            if not states:
                break
            taker = takers.get(byte)
            if taker is None:
                taker = takers[byte] = self._taker(byte)
            states = (states & taker) << 1 | states & (path_stars if byte == 0x2F else stars)
            states |= (states & stars) << 1
        return states

    def _settled(self, states: int) -> int:
        # Stars never stand side by side, so one step is enough.
        return states | (states & self.stars) << 1

    def _taker(self, byte: int) -> int:
        """Return the bits of the tokens that take a byte; made when it is first met, since most never are."""
        return _number_of([place for members, places in self._places.items() if members >> byte & 1 for place in places], self.width)
