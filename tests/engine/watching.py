"""Watches inside this process, as tests start them: what they say is kept, and what comes of them can be awaited."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pytest

from deltasync.engine.connecting import Connection, Connector
from deltasync.engine.job import Job
from deltasync.engine.live import BatchDone, Standing, Watched, WatchOptions
from deltasync.engine.marks import Marks
from deltasync.engine.polling import Schedule
from deltasync.engine.watches import watch
from deltasync.wire.settings import Settings
from tests.engine.runs import Heard
from tests.engine.trees import snapshot

__all__ = ["LiveHeard", "Watching"]

PATIENCE_S = 20.0


@dataclass
class LiveHeard(Heard):
    """An observer that keeps what it hears, and lets others wait for it."""

    modes: list[tuple[str, tuple[bytes, ...]]] = field(default_factory=list)
    batches: list[BatchDone] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)
    pauses: list[str] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def _tell(self, kept: list[Any], what: object) -> None:
        with self.news:
            kept.append(what)
            self.news.notify_all()

    def watching(self, mode: Literal["events", "polling", "mixed"], polled: tuple[bytes, ...]) -> None:
        """Keep the mode."""
        self._tell(self.modes, (mode, polled))

    def batch(self, batch: BatchDone) -> None:
        """Keep a batch."""
        self._tell(self.batches, batch)

    def connection(self, state: Literal["up", "down"], why: str) -> None:
        """Keep the state."""
        self._tell(self.connections, state)

    def paused(self, reason: str) -> None:
        """Keep the reason."""
        self._tell(self.pauses, reason)

    def standing(self, standing: Standing) -> None:
        """Keep how it stands."""
        self._tell(self.standings, standing)

    def note(self, text: str) -> None:
        """Keep a note."""
        self._tell(self.notes, text)


class Watching:
    """A watch of one directory's contents; a context manager, ready when the first sync is done.

    Args:
        source: The directory.
        dest: The destination.
        options: How changes are watched.
        settings: Options of both sides.
    """

    def __init__(self, source: Path, dest: Path, options: WatchOptions | None = None, **settings: Any) -> None:
        self.source, self.dest = os.fsencode(source), os.fsencode(dest)
        self.heard = LiveHeard()
        self.stop = threading.Event()
        self.result: Watched | None = None
        self.error: BaseException | None = None
        self._options = options or WatchOptions()
        self._job = Job("push", (self.source + b"/",), self.dest, Settings(**settings))
        self._thread = threading.Thread(target=self._run)
        self._connections: list[Connection] = []
        self.marks: list[Marks] = []
        self.polls = 0

    def _run(self) -> None:
        connections, marks, watching = self._connections, self.marks, self

        class SeenSchedule(Schedule):
            def polled(self, *of: Any) -> None:
                watching.polls += 1
                super().polled(*of)

        class SeenConnector(Connector):
            def result(self) -> Connection:
                made = super().result()
                connections.append(made)
                return made

        class SeenMarks(Marks):
            def wakes(self, wake: Callable[[], None]) -> None:
                marks[:] = [self]
                super().wakes(wake)

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("deltasync.engine.watch.Connector", SeenConnector)
                patch.setattr("deltasync.engine.watches.Marks", SeenMarks)
                patch.setattr("deltasync.engine.watch.Schedule", SeenSchedule)
                self.result = watch([self._job], self._options, [self.heard], self.stop)
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it.
            self.error = error
            with self.heard.news:
                self.heard.news.notify_all()

    def __enter__(self) -> Self:
        """Start it, and wait for the first sync."""
        self._thread.start()
        self.until(lambda: bool(self.heard.modes))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it."""
        self.end()

    def end(self) -> Watched:
        """End it, and return what it has come to."""
        self.stop.set()
        self._thread.join(PATIENCE_S)
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result

    def until(self, true: Any, patience_s: float = PATIENCE_S) -> None:
        """Wait until something is true, looking again whenever the watch says something."""
        deadline = time.monotonic() + patience_s
        while not true():
            if self.error is not None:
                raise self.error
            with self.heard.news:
                # Changes of a destination come shortly before the word of them.
                self.heard.news.wait(0.05)
            assert time.monotonic() < deadline, "it did not come to be"

    def until_heard(self) -> None:
        """Wait for a word of the watch, or a moment if there is none."""
        with self.heard.news:
            self.heard.news.wait(0.05)

    def lose_connection(self) -> None:
        """Break the connection, as if the peer had gone."""
        if self._connections:
            self._connections[-1].link.close()

    def overflow(self) -> None:
        """Have the watch told that events were lost."""
        self.marks[0].overflowed()

    def equal(self) -> bool:
        """Tell whether both trees are equal now."""
        try:
            return snapshot(self.source) == snapshot(self.dest)
        except OSError:
            # Something was removed while it was being compared.
            return False

    def until_equal(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until both trees are equal."""
        try:
            self.until(self.equal, patience_s)
        except AssertionError:
            ours, theirs = snapshot(self.source), snapshot(self.dest)
            differing = [path for path in {**ours, **theirs} if ours.get(path) != theirs.get(path)]
            shapes = [
                (path, *(shape and shape._replace(content=shape.content[:9]) for shape in (ours.get(path), theirs.get(path))))
                for path in differing
            ]
            raise AssertionError(f"these differ: {shapes}; problems {self.heard.problems}") from None
