"""The rows of the table: what is measured."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

from benchmarks.contest import Row
from benchmarks.data import edit_some, large_file, small_files
from benchmarks.deltas import delta_rows
from benchmarks.real import real_rows

__all__ = ["rows"]


def _from_nothing(_source: Path, dest: Path, _round: int) -> None:
    shutil.rmtree(dest, ignore_errors=True)


def _equal(source: Path, dest: Path, _round: int) -> None:
    subprocess.run(["rsync", "-a", "--delete", f"{source}/", f"{dest}/"], check=True)


def _edited(share: float, source: Path, dest: Path, number: int) -> None:
    """The destination is equal but for a share of the files: it is brought to the source's state, then that share of it is altered."""
    _equal(source, dest, number)
    edit_some(dest, share, seed=number)


def _one_file(size: int, source: Path) -> None:
    large_file(source / "large.bin", size)


def rows(large_bytes: int, cache: Path) -> list[Row]:
    """Return all rows.

    Args:
        large_bytes: The size of one large file, a multiple of a MiB; the databases and logs have a fourth of it.
        cache: Where releases that are downloaded are kept.
    """
    return [
        Row("small-20k-first", partial(small_files, count=20_000), _from_nothing),
        Row("unchanged-100k", partial(small_files, count=100_000, least_bytes=20, most_bytes=200), _equal),
        Row("changed-1pct-of-20k", partial(small_files, count=20_000), partial(_edited, 0.01)),
        Row("large-1g-first", partial(_one_file, large_bytes), _from_nothing),
        *delta_rows(large_bytes),
        *real_rows(large_bytes // 4, cache),
    ]
