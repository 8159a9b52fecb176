"""Contestants run in turns on the same job; each result is checked before it counts."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.server import CIPHER

__all__ = ["Contestant", "Outcome", "Place", "Row", "contest", "contestants"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contest happens.

    Attributes:
        work: A directory on the filesystem that is measured.
        ssh_config: The configuration in which the host `bench` is the server.
    """

    work: Path
    ssh_config: Path


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program that makes `dest` equal to the contents of `source`.

    Attributes:
        name: What it is called in the table.
        command: Gives its command line for a source and a destination, both directories.
    """

    name: str
    command: Callable[[Path, Path], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Row:
    """One job.

    Attributes:
        name: Its name in the table and on the command line.
        build: Makes the source, once.
        prepare: Brings a contestant's destination (and, the same for all, the source) to where a run begins; the number is the round's.
    """

    name: str
    build: Callable[[Path], None]
    prepare: Callable[[Path, Path, int], None]


@dataclass(slots=True)
class Outcome:
    """What was measured of one contestant in one row: seconds of each round, and CPU seconds of its own processes on this side."""

    row: str
    contestant: str
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.wall_s)

    def as_json(self) -> dict[str, object]:
        """A form for JSON."""
        return {**asdict(self), "median_s": self.median_s}


def contestants(place: Place) -> list[Contestant]:
    """Those that compete over SSH: deltasync and rsync, through the same server, with the same cipher."""
    command = str(Path(sys.executable).parent / "deltasync")
    ours = [command, "push", "--delete", "--ssh-config", str(place.ssh_config), "--remote-path", command]
    ssh = f"ssh -F {place.ssh_config} -c {CIPHER}"
    return [
        Contestant("deltasync", lambda source, dest: [*ours, f"{source}/", f"bench:{dest}"]),
        Contestant("rsync", lambda source, dest: ["rsync", "-a", "--delete", "-e", ssh, f"{source}/", f"bench:{dest}"]),
    ]


def contest(row: Row, place: Place, rounds: int) -> list[Outcome]:
    """Run every contestant `rounds` times, in turns.

    Raises:
        RuntimeError: A contestant failed, or its destination is not equal to the source.
    """
    source = place.work / row.name / "source"
    if not source.exists():
        source.mkdir(parents=True)
        row.build(source)
    competing = contestants(place)
    outcomes = {one.name: Outcome(row.name, one.name) for one in competing}
    for number in range(rounds):
        for one in competing if number % 2 == 0 else reversed(competing):
            dest = place.work / row.name / one.name
            row.prepare(source, dest, number)
            wall_s, cpu_s = _run(one.command(source, dest))
            _check(source, dest)
            outcomes[one.name].wall_s.append(wall_s)
            outcomes[one.name].cpu_s.append(cpu_s)
    return list(outcomes.values())


def _run(command: Sequence[str]) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _check(source: Path, dest: Path) -> None:
    done = subprocess.run(["rsync", "-aHnic", "--delete", f"{source}/", f"{dest}/"], capture_output=True, text=True, check=True)
    if done.stdout:
        raise RuntimeError(f"{dest} is not equal to {source}: {done.stdout.splitlines()[0]}")
