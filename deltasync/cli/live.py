"""Everything that a watch says: one line for each thing that a person must know, one object for each that a script may want."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Literal

from deltasync.cli.jsonout import event
from deltasync.cli.live_line import LiveLine, standing_text, together
from deltasync.cli.report import Display, OutputOptions, Report
from deltasync.cli.systemd import Notifier
from deltasync.engine.job import Summary
from deltasync.engine.latency import Latency
from deltasync.engine.live import BatchDone, Standing, Watched
from deltasync.errors import ExitCode
from deltasync.fs.standing_file import StandingFile
from deltasync.tree.names import shown

__all__ = ["LiveReport"]


COUNTED = ("files_total", "files_sent", "entries_changed", "files_deleted", "bytes_total", "literal_bytes", "matched_bytes", "resent_whole")
"""The counts of a batch."""
FIGURES = ("average", "median", "99th percentile")
"""What a person calls those of a latency."""


class LiveReport(Report):
    """An `engine.live.LiveObserver` that writes.

    Args:
        options: As in `Report`, and so on.
        channel: See there.
        make_display: See there.
        stop: See there.
        sources: The sources, as the user wrote them.
        dests: The destinations.
        line: Shows how it stands; None for nobody.
    """

    def __init__(
        self,
        options: OutputOptions,
        channel: str,
        make_display: Callable[[], Display] | None,
        stop: threading.Event,
        *,
        sources: Sequence[str],
        dests: Sequence[str],
        line: LiveLine | None = None,
    ) -> None:
        super().__init__(options, channel, make_display, stop=stop)
        self._dests = dests
        self._dest = dests[0]
        self._sources = sources
        self._modes: dict[str, str] = {}
        self._line = line
        self._standings = dict.fromkeys(dests, Standing())
        self._since = time.time()
        self._notifier = Notifier()
        self._files: dict[str, StandingFile] = {}

    def at(self, dest: str) -> LiveReport:
        """Return this, for what is said of one of the destinations next; by itself it is the first."""
        self._dest = dest
        return self

    def keep_standing(self) -> None:
        """Keep files that tell `deltasync status` how it stands."""
        try:
            for number, dest in enumerate(self._dests):
                self._files[dest] = StandingFile(number)
        except OSError as error:
            self.note(f"`deltasync status` won't show this watch: {error.strerror or error}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """See `Report`."""
        super().__exit__(kind, error, trace)
        for file in self._files.values():
            file.close()

    def standing(self, standing: Standing) -> None:
        """See `engine.live.LiveObserver`."""
        self._standings[self._dest] = standing
        every = together(list(self._standings.values()))
        self._notifier.standing(standing_text(every), ready=standing.state == "watching")
        self._show(every)
        file = self._files.get(self._dest)
        if file is not None:
            said = {"pid": os.getpid(), "sources": list(self._sources), "dest": self._dest, "since": self._since}
            try:
                file.write({**said, **dataclasses.asdict(standing)})
            except OSError as error:
                self._files.pop(self._dest).close()
                self.note(f"`deltasync status` shows this watch no more: {error.strerror}")

    def _show(self, standing: Standing) -> None:
        # While the first sync of all runs, its progress is shown.
        if self._line is not None and (standing.state != "syncing" or self._modes):
            if self._display is not None:
                self._display.clear()
            self._line.show(standing)

    def note(self, text: str) -> None:
        """See `engine.job.Observer`."""
        super().note(text)
        if self._modes:
            self._show(together(list(self._standings.values())))

    def _clear(self) -> None:
        super()._clear()
        if self._line is not None:
            self._line.clear()

    def watching(self, mode: Literal["events", "polling", "mixed"], polled: tuple[bytes, ...]) -> None:
        """See `engine.live.LiveObserver`."""
        self._tell_counted()
        before = self._modes.get(self._dest)
        self._modes[self._dest] = mode
        if self._options.json:
            if mode != before:
                self._say(event("watching", mode=mode, polled=[shown(path) or "." for path in polled], **self._which()))
        elif before is None:
            self.note(f"in sync with {self._dest}; watching for changes (Ctrl-C ends it)")

    def _which(self) -> dict[str, str]:
        return {"dest": self._dest} if len(self._dests) > 1 else {}

    def batch(self, batch: BatchDone) -> None:
        """See `engine.live.LiveObserver`."""
        self._tell_counted()
        done = batch.done
        if self._options.json:
            times = {"detected_at": batch.detected_at, "sent_at": batch.sent_at, "applied_at": batch.applied_at}
            counts = {name: getattr(done, name) for name in COUNTED}
            self._say(event("batch", **counts, **times, **self._which()))

    def connection(self, state: Literal["up", "down"], why: str) -> None:
        """See `engine.live.LiveObserver`."""
        if self._options.json:
            self._say(event("connection", state=state, dest=self._dest))
        if state == "down":
            self.note(f"{self._dest} is away: {why}; trying again until it is back")
        elif self._dest in self._modes:
            self.note(f"{self._dest} is back")

    def paused(self, reason: str) -> None:
        """See `engine.live.LiveObserver`."""
        if self._options.json:
            self._say(event("paused", reason=reason))
        self.note(f"paused: {reason}")

    def ended(self, watched: Watched) -> ExitCode:
        """Say what a watch has come to; return the exit code."""
        self._notifier.stopping()
        self._tell_counted()
        done, options = replace(watched.done, problems=tuple(self._problems)), self._options
        if not options.json and not options.quiet:
            for line in _figures(watched):
                self._complain(f"deltasync: {line}")
        return self._end(done, latency_sent_us=_fields(watched.sent), latency_applied_us=_fields(watched.applied))


def _fields(latency: Latency) -> dict[str, float]:
    return {name: round(value, 1) for name, value in latency._asdict().items()}


def _figures(watched: Watched) -> list[str]:
    done = watched.done
    files = f"{done.files_sent:,} files synced in {watched.batches:,} batches"
    lines = [f"watched for {done.elapsed_s:,.0f} s: {files}, {_moved(done):,} bytes on the wire"]
    if watched.applied.mean:
        for name, latency in (("sent", watched.sent), ("applied", watched.applied)):
            figures = ", ".join(f"{what} {value / 1000:,.1f} ms" for what, value in zip(FIGURES, latency, strict=True))
            lines.append(f"from detection to {name}, a file: {figures}")
    return lines


def _moved(done: Summary) -> int:
    return done.bytes_sent + done.bytes_received
