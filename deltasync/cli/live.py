"""Everything that a watch says: one line for each thing that a person must know, one object for each that a script may want."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from deltasync.cli.jsonout import event
from deltasync.cli.options import Given
from deltasync.cli.report import Display, OutputOptions, Report
from deltasync.engine.job import Summary
from deltasync.engine.latency import Latency
from deltasync.engine.live import BatchDone, Watched
from deltasync.errors import ExitCode
from deltasync.tree.names import shown

__all__ = ["LiveReport", "destination_text"]


COUNTED = ("files_total", "files_sent", "entries_changed", "files_deleted", "bytes_total", "literal_bytes", "matched_bytes", "resent_whole")
"""The counts of a batch."""


def destination_text(given: Given) -> str:
    """Return the destination as it was written."""
    return shown(given.places[-1])


class LiveReport(Report):
    """An `engine.live.LiveObserver` that writes.

    Args:
        options: As in `Report`, and so on.
        channel: See there.
        make_display: See there.
        stop: See there.
        dest: The destination, as the user wrote it.
    """

    def __init__(
        self, options: OutputOptions, channel: str, make_display: Callable[[], Display] | None, stop: threading.Event, dest: str
    ) -> None:
        super().__init__(options, channel, make_display, stop=stop)
        self._dest = dest
        self._mode: str | None = None

    def watching(self, mode: Literal["events", "polling", "mixed"], polled: tuple[bytes, ...]) -> None:
        """See `engine.live.LiveObserver`."""
        first, again, self._mode = self._mode is None, self._mode == mode, mode
        if self._options.json and not again:
            self._say(event("watching", mode=mode, polled=[shown(path) or "." for path in polled]))
        elif first:
            self.note(f"in sync with {self._dest}; watching for changes (Ctrl-C ends it)")

    def batch(self, batch: BatchDone) -> None:
        """See `engine.live.LiveObserver`."""
        done = batch.done
        if self._options.json:
            times = {"detected_at": batch.detected_at, "sent_at": batch.sent_at, "applied_at": batch.applied_at}
            counts = {name: getattr(done, name) for name in COUNTED}
            self._say(event("batch", **counts, **times))

    def connection(self, state: Literal["up", "down"], why: str) -> None:
        """See `engine.live.LiveObserver`."""
        if self._options.json:
            self._say(event("connection", state=state, dest=self._dest))
        if state == "down":
            self.note(f"{self._dest} is away: {why}; trying again until it is back")
        elif self._mode is not None:
            self.note(f"{self._dest} is back")

    def paused(self, reason: str) -> None:
        """See `engine.live.LiveObserver`."""
        if self._options.json:
            self._say(event("paused", reason=reason))
        self.note(f"paused: {reason}")

    def ended(self, watched: Watched) -> ExitCode:
        """Say what a watch has come to; return the exit code."""
        done, options = watched.done, self._options
        if not options.json and not options.quiet:
            for line in _figures(watched):
                self._complain(f"deltasync: {line}")
        return self._end(done, latency_sent_us=_fields(watched.sent), latency_applied_us=_fields(watched.applied))


def _fields(latency: Latency) -> dict[str, float]:
    return {name: round(value, 1) for name, value in latency._asdict().items()}


def _figures(watched: Watched) -> list[str]:
    done = watched.done
    lines = [f"watched for {done.elapsed_s:,.0f} s: {done.files_sent:,} files synced, {_moved(done):,} bytes on the wire"]
    if watched.applied.mean:
        for name, latency in (("sent", watched.sent), ("applied", watched.applied)):
            figures = ", ".join(f"{what} {value / 1000:,.1f} ms" for what, value in latency._asdict().items())
            lines.append(f"from detection to {name}, a file: {figures}")
    return lines


def _moved(done: Summary) -> int:
    return done.bytes_sent + done.bytes_received
