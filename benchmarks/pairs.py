"""Rows of two states: the destination has the old one, the source the new one; beside rsync as it is and with --inplace."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.contest import Contestant, Place, Row, deltasync, rsync

__all__ = ["Build", "pair_row"]

SETTLED_S = 0.3
"""A file that was changed a moment ago is trusted by nobody; a destination is seldom so young."""

Build = Callable[[Path, Path], None]
"""Makes the old state and the new one, in two directories that are there and empty."""


def pair_row(name: str, build: Build, *extra: str) -> Row:
    """Return a row; the further options are for all contestants."""

    def contestants(place: Place) -> list[Contestant]:
        ours, theirs, inplace = deltasync(place, *extra), rsync(place, *extra), rsync(place, "--inplace", *extra)
        filling = deltasync(replace(place, host="bench"), "--ignore-times").command
        # Sending the old state once more changes nothing, and leaves both ends with its checksums.
        warm = replace(ours, name="deltasync, warm", fill=lambda source, dest: filling(_old(source), dest))
        return [ours, warm, theirs, replace(inplace, name="rsync --inplace")]

    return Row(name, partial(_build, build), _reset, contestants)


def _old(source: Path) -> Path:
    return source.parent / "old"


def _build(build: Build, source: Path) -> None:
    _old(source).mkdir()
    build(_old(source), source)


def _reset(source: Path, dest: Path, _round: int) -> None:
    """Give the destination a fresh copy of the old state, sharing nothing with it."""
    shutil.rmtree(dest, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=never", _old(source), dest], check=True)
    time.sleep(SETTLED_S)
