"""Contestants run in turns on the same job; each result is checked before it counts."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks.counting import counting_proxy
from benchmarks.server import CIPHER

__all__ = ["Contestant", "Outcome", "Place", "Row", "contest", "over_ssh"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contest happens.

    Attributes:
        work: A directory on the filesystem that is measured.
        ssh_config: The configuration in which the host `bench` is the server.
        host: Which host of it is meant: `counted` is the same server behind a proxy that counts.
    """

    work: Path
    ssh_config: Path
    host: str = "bench"


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
        contestants: Gives who competes; the first is deltasync.
    """

    name: str
    build: Callable[[Path], None]
    prepare: Callable[[Path, Path, int], None]
    contestants: Callable[[Place], list[Contestant]] = field(default_factory=lambda: over_ssh)


@dataclass(slots=True)
class Outcome:
    """What was measured of one contestant in one row: seconds of each round, CPU seconds of its own processes here, bytes on the wire.

    The bytes are those of one further run, since counting takes time; both directions, as TCP carries them, with what SSH adds.
    """

    row: str
    contestant: str
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    wire_bytes: int = 0

    @property
    def median_s(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.wall_s)

    def as_json(self) -> dict[str, object]:
        """A form for JSON."""
        return {**asdict(self), "median_s": self.median_s}


def over_ssh(place: Place, *extra: str) -> list[Contestant]:
    """Those that compete over SSH: deltasync and rsync, through the same server, with the same cipher and the same further options."""
    command = str(Path(sys.executable).parent / "deltasync")
    ours = [command, "push", "--delete", "--ssh-config", str(place.ssh_config), "--remote-path", command, *extra]
    ssh = f"ssh -F {place.ssh_config} -c {CIPHER}"
    return [
        Contestant("deltasync", lambda source, dest: [*ours, f"{source}/", f"{place.host}:{dest}"]),
        Contestant("rsync", lambda source, dest: ["rsync", "-a", "--delete", *extra, "-e", ssh, f"{source}/", f"{place.host}:{dest}"]),
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
    competing = row.contestants(place)
    outcomes = {one.name: Outcome(row.name, one.name) for one in competing}
    for number in range(rounds):
        for one in competing if number % 2 == 0 else reversed(competing):
            dest = place.work / row.name / one.name
            row.prepare(source, dest, number)
            wall_s, cpu_s = _run(one.command(source, dest))
            _check(source, dest)
            outcomes[one.name].wall_s.append(wall_s)
            outcomes[one.name].cpu_s.append(cpu_s)
    with counting_proxy(_port(place.ssh_config)) as counter:
        _point_to(place.ssh_config, counter.port)
        for one in row.contestants(replace(place, host="counted")):
            dest = place.work / row.name / one.name
            row.prepare(source, dest, 0)
            before = counter.up + counter.down
            _run(one.command(source, dest))
            outcomes[one.name].wire_bytes = counter.up + counter.down - before
    return list(outcomes.values())


def _port(ssh_config: Path) -> int:
    return next(int(line.split()[1]) for line in ssh_config.read_text(encoding="utf-8").splitlines() if line.strip().startswith("Port "))


def _point_to(ssh_config: Path, port: int) -> None:
    """Have the host `counted` be the server behind a proxy: it is that of `bench`, with another port and the same key."""
    bench, _, _ = ssh_config.read_text(encoding="utf-8").partition("Host counted\n")
    counted = bench.replace("Host bench\n", "Host counted\n").replace(f"Port {_port(ssh_config)}\n", f"Port {port}\n")
    alias = next(line.split()[0] for line in (ssh_config.parent / "known_hosts").read_text(encoding="utf-8").splitlines())
    ssh_config.write_text(f"{bench}{counted}    HostKeyAlias {alias}\n", encoding="utf-8")


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
