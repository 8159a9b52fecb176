"""The rows of one machine: from directory to directory, beside rsync without any server."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from benchmarks.contest import Contestant, Place, Row
from benchmarks.data import one_large_file, small_files
from benchmarks.trees import from_nothing

__all__ = ["local_rows"]


def _locally(_place: Place) -> list[Contestant]:
    command = str(Path(sys.executable).parent / "deltasync")
    return [
        Contestant("deltasync", lambda source, dest: [command, "push", "--delete", f"{source}/", f"{dest}/"], ours=True),
        Contestant("rsync", lambda source, dest: ["rsync", "-a", "--delete", f"{source}/", f"{dest}/"]),
    ]


def local_rows(large_bytes: int) -> list[Row]:
    """Return the rows; the large file has so many bytes."""
    return [
        Row("local-small-20k", partial(small_files, count=20_000), from_nothing, _locally, wire=False),
        Row("local-large-1g", partial(one_large_file, large_bytes), from_nothing, _locally, wire=False),
    ]
