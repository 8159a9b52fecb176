"""What a command costs: its time, the processor time of it and of all that it waited for, and the peak memory of the largest of these."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Running", "Usage", "measured"]

_RUNNER = Path(__file__).with_name("runner.py")


class Usage(NamedTuple):
    """What a command took.

    Attributes:
        wall_s: Seconds from its start to its end.
        cpu_s: Seconds of processor time, user and system, of it and of the children that it waited for.
        peak_bytes: The largest resident memory that any one of these had; 9 MiB or less can't be told apart.
        status: Its exit code, or minus the signal that ended it.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    status: int


class Running:
    """A command that was started.

    Args:
        command: Its words.
        environment: What is added to the environment.
        connection: A socket that is its standard input and output; without, it reads and writes nothing.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], connection: socket.socket | None = None) -> None:
        self._command = command
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `finish`.
        self._report, theirs = os.pipe()
        plug = subprocess.DEVNULL if connection is None else connection.fileno()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_RUNNER), str(theirs), *command],
                env={**os.environ, **environment},
                stdin=plug,
                stdout=plug,
                stderr=self._errors,
                pass_fds=[theirs],
            )
        finally:
            os.close(theirs)

    def finish(self) -> tuple[Usage, str]:
        """Wait for its end; return what it took, and what it said on standard error.

        Raises:
            RuntimeError: It could not be started.
        """
        with self._errors, os.fdopen(self._report, "rb") as report:
            figures = report.read()
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()
        if not figures:
            raise RuntimeError(f"{self._command[0]} could not be run: {said}")
        return Usage(**json.loads(figures)), said

    def stop(self) -> None:
        """Have it end, and wait for that."""
        self._process.terminate()
        self.finish()


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Usage:
    """Run a command that must succeed.

    Raises:
        RuntimeError: It did not.
    """
    usage, said = Running(command, environment or {}).finish()
    if usage.status:
        raise RuntimeError(f"{command[0]} ended with {usage.status}: {said}")
    return usage
