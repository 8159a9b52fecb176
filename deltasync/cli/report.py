"""Everything that a run says, to a person or a script: the observer of the engine, and the summary at the end.

It owns stdout, stderr and the log while a run lasts, so that a line never lands within the progress display.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

from deltasync._native import engine_name
from deltasync.cli.failures import LocalFileError, failure_line, problem_line, told
from deltasync.cli.streams import STDERR, STDOUT, LineWriter
from deltasync.cli.text import item_line, name_line, stats_lines, total_lines
from deltasync.engine.job import Progress, Summary
from deltasync.errors import DeltasyncError, ExitCode, Problem, worst
from deltasync.tree.names import shown

__all__ = ["Display", "OutputOptions", "Report"]

MAX_ALIKE = 20
"""So many paths are named that failed for one reason which is not theirs alone; the others are counted."""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What is to be said.

    Attributes:
        itemize: Itemized lines (`-i`).
        verbose: Names and totals (`-v`).
        quiet: Nothing but errors (`-q`); what `json` says on stdout stays.
        json: Objects instead of text on stdout.
        stats: Figures at the end.
        dry_run: Nothing is being done in truth.
        progress: Whether to show progress; None where stderr is a terminal.
        log_file: A file to append to, or None.
    """

    itemize: bool = False
    verbose: bool = False
    quiet: bool = False
    json: bool = False
    stats: bool = False
    dry_run: bool = False
    progress: bool | None = None
    log_file: bytes | None = None

    @property
    def wants_items(self) -> bool:
        """Whether the engine has to tell of items."""
        text = (self.itemize or self.verbose) and not self.quiet
        return self.log_file is not None or ((self.itemize or self.dry_run) if self.json else text)


class Display(Protocol):
    """A picture of the progress at the end of what was written to stderr."""

    def show(self, progress: Progress) -> None:
        """Draw anew."""

    def clear(self) -> None:
        """Take away what is drawn, so that a line can be written there."""


class Report:
    """An `engine.job.Observer` that writes; a context manager that leaves nothing drawn or open.

    Args:
        options: What is to be said.
        channel: `Summary.channel` of a run that fails before there is one.
        make_display: Makes what shows the progress, once there is any; None for no display.
        clock: Seconds, of a clock that never goes back.
        stop: The event that ends the run; once it is set, a reader that does not read is waited for no longer.
    """

    def __init__(
        self,
        options: OutputOptions,
        channel: str,
        make_display: Callable[[], Display] | None = None,
        clock: Callable[[], float] = time.monotonic,
        stop: threading.Event | None = None,
    ) -> None:
        self._options = options
        self._reached = Summary(channel=channel, engine=engine_name())
        self._make_display = make_display
        self._display: Display | None = None
        self._clock = clock
        self._began_at = clock()
        self._stop = stop
        self._out = LineWriter(STDOUT, stop)
        self._err = LineWriter(STDERR, stop)
        self._lost: set[str] = set()
        self._problems: list[Problem] = []
        self._alike: Counter[str] = Counter()
        self._log: LineWriter | None = None
        self._log_descriptor = -1
        self._ended = False

    def __enter__(self) -> Self:
        """Nothing is opened yet: see `open_log`."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Take away the display, close the log."""
        self._clear()
        if self._log_descriptor >= 0:
            os.close(self._log_descriptor)

    def open_log(self) -> None:
        """Open the log, if there is to be one.

        Raises:
            LocalFileError: It can't be written to.
        """
        file = self._options.log_file
        if file is None:
            return
        try:
            self._log_descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise LocalFileError(f"{shown(file)}: the log can't be written: {error.strerror}") from error
        self._log = LineWriter(self._log_descriptor, self._stop)

    def item(self, code: str, path: bytes, link: bytes) -> None:
        """See `engine.job.Observer`."""
        options = self._options
        if self._log is not None:
            self._to_log(item_line(code, path, link))
        if options.json:
            if options.itemize or options.dry_run:
                from deltasync.cli.jsonout import item_event

                self._say(item_event(code, path))
        elif not options.quiet:
            line = item_line(code, path, link) if options.itemize else name_line(code, path, link) if options.verbose else None
            if line is not None:
                self._say(line)

    def problem(self, problem: Problem) -> None:
        """See `engine.job.Observer`."""
        self._problems.append(problem)
        line = problem_line(problem.path, problem.error)
        if problem.exit_code == ExitCode.LOCAL_IO and not self._options.verbose:
            # A full disk fails every path alike: who reads that wants to know it, not to scroll.
            self._alike[problem.error] += 1
            if self._alike[problem.error] > MAX_ALIKE:
                self._to_log(line)
                return
        self._complain(line)

    def note(self, text: str) -> None:
        """See `engine.job.Observer`."""
        line = f"deltasync: {shown(text)}"
        self._to_log(line)
        if not self._options.quiet:
            self._clear()
            self._err.line(line)

    def progress(self, progress: Progress) -> None:
        """See `engine.job.Observer`."""
        if self._display is None and self._make_display is not None:
            self._display = self._make_display()
        if self._display is not None:
            self._display.show(progress)

    def broken_off(self, reached: Summary) -> None:
        """See `engine.job.Observer`."""
        self._reached = reached

    def _tell_counted(self) -> None:
        """Say how many paths failed that were not named."""
        for error, count in self._alike.items():
            if count > MAX_ALIKE:
                self._clear()
                self._err.line(f"deltasync: {count - MAX_ALIKE:,} more paths: {shown(error)}; -v, --json and --log-file name them")
        self._alike.clear()

    def finish(self, summary: Summary) -> ExitCode:
        """Say what a run has come to; return the exit code, which is another one if something could not be said."""
        self._tell_counted()
        options = self._options
        if not options.json and not options.quiet and (options.verbose or options.stats):
            if options.stats:
                for line in stats_lines(summary):
                    self._say(line)
            for line in ["", *total_lines(summary, dry_run=options.dry_run)]:
                self._say(line)
        if self._log is not None:
            for line in total_lines(summary, dry_run=options.dry_run):
                self._to_log(line)
        return self._end(summary)

    def fail(self, error: Exception) -> ExitCode:
        """Say what ended a run; return the exit code."""
        self._tell_counted()
        self._clear()
        if isinstance(error, DeltasyncError):
            line, code = failure_line(error)
            self._complain(line)
        else:
            self._to_log(failure_line(error)[0])
            code = told(error)
        return self._end(self._broken(code))

    def abandon(self) -> None:
        """Say the last that can be said at once, since the process ends with `ExitCode.INTERRUPTED` right away; from a signal handler."""
        if self._display is not None and os.isatty(STDERR):
            # The display has hidden the cursor; to take it away might write into a line that is just being written.
            self._err.write(b"\x1b[?25h\n")
        if self._options.json and not self._ended and self._out.takes_at_once():
            self._end(self._broken(ExitCode.INTERRUPTED))

    def _broken(self, code: ExitCode) -> Summary:
        """Return the summary of a run that ends now, with what the engine has told of it."""
        return replace(self._reached, problems=tuple(self._problems), elapsed_s=self._clock() - self._began_at, exit_code=code)

    def _end(self, summary: Summary, **more: object) -> ExitCode:
        """Say the last; `more` are further fields of the JSON summary."""
        self._ended = True
        code = self._with_losses(summary.exit_code)
        if self._options.json and code != ExitCode.USAGE:
            from deltasync.cli.jsonout import summary_event

            self._say(summary_event(replace(summary, exit_code=code), more))
            code = self._with_losses(code)
        return code

    def _with_losses(self, code: ExitCode) -> ExitCode:
        """Say once what could not be written; return the exit code, which is another one then."""
        for what, writer in (("standard output", self._out), ("the log", self._log)):
            if writer is not None and writer.error is not None and what not in self._lost:
                self._lost.add(what)
                self._complain(f"deltasync: {what} can't be written to: {writer.error.strerror}")
                code = worst(code, ExitCode.LOCAL_IO)
        return code

    def _say(self, line: str) -> None:
        self._clear()
        self._out.line(line)

    def _complain(self, line: str) -> None:
        self._clear()
        self._to_log(line)
        self._err.line(line)

    def _to_log(self, line: str) -> None:
        if self._log is not None:
            self._log.line(f"{time.strftime('%Y/%m/%d %H:%M:%S')} [{os.getpid()}] {line}")

    def _clear(self) -> None:
        if self._display is not None:
            self._display.clear()
