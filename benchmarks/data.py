"""The data of the benchmarks: made from a seed, the same on every machine."""

from __future__ import annotations

import os
import random
from pathlib import Path

__all__ = ["NEW_NS", "OLD_NS", "dated", "edit_some", "large_file", "one_large_file", "small_files"]

SMALL_FILES_A_DIRECTORY = 100
OLD_NS = 1_700_000_000_123_456_789
NEW_NS = 1_710_000_000_123_456_789
"""Times of what was and of what has changed; with fractions, as the times of most files are."""


def small_files(root: Path, count: int, *, least_bytes: int = 200, most_bytes: int = 4000) -> None:
    """Make `count` files of random content, a hundred to a directory."""
    rng = random.Random(count)
    for number in range(count):
        directory = root / f"d{number // SMALL_FILES_A_DIRECTORY:04d}"
        if number % SMALL_FILES_A_DIRECTORY == 0:
            directory.mkdir(parents=True)
        (directory / f"file{number:07d}.dat").write_bytes(rng.randbytes(rng.randrange(least_bytes, most_bytes)))


def edit_some(root: Path, share: float, *, seed: int) -> int:
    """Rewrite a share of the files beneath a directory; return how many."""
    rng = random.Random(seed)
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    chosen = rng.sample(paths, max(1, int(len(paths) * share)))
    for path in chosen:
        path.write_bytes(rng.randbytes(rng.randrange(200, 4000)))
    return len(chosen)


def large_file(path: Path, size: int) -> None:
    """Make one file of incompressible content."""
    rng = random.Random(size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(rng.randbytes(1 << 20))
        file.write(rng.randbytes(size & ((1 << 20) - 1)))
    os.utime(path, ns=(OLD_NS, OLD_NS))


def one_large_file(size: int, root: Path) -> None:
    """Make a directory of one large file."""
    large_file(root / "large.bin", size)


def dated(root: Path, time_ns: int) -> None:
    """Give a directory and all beneath it one time, in nanoseconds since the epoch."""
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            os.utime(os.path.join(directory, name), ns=(time_ns, time_ns))
        os.utime(directory, ns=(time_ns, time_ns))
