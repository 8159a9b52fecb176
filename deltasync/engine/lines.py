"""Itemized lines in the order of the tree, though of a file it shows only later whether it comes at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from deltasync.wire.messages import Item

__all__ = ["Lines"]

MAX_HELD = 16384
"""Most lines that are held back; beyond it the first is told, as if its file had begun to come."""


class Lines:
    """Holds the line of a file back until its content begins to come, and all lines behind it.

    As with rsync, a file that the sender turns out to be unable to read has none.

    Args:
        tell: Takes the lines that stand, in their order.
    """

    def __init__(self, tell: Callable[[Item], None]) -> None:
        self._tell = tell
        self._held: deque[_Held] = deque()
        self._awaited: dict[int, _Held] = {}

    def add(self, item: Item) -> None:
        """Take the line of something that is done."""
        if self._held:
            self._hold(_Held(item, None))
        else:
            self._tell(item)

    def expect(self, file_id: int, item: Item) -> None:
        """Take the line of a file that is asked for."""
        held = self._awaited[file_id] = _Held(item, file_id)
        self._hold(held)

    def comes(self, file_id: int) -> None:
        """Take note that a file's content begins to come; once is enough."""
        held = self._awaited.pop(file_id, None)
        if held is not None:
            held.file_id = None
            self._pass_on()

    def drop(self, file_id: int) -> None:
        """Take note that a file does not come; a line that was told stays so."""
        held = self._awaited.pop(file_id, None)
        if held is not None:
            held.file_id = held.item = None
            self._pass_on()

    def close(self) -> None:
        """Tell what stands when nothing comes any more, and forget the files that are still awaited."""
        for file_id in list(self._awaited):
            self.drop(file_id)

    def _hold(self, held: _Held) -> None:
        self._held.append(held)
        if len(self._held) > MAX_HELD and self._held[0].file_id is not None:
            self.comes(self._held[0].file_id)

    def _pass_on(self) -> None:
        while self._held and self._held[0].file_id is None:
            item = self._held.popleft().item
            if item is not None:
                self._tell(item)


class _Held:
    """A line that is held back; `file_id` is what it waits for, None for nothing, and `item` None if there shall be no line."""

    __slots__ = ("file_id", "item")

    def __init__(self, item: Item | None, file_id: int | None) -> None:
        self.item = item
        self.file_id = file_id
