"""`deltasync push` and `deltasync pull`: from the command line to the exit code."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence

from deltasync.channel.ahead import Ahead
from deltasync.cli.job import live_settings, make_job, make_jobs, output_options, route_of, settings_of
from deltasync.cli.options import Given, parse
from deltasync.cli.places import Route
from deltasync.cli.report import Display, OutputOptions, Report
from deltasync.cli.signals import StopEvent, caught, raised
from deltasync.cli.streams import STDERR, LineWriter
from deltasync.engine.job import Direction, channel_of
from deltasync.engine.live import LiveObserver, WatchOptions
from deltasync.errors import Interrupted, UsageError
from deltasync.tree.names import shown
from deltasync.wire.settings import Settings

__all__ = ["transfer"]


def transfer(direction: Direction, words: Sequence[str], stop: StopEvent, ahead: Ahead | None = None) -> int:
    """Run a command; return the exit code.

    Args:
        direction: Which of the two.
        words: What follows it on the command line.
        stop: Ends the run; may be set already, by a signal that came while all this was loaded.
        ahead: The session over SSH that was begun meanwhile; None for none.

    Raises:
        UsageError: The command line is wrong; nothing was done.
    """
    given = parse(direction, list(words))
    if given is None:
        return 0
    output = output_options(given)
    way = route_of(direction, given)
    settings = settings_of(given, output)
    live = live_settings(given, settings)
    channel = "local" if way.host is None else "ssh" if way.host.root is None else "tcp"
    if live is not None:
        return _watch(given, output, way, live, stop)
    with Report(output, channel, _display_maker(output, stop), stop=stop) as report, caught(stop, report.abandon):
        try:
            with raised():
                if stop.is_set():
                    raise Interrupted("interrupted")
                # The files that the options name may be pipes, which are opened and read for as long as the other end likes.
                job = make_job(given, way, settings)
                report.open_log()
            from deltasync.engine.run import run

            return report.finish(run(job, report, stop, ahead))
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect too ends in one line and a summary.
            return report.fail(error)


def _watch(given: Given, output: OutputOptions, way: Route, live: tuple[Settings, WatchOptions], stop: StopEvent) -> int:
    """Run a push that watches; return the exit code."""
    from deltasync.cli.live import LiveReport
    from deltasync.cli.live_line import LiveLine
    from deltasync.cli.members import Member

    settings, options = live
    sources = [*map(shown, given.places[:-1])]
    dests = [*map(shown, (given.places[-1], *given.values["also"]))]
    jobs = make_jobs(given, way, settings)
    display = _display_maker(output, stop)
    line = LiveLine(sys.stderr) if display is _on_terminal else None
    with (
        LiveReport(output, channel_of(jobs[0].remote), display, stop=stop, sources=sources, dests=dests, line=line) as report,
        caught(stop, report.abandon),
    ):
        try:
            report.open_log()
            report.keep_standing()
            from deltasync.engine.watches import watch

            lock = threading.Lock()
            members: list[LiveObserver] = [Member(report, dest, lock, first=dest == dests[0]) for dest in dests]
            return report.ended(watch(jobs, options, members if len(members) > 1 else [report], stop))
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect too ends in one line and a summary.
            return report.fail(error)


def _display_maker(output: OutputOptions, stop: StopEvent) -> Callable[[], Display] | None:
    """Return what makes a display of the progress, if there is to be one."""
    if output.quiet or output.progress is False:
        return None
    if sys.stderr is not None and os.isatty(STDERR) and os.environ.get("TERM") not in (None, "", "dumb"):
        return _on_terminal
    return (lambda: _plain(stop)) if output.progress else None


def _on_terminal() -> Display:
    from deltasync.cli.progress import TerminalProgress

    return TerminalProgress(sys.stderr)


def _plain(stop: StopEvent) -> Display:
    from deltasync.cli.plain_progress import PlainProgress

    return PlainProgress(LineWriter(STDERR, stop).line)
