"""The command as tests run it: in this process with an engine that only pretends, or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from deltasync.channel.ahead import Ahead
from deltasync.engine.job import Job, Observer, Summary
from tests.sources import PROJECT

__all__ = ["FakeEngine", "Process", "command", "start"]

Script = Callable[[Job, Observer, threading.Event], Summary]


def _nothing(job: Job, observer: Observer, stop: threading.Event) -> Summary:
    return Summary()


@dataclass
class FakeEngine:
    """Stands for `engine.run.run`: keeps the jobs, and does what its script says."""

    script: Script = _nothing
    jobs: list[Job] = field(default_factory=list)

    def run(self, job: Job, observer: Observer, stop: threading.Event, _ahead: Ahead | None = None) -> Summary:
        """See `engine.run.run`."""
        self.jobs.append(job)
        return self.script(job, observer, stop)

    @property
    def job(self) -> Job:
        """The only job so far."""
        (job,) = self.jobs
        return job

    def put_in_place(self, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
        """Replace the engine for the duration of a test."""
        monkeypatch.setattr("deltasync.engine.run.run", self.run)
        # No connection is begun ahead for a run that makes none.
        monkeypatch.setattr("deltasync.cli.glance.glance", lambda _push, _words: None)
        return self


@dataclass(frozen=True)
class Process:
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str


def _environment(extra: dict[str, str] | None) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "80", **(extra or {})}


def command(*words: str | bytes | os.PathLike[str], cwd: os.PathLike[str] | None = None, env: dict[str, str] | None = None) -> Process:
    """Run `deltasync` to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "deltasync", *words], cwd=cwd, env=_environment(env), capture_output=True, check=False, timeout=30
    )
    return Process(done.returncode, done.stdout.decode(), done.stderr.decode())


def start(*words: str | os.PathLike[str], code: str | None = None) -> subprocess.Popen[bytes]:
    """Start `deltasync`, or Python with other code; its output is piped."""
    program = ["-m", "deltasync"] if code is None else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *program, *words], env=_environment(None), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
