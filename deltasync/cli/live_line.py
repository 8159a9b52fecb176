"""The line that shows on a terminal how a watch stands; it is drawn anew in its place, and taken away for whatever else is written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TextIO

from deltasync.engine.live import Standing

__all__ = ["LiveLine", "standing_text", "together"]

_RANKED = ("paused", "away", "starting", "syncing", "watching")

_WORDS = {"away": "the peer is away", "starting": "connecting", "syncing": "comparing"}


def standing_text(standing: Standing) -> str:
    """Return how a watch stands, in a few words."""
    parts = [_WORDS.get(standing.state, standing.state)]
    if standing.state == "watching" and standing.mode in ("polling", "mixed"):
        parts[0] += f" ({'partly ' * (standing.mode == 'mixed')}by polling)"
    parts.append(f"{standing.files:,} files synced")
    if standing.last_at:
        when = time.strftime("%H:%M:%S", time.localtime(standing.last_at))
        parts.append(f"last {standing.last_changes:,} changes at {when} in {standing.last_s * 1000:,.1f} ms")
    if standing.queued:
        parts.append(f"{standing.queued:,} waiting")
    if standing.reconnects:
        parts.append(f"{standing.reconnects:,} reconnects")
    return " · ".join(parts)


def together(standings: Sequence[Standing]) -> Standing:
    """Return how watches of several destinations stand: as the one that most needs a look, and what they have done in all."""
    last = max(standings, key=lambda one: one.last_at)
    sums = {name: sum(getattr(one, name) for one in standings) for name in ("queued", "files", "batches", "reconnects")}
    worst = min(standings, key=lambda one: _RANKED.index(one.state))
    return replace(last, state=worst.state, mode=worst.mode, **sums)


class LiveLine:
    """Draws the line.

    Args:
        stream: The terminal.
        columns: Returns how wide it is.
    """

    def __init__(self, stream: TextIO, columns: Callable[[], int] | None = None) -> None:
        self._stream = stream
        self._columns = columns or (lambda: os.get_terminal_size(stream.fileno()).columns)
        self._drawn = False

    def show(self, standing: Standing) -> None:
        """Draw anew."""
        text = standing_text(standing)
        self._write("\r\x1b[2K" + text[: (self._columns() or 80) - 1])
        self._drawn = True

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._drawn = False
            self._write("\r\x1b[2K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
