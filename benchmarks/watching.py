"""What a watch takes from a change to the same bytes at the other end, beside lsyncd and a loop of inotifywait and rsync.

The other end is looked at from outside, five thousand times a second. deltasync works over `tcp://` on loopback, the others, for whom that
is easier, into a directory of this machine.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.data import large_file, small_files

__all__ = ["WATCHES", "Seen", "watches"]

FILE_BYTES = 4096
TREE_FILES = 50_000
SAVES = 200
PATIENCE_S = 60.0
LOOK_EVERY_S = 0.0002
SETTLED_S = 1.5
"""How long everybody gets to come to rest between two jobs."""
LSYNCD = 'settings{{nodaemon=true, logfile="{log}"}}\nsync{{default.rsync, source="{source}", target="{dest}", delay=1}}\n'
LOOP = (
    'rsync -a --delete "$0/" "$1/"; inotifywait -q -m -r -e close_write,create,delete,move,attrib "$0" | while read -r _; do '
    'while read -r -t 0.05 _; do :; done; rsync -a --delete "$0/" "$1/"; done'
)
WATCHES = {"watch-save": 1, "watch-burst-500": 500, "watch-burst-5k": 5000, "watch-replace-5k": 5000, "watch-large-1g": 1}
"""The rows, and how many files each changes at once."""


@dataclass(slots=True)
class Seen:
    """What one contestant took in one row.

    Attributes:
        row: The row.
        contestant: Its name.
        files: How many files changed at once.
        wall_s: Seconds from the first change to the last of its bytes, of each round.
        sent_us, applied_us: What it says itself a file took from its detection on average, where it says so.
    """

    row: str
    contestant: str
    files: int
    wall_s: list[float] = field(default_factory=list)
    sent_us: float = 0.0
    applied_us: float = 0.0

    @property
    def median_s(self) -> float:
        """The median time."""
        return statistics.median(self.wall_s)

    @property
    def worst_s(self) -> float:
        """What 99 of 100 rounds take at most."""
        return sorted(self.wall_s)[max(0, round(0.99 * len(self.wall_s)) - 1)]

    def as_json(self) -> dict[str, object]:
        """A form for JSON."""
        return {**asdict(self), "median_s": self.median_s, "worst_s": self.worst_s}


Summaries = list[dict[str, dict[str, float]]]
Watching = Callable[[Path, Path, Path], AbstractContextManager[Summaries | None]]
"""Runs while its context is entered; source, destination and a place of its own. A summary may be there afterwards."""


def watches(row: str, place: Path, rounds: int, files: int = TREE_FILES, large_bytes: int = 1 << 30) -> Iterator[Seen]:
    """Run one row with each contestant that is installed.

    Args:
        row: One of `WATCHES`.
        place: An empty directory.
        rounds: How often; saves are done `SAVES` times in each.
        files: How many are in the tree.
        large_bytes: The size of the large file.

    Raises:
        RuntimeError: A change does not arrive.
    """
    source = place / "source"
    if row == "watch-large-1g":
        large_file(source / "large.bin", large_bytes)
    else:
        small_files(source, files, least_bytes=FILE_BYTES, most_bytes=FILE_BYTES + 1)
    contestants: dict[str, Watching] = {"deltasync tcp://": _deltasync}
    if shutil.which("lsyncd"):
        contestants["lsyncd, delay 1"] = _lsyncd
    if shutil.which("inotifywait"):
        contestants["inotifywait and rsync"] = _loop
    for name, start in contestants.items():
        seen = Seen(row, name, WATCHES[row])
        dest = place / "roots" / "dest"
        dest.mkdir(parents=True)
        with start(source, dest, place) as summary:
            _await(source, dest)
            for number in range(rounds * (SAVES if row == "watch-save" and name.startswith("deltasync") else 1)):
                _round(seen, source, dest, number)
        if summary:
            seen.sent_us, seen.applied_us = (summary[0][f"latency_{what}_us"]["mean"] for what in ("sent", "applied"))
        shutil.rmtree(place / "roots")
        yield seen


def _await(source: Path, dest: Path) -> None:
    """Wait until a change arrives after the first copy, so that everything is watched, and until it is quiet."""
    deadline = time.monotonic() + 5 * PATIENCE_S
    for stage in (b"first", b"second"):
        number = 0
        while not _stands(dest / "probe", 0, stage):
            if number % 50 == 0:
                # Until it watches, nobody hears of it; then it must be told again.
                (source / "probe").write_bytes(stage + b"%d" % number)
            number += 1
            time.sleep(0.1)
            if time.monotonic() > deadline:
                raise RuntimeError("it does not begin")
    time.sleep(2 * SETTLED_S)


def _round(seen: Seen, source: Path, dest: Path, number: int) -> None:
    rng = random.Random(f"{seen.row} {seen.contestant} {number} {os.getpid()}")
    made = _JOBS[seen.row](source, rng, number)
    began_at = next(iter(made.values()))[0]
    deadline = time.monotonic() + PATIENCE_S
    for path, (_, size, tail) in made.items():
        while not _stands(dest / path, size, tail):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{seen.contestant}: {path} does not arrive")
            time.sleep(LOOK_EVERY_S)
    seen.wall_s.append(time.monotonic() - began_at)
    time.sleep(0.02 if seen.row == "watch-save" and seen.contestant.startswith("deltasync") else SETTLED_S)


def _stands(path: Path, at: int, content: bytes) -> bool:
    """Tell whether a file holds a content at an offset."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return os.pread(fd, len(content), at) == content
    finally:
        os.close(fd)


Made = dict[str, tuple[float, int, bytes]]
"""What is to be seen: by path when it was begun, at which offset, and what."""


def _save(source: Path, rng: random.Random, _number: int) -> Made:
    directory = rng.choice([path for path in source.iterdir() if path.is_dir()])
    path = directory / rng.choice(os.listdir(directory))
    content = rng.randbytes(FILE_BYTES)
    with path.open("r+b") as file:
        file.write(content)
    return {str(path.relative_to(source)): (time.monotonic(), 0, content)}


def _burst(count: int, source: Path, rng: random.Random, number: int) -> Made:
    contents = [rng.randbytes(FILE_BYTES) for _ in range(count)]
    directories = [source / f"d{at % (1 + count // 100):04d}" for at in range(count)]
    began_at = time.monotonic()
    made = {}
    for at, (directory, content) in enumerate(zip(directories, contents, strict=True)):
        path = directory / f"burst{at}-{number}"
        path.write_bytes(content)
        made[f"{directory.name}/{path.name}"] = (began_at, 0, content)
    return made


def _replace(count: int, source: Path, rng: random.Random, _number: int) -> Made:
    contents = [rng.randbytes(FILE_BYTES) for _ in range(count)]
    paths = [path for directory in sorted(source.iterdir())[: 1 + count // 50] if directory.is_dir() for path in directory.iterdir()]
    began_at = time.monotonic()
    made = {}
    for path, content in zip(paths[:count], contents, strict=True):
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(content)
        temporary.rename(path)
        made[str(path.relative_to(source))] = (began_at, 0, content)
    return made


def _large(source: Path, rng: random.Random, _number: int) -> Made:
    path = source / "large.bin"
    at = rng.randrange(path.stat().st_size - FILE_BYTES)
    content = rng.randbytes(FILE_BYTES)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)
    return {"large.bin": (time.monotonic(), at, content)}


_JOBS: dict[str, Callable[[Path, random.Random, int], Made]] = {
    "watch-save": _save,
    "watch-burst-500": lambda source, rng, number: _burst(500, source, rng, number),
    "watch-burst-5k": lambda source, rng, number: _burst(5000, source, rng, number),
    "watch-replace-5k": lambda source, rng, number: _replace(5000, source, rng, number),
    "watch-large-1g": _large,
}


# The contestants --------------------------------------------------------------------------------------------------------------------------


@contextmanager
def _deltasync(source: Path, dest: Path, place: Path) -> Iterator[Summaries]:
    command = str(Path(sys.executable).parent / "deltasync")
    homes = {side: {**os.environ, "DELTASYNC_HOME": str(place / side)} for side in ("near", "far")}
    near, far = (
        subprocess.run([command, "key", "show"], env=home, capture_output=True, text=True, check=True).stdout.strip()
        for home in homes.values()
    )
    subprocess.run([command, "trust", "add", near, "--allow", "bench"], env=homes["far"], check=True, capture_output=True)
    words = [command, "listen", "--root", f"bench={dest.parent}", "--bind", "127.0.0.1:0", "--json"]
    summary: Summaries = []
    with subprocess.Popen(words, env=homes["far"], stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        ready = json.loads(listener.stdout.readline())
        address = f"127.0.0.1:{ready['port']}"
        subprocess.run([command, "known", "add", address, far], env=homes["near"], check=True, capture_output=True)
        words = [command, "push", "--watch", "--json", f"{source}/", f"tcp://{address}/bench/{dest.name}"]
        with tempfile.TemporaryFile() as out, subprocess.Popen(words, env=homes["near"], stdout=out) as process:
            try:
                yield summary
            finally:
                process.send_signal(signal.SIGINT)
                process.wait()
                listener.terminate()
            out.seek(0)
            summary.append(json.loads(out.readlines()[-1]))


@contextmanager
def _lsyncd(source: Path, dest: Path, place: Path) -> Iterator[None]:
    config = place / "lsyncd.conf"
    config.write_text(LSYNCD.format(log=place / "lsyncd.log", source=source, dest=dest))
    with _running(["lsyncd", str(config)]):
        yield


@contextmanager
def _loop(source: Path, dest: Path, _place: Path) -> Iterator[None]:
    with _running(["bash", "-c", LOOP, str(source), str(dest)]):
        yield


@contextmanager
def _running(words: list[str]) -> Iterator[None]:
    """Run a program, and end it with all that it has started."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
