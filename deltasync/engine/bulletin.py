"""How a watch stands, told to whoever shows it: when it has changed, not more than a few times a second, and as a sign of life."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from deltasync.engine.live import Standing

__all__ = ["Bulletin"]

EVERY_S = 0.2


class Bulletin:
    """Keeps a standing and tells of it.

    Args:
        tell: Told.
        alive_s: Tell at least so often, though nothing has changed; None for never.
        queued: Returns how many places wait to be looked at.
    """

    def __init__(self, tell: Callable[[Standing], None], alive_s: float | None, queued: Callable[[], int]) -> None:
        self.now = Standing()
        self._tell = tell
        self._alive_s = math.inf if alive_s is None else alive_s
        self._queued = queued
        self._told: Standing | None = None
        self._told_at = -math.inf

    def set(self, **fields: object) -> None:
        """Take note of what has changed; another state is told at once."""
        before, self.now = self.now, replace(self.now, **fields)  # type: ignore[arg-type]
        if self.now.state != before.state:
            self._say()

    def left_s(self) -> float:
        """Return in how many seconds there is something to tell."""
        wait_s = EVERY_S if self.now != self._told else self._alive_s
        return self._told_at + wait_s - time.monotonic()

    def tell(self) -> None:
        """Tell, if it is time."""
        if self.left_s() <= 0:
            self._say()

    def _say(self) -> None:
        self.now = replace(self.now, queued=self._queued())
        self._told, self._told_at = self.now, time.monotonic()
        self._tell(self.now)
