"""What a listener tells about itself: events with fields, and of what strangers do at most one a second for each address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic

__all__ = ["Field", "ListenLog"]

Field = str | int | float

MAX_ADDRESSES = 1024
"""How many addresses are kept apart within a second; what more there are goes untold."""
_SECOND = 1.0


class ListenLog:
    """Hands events on.

    Args:
        write: Takes the name of an event and its fields; the values may hold anything, and are escaped where they are written.
        clock: Seconds that only grow.
    """

    def __init__(self, write: Callable[[str, Mapping[str, Field]], None], clock: Callable[[], float] = monotonic) -> None:
        self._write = write
        self._clock = clock
        self._since = clock()
        self._told: dict[str, int] = {}

    def event(self, name: str, **fields: Field) -> None:
        """Tell of something that a trusted client or this side has done."""
        self._write(name, fields)

    def stranger(self, name: str, address: str, **fields: Field) -> None:
        """Tell of something that anybody can cause; how often it was left untold the next line says."""
        now = self._clock()
        if now - self._since >= _SECOND:
            untold = sum(count - 1 for count in self._told.values())
            self._told, self._since = {}, now
            if untold:
                self._write("untold", {"events": untold})
        if address in self._told:
            self._told[address] += 1
        elif len(self._told) < MAX_ADDRESSES:
            self._told[address] = 1
            self._write(name, {"address": address, **fields})
