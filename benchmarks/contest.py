"""Contestants run in turns on the same job; each result is checked before it counts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.counting import counting_proxy
from benchmarks.outcome import Outcome
from benchmarks.server import CIPHER, Server
from benchmarks.usage import Running, Usage, measured
from deltasync.fs.facts import filesystem

__all__ = ["Contestant", "FarEnd", "Place", "Row", "contest", "deltasync", "over_ssh", "rsync"]

Command = Callable[[Path, Path], Sequence[str]]
"""Gives a command line for a source and a destination, both directories."""
FarEnd = Callable[[Path], AbstractContextManager[list[Running]]]
"""Runs a contestant's own far end for a destination, at the server's `tcp_port`, until its first session ends; gives what it has run."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contest happens.

    Attributes:
        work: A directory on the filesystem that is measured.
        server: The server.
        host: Which of its names is meant: `counted` is behind a proxy that counts.
    """

    work: Path
    server: Server
    host: str = "bench"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program that makes `dest` equal to the contents of `source`.

    Attributes:
        name: What it is called in the table.
        command: How it is called.
        ours: Whether it is deltasync.
        aside: Whether it is only shown: nothing is compared with it, and it need not keep all that rsync keeps.
        fill: What it does, unmeasured, when the destination stands as a run begins, so that it remembers; None to remember nothing.
        far: Its far end where that is not started by the SSH server.
        counted: Whether all that it sends passes the proxy that counts.
    """

    name: str
    command: Command
    ours: bool = False
    aside: bool = False
    fill: Command | None = None
    far: FarEnd | None = None
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One job.

    Attributes:
        name: Its name in the table and on the command line.
        build: Makes the source, once.
        prepare: Brings a contestant's destination (and, the same for all, the source) to where a run begins; the number is the round's.
        contestants: Gives who competes; of those that are not ours the first is what bytes are compared with.
        wire: Whether anything travels, so that bytes are counted.
        heavy: Whether it takes long, so that it is run only when it is named.
        units: How many files or bytes it is about, where the time for each is of interest; else 0.
    """

    name: str
    build: Callable[[Path], None]
    prepare: Callable[[Path, Path, int], None]
    contestants: Callable[[Place], list[Contestant]] = field(default_factory=lambda: over_ssh)
    wire: bool = True
    heavy: bool = False
    units: int = 0


def deltasync(place: Place, *extra: str) -> Contestant:
    """Return deltasync, over SSH, with further options."""
    command = str(Path(sys.executable).parent / "deltasync")
    words = [command, "push", "--delete", "--ssh-config", str(place.server.ssh_config), "--remote-path", command, *extra]
    return Contestant("deltasync", lambda source, dest: [*words, f"{source}/", f"{place.host}:{dest}"], ours=True)


def rsync(place: Place, *extra: str) -> Contestant:
    """Return rsync, through the same server, with the same cipher."""
    words = ["rsync", "-a", "--delete", *extra, "-e", f"ssh -F {place.server.ssh_config} -c {CIPHER}"]
    return Contestant("rsync", lambda source, dest: [*words, f"{source}/", f"{place.host}:{dest}"])


def over_ssh(place: Place) -> list[Contestant]:
    """Return those that compete over SSH."""
    return [deltasync(place), rsync(place)]


def contest(row: Row, place: Place, rounds: int) -> list[Outcome]:
    """Run every contestant `rounds` times, in turns, and once more to count.

    Raises:
        RuntimeError: A contestant failed, or its destination is not equal to the source.
    """
    source = place.work / row.name / "source"
    source.mkdir(parents=True)
    row.build(source)
    competing = row.contestants(place)
    outcomes = [Outcome(row.name, one.name, _filesystem(place.work), one.ours, one.aside, row.units) for one in competing]
    pairs = list(zip(competing, outcomes, strict=True))
    for number in range(rounds):
        for one, outcome in pairs if number % 2 == 0 else reversed(pairs):
            outcome.add_round(_run(row, place, one, number)[0])
    if row.wire:
        for one, outcome in zip(row.contestants(replace(place, host="counted")), outcomes, strict=True):
            if one.counted:
                _count(row, place, one, outcome)
    return outcomes


def _run(row: Row, place: Place, one: Contestant, number: int) -> tuple[Usage, list[Usage]]:
    source, dest = place.work / row.name / "source", place.work / row.name / "dest"
    environment = {"DELTASYNC_HOME": str(place.server.near_home)}
    place.server.forget()
    row.prepare(source, dest, number)
    if one.fill is not None:
        measured(one.fill(source, dest), environment)
    # What preparing has left to be written to disk is not the contestant's to wait for.
    subprocess.run(["sync", "-f", place.work], check=True)
    with nullcontext([]) if one.far is None else one.far(dest) as far:
        usage = measured(one.command(source, dest), environment)
    far_usages = [session.finish()[0] for session in far]
    _check(source, dest, "-rlHnicOt" if one.aside else "-aHnic")
    return usage, far_usages


def _count(row: Row, place: Place, one: Contestant, outcome: Outcome) -> None:
    """Run once through the proxy, each connection with a far end of its own that tells what it took."""
    sessions: list[Running] = []

    def reach() -> socket.socket:
        if one.far is not None:
            return socket.create_connection(("127.0.0.1", place.server.tcp_port))
        connection, session = place.server.session()
        sessions.append(session)
        return connection

    with counting_proxy(place.server.counted_port, reach) as counter:
        _, far_usages = _run(row, place, one, 0)
    outcome.up_bytes, outcome.down_bytes = counter.up, counter.down
    outcome.add_far(far_usages + [session.finish()[0] for session in sessions])


def _filesystem(directory: Path) -> str:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return filesystem(fd)
    finally:
        os.close(fd)


def _check(source: Path, dest: Path, kept: str) -> None:
    done = subprocess.run(["rsync", kept, "--delete", f"{source}/", f"{dest}/"], capture_output=True, text=True, check=True)
    if done.stdout:
        raise RuntimeError(f"{dest} is not equal to {source}: {done.stdout.splitlines()[0]}")
