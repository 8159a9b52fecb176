"""How a watch stands, as a person reads it."""

from __future__ import annotations

import io

import pytest

from deltasync.cli.live_line import LiveLine, standing_text
from deltasync.engine.live import Standing


@pytest.mark.parametrize(
    ("standing", "text"),
    [
        (Standing(), "connecting · 0 files synced"),
        (Standing("watching", "events", 0, 1204, 7), "watching · 1,204 files synced"),
        (Standing("watching", "mixed", 3), "watching (partly by polling) · 0 files synced · 3 waiting"),
        (Standing("watching", "polling", reconnects=2), "watching (by polling) · 0 files synced · 2 reconnects"),
        (Standing("away", "events"), "the peer is away · 0 files synced"),
        (Standing("paused", "events"), "paused · 0 files synced"),
    ],
)
def test_the_words(standing: Standing, text: str) -> None:
    """The state first, then what was done, then what is odd."""
    assert standing_text(standing) == text


def test_the_last_batch() -> None:
    """What it changed, when, and how long it took."""
    text = standing_text(Standing("watching", "events", last_at=1.0, last_changes=5000, last_s=0.0124))
    assert "last 5,000 changes at " in text
    assert text.endswith(" in 12.4 ms")


def test_the_line_stays_one_line() -> None:
    """It is cut to the width of the terminal, drawn over the one before, and taken away once."""
    stream = io.StringIO()
    line = LiveLine(stream, columns=lambda: 12)
    line.clear()
    line.show(Standing("watching", "events"))
    line.show(Standing("paused", "events"))
    line.clear()
    line.clear()
    assert stream.getvalue() == "\r\x1b[2Kwatching · \r\x1b[2Kpaused · 0 \r\x1b[2K"
