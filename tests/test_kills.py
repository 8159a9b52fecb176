"""A push that patches in place, killed at random moments, beside `rsync --inplace` under the same script."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.commands import command
from tests.sources import PROJECT

pytestmark = [pytest.mark.needs("rsync"), pytest.mark.timeout(0 if "DELTASYNC_KILLS" in os.environ else 60)]

KILLS = int(os.environ.get("DELTASYNC_KILLS", "5"))
SIZE = (256 if "DELTASYNC_KILLS" in os.environ else 8) << 20
PIECE = 64 << 10


class Scene:
    """A large file at both ends; in the new one more stands in front, some has moved, and some is written anew.

    Attributes:
        source, dest: Its directories.
    """

    def __init__(self, place: Path, rng: random.Random) -> None:
        self.source, self.dest, self._base = place / "source", place / "dest", place / "base"
        self.source.mkdir()
        self.dest.mkdir()
        self.old = b"".join(rng.randbytes(1 << 20) for _ in range(SIZE >> 20))
        new = bytearray(self.old)
        for _ in range(SIZE // 100 // PIECE + 1):
            at, other = (rng.randrange(SIZE // PIECE) * PIECE for _ in range(2))
            new[at : at + PIECE] = rng.randbytes(PIECE)
            new[other : other + PIECE] = self.old[at : at + PIECE]
        new[0:0] = rng.randbytes(PIECE)
        self.new = bytes(new)
        (self.source / "file").write_bytes(self.new)

    def run(self, words: Sequence[str | os.PathLike[str]], within_s: float | None = None) -> float:
        """Run a command on the old file, and kill it after a while; returns how long it ran."""
        for path in self.dest.iterdir():
            path.unlink()
        (self.dest / "file").write_bytes(self.old)
        began = time.perf_counter()
        running = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(PROJECT)}, stderr=subprocess.DEVNULL, start_new_session=True)
        with suppress(subprocess.TimeoutExpired):
            assert running.wait(within_s) == 0
        if running.poll() is None:
            # All of it: rsync has a process for each end.
            os.killpg(running.pid, 9)
            running.wait()
        return time.perf_counter() - began

    def look(self) -> str:
        """Tell what the file is."""
        content = (self.dest / "file").read_bytes()
        return "new" if content == self.new else "old" if content == self.old else "neither"


def test_whenever_it_is_killed_the_file_is_old_or_new(tmp_path: Path, rng: random.Random) -> None:
    """With deltasync always; the counts of both are printed."""
    scene = Scene(tmp_path, rng)
    ours: list[str | os.PathLike[str]] = [sys.executable, "-m", "deltasync", "push", "--inplace", f"{scene.source}/", scene.dest]
    theirs: list[str | os.PathLike[str]] = ["rsync", "-a", "--inplace", "--no-whole-file", f"{scene.source}/", f"{scene.dest}/"]
    counts: dict[str, Counter[str]] = {}
    for name, words in (("deltasync", ours), ("rsync --inplace", theirs)):
        whole_s = scene.run(words)
        assert scene.look() == "new"
        counts[name] = Counter()
        for _ in range(KILLS):
            scene.run(words, rng.uniform(0.1 if words is ours else 0.0, 1.0) * whole_s)
            if words is ours:
                assert command("recover", scene.dest).code == 0
                assert os.listdir(scene.dest) == ["file"]
            counts[name][scene.look()] += 1
    sys.stdout.write(f"\n{KILLS} kills of {SIZE >> 20} MiB: {counts}\n")
    assert counts["deltasync"]["neither"] == 0
