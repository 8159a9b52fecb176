"""Memory for large frames, used again once nobody looks at it any more: fresh memory costs more than what is put into it. Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["Spare"]


class Spare:
    """Gives out pieces of memory. One thread takes; whoever holds views of a piece need not say when he is done.

    Args:
        piece_bytes: The length of one piece, at least 1.
        pieces: How many are kept; when all of them are in use, further memory is fresh.
    """

    def __init__(self, piece_bytes: int, pieces: int) -> None:
        self._piece_bytes = piece_bytes
        self._pieces = pieces
        self._kept: deque[bytearray] = deque()

    def take(self, length: int) -> memoryview:
        """Return `length` bytes, with anything in them, that nobody else has a view of until the last view of them is gone.

        Longer ones than a piece, and such as would waste most of one, are fresh.
        """
        if not self._piece_bytes // 8 <= length <= self._piece_bytes:
            return memoryview(bytearray(length))
        for _ in range(len(self._kept)):
            piece = self._kept[0]
            self._kept.rotate(-1)
            if _is_free(piece):
                return memoryview(piece)[:length]
        piece = bytearray(self._piece_bytes)
        if len(self._kept) < self._pieces:
            self._kept.append(piece)
        return memoryview(piece)[:length]


def _is_free(piece: bytearray) -> bool:
    """Tell whether there is no view of it: as long as there is one, its length can't change."""
    try:
        piece.append(piece.pop())
    except BufferError:
        return False
    return True
