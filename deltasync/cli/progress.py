"""Progress on a terminal: a bar and the figures on one line, the file in hand on the next; both are gone when the run is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deltasync.cli.estimate import Estimator, progress_text
from deltasync.engine.job import Progress
from deltasync.tree.names import shown

__all__ = ["TerminalProgress"]

BAR_COLUMNS = 20
"""The longest bar."""
BAR_STEP_COLUMNS = 5
"""A bar that makes room for the figures gets shorter in these steps, so that it does not change with every digit."""
GAP_COLUMNS = 2


class TerminalProgress:
    """Draws at the end of what is on the terminal; see `report.Display`.

    Args:
        stream: The terminal.
        clock: Seconds, of a clock that never goes back.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=stream, highlight=False)
        self._clock = clock
        self._estimator = Estimator()
        self._live: Live | None = None

    def show(self, progress: Progress) -> None:
        """Draw anew."""
        drawn = self._drawn(progress)
        if self._live is None:
            # It redraws when told to and not by itself: a thread of its own would write into the lines of others.
            self._live = Live(
                drawn, console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start(refresh=True)
        else:
            self._live.update(drawn, refresh=True)

    def clear(self) -> None:
        """Take away what is drawn, so that a line can be written there; the next `show` draws below it."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _drawn(self, progress: Progress) -> Group:
        estimate = self._estimator.add(self._clock(), progress)
        figures = Text(progress_text(progress, estimate), no_wrap=True, overflow="ellipsis")
        free = self._console.width - figures.cell_len - GAP_COLUMNS
        bar_columns = min(BAR_COLUMNS, free // BAR_STEP_COLUMNS * BAR_STEP_COLUMNS)
        line = figures if bar_columns <= 0 else self._with_bar(figures, progress, bar_columns)
        return Group(line, Text(shown(progress.current), no_wrap=True, overflow="ellipsis", style="dim"))

    def _with_bar(self, figures: Text, progress: Progress, columns: int) -> Table:
        known = progress.total_known and progress.bytes_total > 0
        bar = ProgressBar(
            total=progress.bytes_total if known else None,
            completed=progress.bytes_done,
            width=columns,
            pulse=not known,
            animation_time=self._clock(),
        )
        line = Table.grid(padding=(0, GAP_COLUMNS))
        line.add_row(bar, figures)
        return line
