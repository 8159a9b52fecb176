"""`push --watch` to one destination or to several: one set of the kernel's events, and for each destination a watch with its own pace."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TYPE_CHECKING

from deltasync.detect.detector import Detector
from deltasync.detect.polls import PollReason, Polls
from deltasync.detect.worklist import Mark
from deltasync.engine.job import Job
from deltasync.engine.latency import Latencies
from deltasync.engine.live import LiveObserver, Watched, WatchOptions
from deltasync.engine.marks import Marks
from deltasync.engine.watch import Watch
from deltasync.errors import DeltasyncError, UsageError, worst
from deltasync.tree.filters import Filters
from deltasync.tree.merging import items_from_wire, merge_file_names, sure_rules
from deltasync.tree.rules import Side

if TYPE_CHECKING:
    from deltasync.detect.inotify import Inotify

__all__ = ["watch"]

LOOK_EVERY_S = 0.5
"""How often the thread that started the watches wakes up, so that signals find it."""


def watch(jobs: Sequence[Job], options: WatchOptions, observers: Sequence[LiveObserver], stop: threading.Event) -> Watched:
    """Push until `stop` is set.

    Args:
        jobs: What to push, the same in each, and where.
        options: How changes are watched.
        observers: Hear of everything, one for each job; called on threads of their own if there are several.
        stop: Set to end; it ends within a second.

    Raises:
        UsageError: A filter rule is malformed.
        DeltasyncError: What no further attempt can mend, for the only destination or for all; of several it is the first one's.
    """
    try:
        rules = items_from_wire(jobs[0].settings.rules, Side.SENDER)
    except ValueError as error:
        raise UsageError(f"a filter rule is malformed: {error}") from error
    marks = [Marks(options.settle_s) for _ in jobs]
    inotify = (
        None if options.poll_s is not None else _inotify(_Spread(marks), Filters(sure_rules(rules)), frozenset(merge_file_names(rules)))
    )
    why = None if options.poll_s is None else PollReason.ASKED
    latencies = Latencies(), Latencies()
    try:
        made = [
            Watch(job, options, observer, stop, own, Detector(inotify, Polls(options.poll_s), why), latencies)
            for job, observer, own in zip(jobs, observers, marks, strict=True)
        ]
        return made[0].run() if len(made) == 1 else _together(made, observers, latencies)
    finally:
        if inotify is not None:
            inotify.close()


class _Spread:
    """A `detect.inotify.Sink` that tells all destinations."""

    def __init__(self, sinks: Sequence[Marks]) -> None:
        self._sinks = sinks

    def mark(self, directory: bytes, name: bytes, mark: Mark, wait_s: float) -> None:
        """See `Sink`."""
        for sink in self._sinks:
            sink.mark(directory, name, mark, wait_s)

    def touch(self, directory: bytes) -> None:
        """See `Sink`."""
        for sink in self._sinks:
            sink.touch(directory)

    def rename(self, old: bytes, new: bytes) -> None:
        """See `Sink`."""
        for sink in self._sinks:
            sink.rename(old, new)

    def overflowed(self) -> None:
        """See `Sink`."""
        for sink in self._sinks:
            sink.overflowed()

    def contradicted(self) -> None:
        """See `Sink`."""
        for sink in self._sinks:
            sink.contradicted()

    def root_ended(self) -> None:
        """See `Sink`."""
        for sink in self._sinks:
            sink.root_ended()


def _inotify(sink: _Spread, filters: Filters, rule_files: AbstractSet[bytes]) -> Inotify | None:
    """Return the kernel's events, begun; None where there are none to be had."""
    try:
        from deltasync.detect.inotify import Inotify

        inotify = Inotify(sink, filters, rule_files)
    except (OSError, ImportError):
        # Another system, or no instance is left: everything is polled, and the user is told.
        return None
    inotify.start()
    return inotify


def _together(watches: Sequence[Watch], observers: Sequence[LiveObserver], latencies: tuple[Latencies, Latencies]) -> Watched:
    """Run several watches, each on a thread; one that fails for good does not end the others."""
    done: dict[int, Watched] = {}
    failed: dict[int, Exception] = {}

    def run(number: int) -> None:
        try:
            done[number] = watches[number].run()
        except DeltasyncError as error:
            failed[number] = error
            if len(failed) < len(watches):
                observers[number].note(f"given up: {error}")
        except Exception as error:  # noqa: BLE001 - the thread that started this one raises it.
            failed[number] = error

    threads = [threading.Thread(target=run, args=(number,), name=f"watch-{number}") for number in range(len(watches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(LOOK_EVERY_S)
    defects = [error for error in failed.values() if not isinstance(error, DeltasyncError)]
    if defects or not done:
        raise (defects or [failed[number] for number in sorted(failed)])[0]
    return _sum([done[number] for number in sorted(done)], failed, latencies)


def _sum(parts: Sequence[Watched], failed: dict[int, Exception], latencies: tuple[Latencies, Latencies]) -> Watched:
    total = parts[0].done
    for part in parts[1:]:
        total = total.after(part.done)
    codes = [error.exit_code for error in failed.values() if isinstance(error, DeltasyncError)]
    total = replace(total, exit_code=worst(total.exit_code, *codes), elapsed_s=max(part.done.elapsed_s for part in parts))
    sent, applied = (each.figures() for each in latencies)
    return Watched(total, sent, applied, sum(part.batches for part in parts), sum(part.reconnects for part in parts))
