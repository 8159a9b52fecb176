"""Runs of the engine inside this process, as tests start them, and what was heard of them."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import Any

from deltasync.engine.job import Job, Progress, Summary
from deltasync.engine.run import run
from deltasync.errors import Problem
from deltasync.wire.settings import Settings

__all__ = ["Heard", "pull", "push"]


@dataclass
class Heard:
    """An observer that keeps what it hears."""

    items: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    last: Progress = field(default_factory=Progress)
    reached: Summary | None = None

    def item(self, code: str, path: bytes, link: bytes) -> None:
        """Keep an item."""
        self.items.append((code, path, link))

    def problem(self, problem: Problem) -> None:
        """Keep a problem."""
        self.problems.append(problem)

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)

    def progress(self, progress: Progress) -> None:
        """Keep the last progress."""
        self.last = progress

    def broken_off(self, reached: Summary) -> None:
        """Keep what had been done."""
        self.reached = reached

    @property
    def codes(self) -> dict[bytes, str]:
        """The code of each path."""
        return {path: code for code, path, _ in self.items}


def push(
    *places: bytes | os.PathLike[str], heard: Heard | None = None, threads: int | None = None, engine: str = "auto", **options: Any
) -> Summary:
    """Push the sources to the destination, both local; options are those of `Settings`."""
    *sources, dest = [place if isinstance(place, bytes) else os.fsencode(place) for place in places]
    job = Job("push", tuple(sources), dest, Settings(itemize=True, **options), threads=threads, engine=engine)
    return run(job, heard or Heard(), threading.Event())


def pull(*places: bytes | os.PathLike[str], heard: Heard | None = None, **options: Any) -> Summary:
    """Pull the sources from the far half of this process; options are those of `Settings`."""
    *sources, dest = [place if isinstance(place, bytes) else os.fsencode(place) for place in places]
    job = Job("pull", tuple(sources), dest, Settings(itemize=True, **options))
    return run(job, heard or Heard(), threading.Event())
