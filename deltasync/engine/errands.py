"""Things that are under way at once on the control thread, each told as one story that waits in between."""

from __future__ import annotations

from collections.abc import Callable, Generator

__all__ = ["Errand", "Errands", "Ready", "at_once"]

Ready = Callable[[], bool]
"""Tells whether an errand may go on."""
Errand = Generator[Ready, None, None]


def at_once() -> bool:
    """Wait for nothing but the others' turn."""
    return True


class Errands:
    """Generators that yield what they wait for; each goes on as soon as that is there."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Errand, Ready]] = {}

    def begin(self, number: int, errand: Errand) -> None:
        """Take an errand up, under the number of its file, which has no other; it does its first piece with the next `advance`."""
        self._waiting[number] = (errand, at_once)

    def end(self, number: int) -> None:
        """End the errand of a file where it is, if it has one; it cleans up behind itself."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting[0].close()

    @property
    def ready(self) -> bool:
        """Whether any can go on."""
        return any(ready() for _, ready in self._waiting.values())

    def advance(self) -> None:
        """Let each that can go on do its next piece."""
        for number, (errand, ready) in list(self._waiting.items()):
            if not ready():
                continue
            try:
                self._waiting[number] = (errand, next(errand))
            except StopIteration:
                del self._waiting[number]
            except BaseException:
                del self._waiting[number]
                raise

    def close(self) -> None:
        """End all of them where they are; each cleans up behind itself."""
        while self._waiting:
            self._waiting.popitem()[1][0].close()
