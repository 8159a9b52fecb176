"""The rows of growth: the same job once, four times, sixteen times as large, and larger; what is told is the time for a unit of it."""

from __future__ import annotations

from functools import partial

from benchmarks.contest import Contestant, Place, Row, deltasync
from benchmarks.data import one_large_file, small_files
from benchmarks.trees import equal, from_nothing

__all__ = ["growth_rows"]

FILES = (10_000, 40_000, 160_000, 1_000_000)
MEBIBYTES = (64, 256, 1024, 8192)


def _alone(place: Place) -> list[Contestant]:
    return [deltasync(place)]


def growth_rows() -> list[Row]:
    """Return the rows; the largest are run only when they are named."""
    rows = []
    for count in FILES:
        build = partial(small_files, count=count, least_bytes=20, most_bytes=200)
        for name, prepare in (("first", from_nothing), ("unchanged", equal)):
            rows.append(Row(f"growth-files-{name}-{count // 1000}k", build, prepare, _alone, heavy=True, units=count))
    for mebibytes in MEBIBYTES:
        build = partial(one_large_file, mebibytes << 20)
        rows.append(Row(f"growth-bytes-{mebibytes}m", build, from_nothing, _alone, heavy=True, units=mebibytes << 20))
    return rows
