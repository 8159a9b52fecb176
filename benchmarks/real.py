"""The rows of real pairs: releases of what many use, a database, a log. Their content compresses, and repeats itself, as files do."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.contest import Row
from benchmarks.data import NEW_NS, OLD_NS, dated
from benchmarks.pairs import Build, pair_row
from benchmarks.releases import unpack_sdist, unpack_wheel

__all__ = ["real_rows"]

NUMPY = ("numpy-2.2.5", "numpy-2.2.6")
BOTOCORE = ("botocore-1.38.0", "botocore-1.38.36")
DJANGO = ("django-5.2.1", "django-5.2.2")
ENTRY_BYTES = 1000
UPDATED_EVERY = 26
"""One row in so many is updated: 10,000 of 256 MiB."""
GROWN_EVERY = 16
"""The log grows by one line for so many that are there."""
WORDS = [f"{random.Random(number).randbytes(1 + number % 5).hex()}" for number in range(5000)]


def _releases(unpack: Callable[[str, Path, Path], None], pair: tuple[str, str], cache: Path, old: Path, new: Path) -> None:
    """Two releases; all files of one have the same time, so that each is looked into, as after an upgrade."""
    for release, place, time_ns in zip(pair, (old, new), (OLD_NS, NEW_NS), strict=True):
        unpack(release, cache, place)
        dated(place, time_ns)


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=ENTRY_BYTES // 7))


def _database(size: int, old: Path, new: Path) -> None:
    """An SQLite database, before and after single updates all over it, in one transaction."""
    rng = random.Random(f"{size} database")
    count = max(size // ENTRY_BYTES, UPDATED_EVERY)
    with closing(sqlite3.connect(old / "entries.sqlite")) as database, database:
        database.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, name TEXT, version INTEGER, content TEXT)")
        database.execute("CREATE INDEX by_name ON entry (name)")
        database.executemany(
            "INSERT INTO entry VALUES (?, ?, 1, ?)", ((number, rng.randbytes(8).hex(), _text(rng)) for number in range(count))
        )
    shutil.copyfile(old / "entries.sqlite", new / "entries.sqlite")
    updated = rng.sample(range(count), count // UPDATED_EVERY)
    with closing(sqlite3.connect(new / "entries.sqlite")) as database, database:
        database.executemany(
            "UPDATE entry SET version = version + 1, content = ? WHERE id = ?", ((_text(rng), number) for number in updated)
        )
    dated(old, OLD_NS)
    dated(new, NEW_NS)


def _log(size: int, old: Path, new: Path) -> None:
    """A log, and the same log a while later."""
    rng = random.Random(f"{size} log")

    def write(path: Path, until: int) -> None:
        with path.open("ab") as file:
            while file.tell() < until:
                host, port, took_ms = rng.randrange(64), rng.randrange(65536), rng.expovariate(0.05)
                where = f"10.1.2.{host}:{port} /v1/items/{rng.choice(WORDS)}/{rng.getrandbits(32)}"
                file.write(f"{file.tell():012} INFO server: {where} 200 in {took_ms:.3f} ms\n".encode())

    write(old / "server.log", size)
    shutil.copyfile(old / "server.log", new / "server.log")
    write(new / "server.log", size + size // GROWN_EVERY)
    dated(old, OLD_NS)
    dated(new, NEW_NS)


def real_rows(size: int, cache: Path) -> list[Row]:
    """Return the rows.

    Args:
        size: Bytes of the database and of the log.
        cache: Where releases are kept once they are downloaded.
    """
    builds: dict[str, Build] = {
        "real-wheel-numpy": partial(_releases, unpack_wheel, NUMPY, cache),
        "real-wheel-botocore": partial(_releases, unpack_wheel, BOTOCORE, cache),
        "real-tar-django": partial(_releases, unpack_sdist, DJANGO, cache),
        "real-sqlite-updated": partial(_database, size),
        "real-log-grown": partial(_log, size),
    }
    return [pair_row(name, build) for name, build in builds.items()]
