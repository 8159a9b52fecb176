"""The delta rows: one large file, what the destination has of it, and what has changed; beside rsync as it is and with --inplace."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.contest import Row
from benchmarks.data import NEW_NS, dated, large_file
from benchmarks.pairs import pair_row

__all__ = ["delta_rows"]

NAME = "large.bin"
EDIT_BYTES = 4096
EDITS_A_GIB = 2600
APPENDED_BYTES = 16 << 20
MOVED_PIECES = 100
COPY_BYTES = 8 << 20

Change = Callable[[Path, Path, random.Random], None]


def _copied(base: Path, target: Path) -> None:
    shutil.copyfile(base, target)


def _scattered(share: int, base: Path, target: Path, rng: random.Random) -> None:
    """Overwrites of 4 KiB at any offset: one for every `share` bytes."""
    _copied(base, target)
    size = target.stat().st_size
    with target.open("r+b") as file:
        for _ in range(size // share):
            file.seek(rng.randrange(size - EDIT_BYTES))
            file.write(rng.randbytes(EDIT_BYTES))


def _inserted(base: Path, target: Path, rng: random.Random) -> None:
    """One byte in front."""
    with base.open("rb") as old, target.open("wb") as new:
        new.write(rng.randbytes(1))
        shutil.copyfileobj(old, new, COPY_BYTES)


def _appended(base: Path, target: Path, rng: random.Random) -> None:
    """16 MiB at the end."""
    _copied(base, target)
    with target.open("ab") as new:
        new.write(rng.randbytes(APPENDED_BYTES))


def _moved(base: Path, target: Path, rng: random.Random) -> None:
    """A hundredth of it, in a hundred pieces, moved to other places."""
    size = base.stat().st_size
    piece = size // 100 // MOVED_PIECES
    taken = sorted(rng.sample(range(size // piece - 1), MOVED_PIECES))
    put = sorted(rng.sample(range(size), MOVED_PIECES))
    moving = [slot * piece + rng.randrange(piece // 2) for slot in taken]
    order = rng.sample(moving, MOVED_PIECES)
    with base.open("rb") as old, target.open("wb") as new:
        at = 0
        for stop, what in sorted([(start, -1) for start in moving] + [(place, number) for number, place in enumerate(put)]):
            _copy_range(old.fileno(), new.fileno(), at, max(stop, at))
            at = max(stop, at)
            if what < 0:
                at += piece
            else:
                _copy_range(old.fileno(), new.fileno(), order[what], order[what] + piece)
        _copy_range(old.fileno(), new.fileno(), at, size)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        start += os.write(target, os.pread(source, min(end - start, COPY_BYTES), start))


def _different(base: Path, target: Path, rng: random.Random) -> None:
    """Wholly other content of the same length."""
    with target.open("wb") as new:
        for _ in range(base.stat().st_size >> 20):
            new.write(rng.randbytes(1 << 20))


def _touched(base: Path, target: Path, _rng: random.Random) -> None:
    """The same content; only the time differs, and `-I` has it looked at."""
    _copied(base, target)


def _build(size: int, change: Change, name: str, old: Path, new: Path) -> None:
    large_file(old / NAME, size)
    change(old / NAME, new / name, random.Random(f"{size} changed"))
    dated(new, NEW_NS)


def delta_rows(size: int = 1 << 30) -> list[Row]:
    """Return the rows for a file of so many bytes, a multiple of a MiB."""
    changes: dict[str, tuple[Change, str, tuple[str, ...]]] = {
        "delta-scattered": (partial(_scattered, (1 << 30) // EDITS_A_GIB), NAME, ()),
        "delta-inserted": (_inserted, NAME, ()),
        "delta-appended": (_appended, NAME, ()),
        "delta-moved": (_moved, NAME, ()),
        "delta-different": (_different, NAME, ()),
        "delta-touched": (_touched, NAME, ("-I",)),
        "delta-renamed": (partial(_scattered, 100 * EDIT_BYTES), "renamed.bin", ()),
    }
    return [pair_row(name, partial(_build, size, change, target), *extra) for name, (change, target, extra) in changes.items()]
