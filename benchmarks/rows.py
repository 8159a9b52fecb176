"""The rows of the table: what is measured."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.contest import Contestant, Place, Row, over_ssh
from benchmarks.data import one_large_file
from benchmarks.deltas import delta_rows
from benchmarks.growth import growth_rows
from benchmarks.local import local_rows
from benchmarks.others import rclone
from benchmarks.real import real_rows
from benchmarks.start import start_rows
from benchmarks.tcp import tcp_rows
from benchmarks.trees import from_nothing, tree_rows

__all__ = ["rows"]


def _with_rclone(place: Place) -> list[Contestant]:
    return [*over_ssh(place), *rclone(place)]


def rows(large_bytes: int, cache: Path) -> list[Row]:
    """Return all rows.

    Args:
        large_bytes: The size of one large file, a multiple of a MiB; the databases and logs have a fourth of it.
        cache: Where releases that are downloaded are kept.
    """
    return [
        *start_rows(),
        *tree_rows(),
        Row("large-1g-first", partial(one_large_file, large_bytes), from_nothing, _with_rclone),
        *tcp_rows(large_bytes),
        *local_rows(large_bytes),
        *delta_rows(large_bytes),
        *real_rows(large_bytes // 4, cache),
        *growth_rows(),
    ]
