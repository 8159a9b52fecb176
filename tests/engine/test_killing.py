"""A push killed at any of its system calls, however the file is changed, and its recovery killed again: the file is old or new."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SEED
from tests.disks import mounted
from tests.sources import PROJECT

pytestmark = pytest.mark.timeout(0 if "DELTASYNC_KILL_EVERY" in os.environ else 60)

EVERY = int(os.environ.get("DELTASYNC_KILL_EVERY", "10"))
"""At which of the calls it is killed; `nox -s kills` takes each."""


def kill(place: Path, mode: str) -> dict[str, int]:
    """Have a push killed again and again; return what was seen."""
    environment = {**os.environ, "DELTASYNC_HOME": str(place / "home"), "PYTHONPATH": str(PROJECT)}
    words = [sys.executable, "-m", "tests.engine.killing", str(place), mode, str(EVERY), SEED]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = json.loads(done.stdout)
    assert counts["calls"] > 50
    assert counts["killed"] >= counts["calls"] // EVERY - counts.get("missed", 0)
    return counts


@pytest.mark.parametrize("mode", ["stage", "inplace"])
def test_a_push_that_is_killed_leaves_a_file_old_or_new(mode: str, tmp_path: Path) -> None:
    """Patched beside it or where it stands; recovery may be killed three times, and the next push finishes and leaves nothing behind."""
    counts = kill(tmp_path, mode)
    assert counts["old"] > 0
    assert mode == "stage" or counts["new"] > 0


@pytest.mark.needs("root", "mkfs.xfs")
def test_so_does_one_over_a_clone(tmp_path: Path) -> None:
    """On a filesystem that shares content between files."""
    with mounted(tmp_path / "disk", "xfs") as disk:
        assert kill(disk.place, "clone")["old"] > 0
