"""A watch under random work: whatever is done to the source, once it is quiet both trees are equal.

`DELTASYNC_WATCH_SEEDS` (a list, `3,17`) replays seeds, `DELTASYNC_WATCH_STEPS` sets how many steps each takes. With
`DELTASYNC_WATCH_MINUTES` each goes on with the seeds that follow it for so long; the log names them.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.engine.watching import Watching

SEEDS = [int(seed) for seed in os.environ.get("DELTASYNC_WATCH_SEEDS", "1,2").split(",")]
LOG = logging.getLogger(__name__)
MINUTES = float(os.environ.get("DELTASYNC_WATCH_MINUTES", "0"))
STEPS = int(os.environ.get("DELTASYNC_WATCH_STEPS", "60"))


class Work:
    """Random operations on a tree.

    Args:
        root: The tree.
        rng: Chance.
        links: Whether hard links are made.
    """

    def __init__(self, root: Path, rng: random.Random, *, links: bool) -> None:
        self._root = root
        self._links = links
        self._rng = rng
        self._number = 0

    def step(self) -> str:
        """Do one thing; return what it was. What can't be done is left undone."""
        names = [
            "write",
            "append",
            "save",
            "touch",
            "truncate",
            "mkdir",
            "delete",
            "rmtree",
            "rename",
            "copy",
            "link",
            "symlink",
            "chmod",
            "swap",
            "patch",
        ]
        name = self._rng.choice([name for name in names if self._links or name != "link"])
        with suppress(OSError, shutil.Error):
            getattr(self, f"_{name}")()
        return name

    def _directory(self) -> Path:
        found = [self._root, *(path for path in sorted(self._root.rglob("*")) if path.is_dir() and not path.is_symlink())]
        return self._rng.choice(found)

    def _any(self, *, files: bool = False) -> Path:
        found = [path for path in sorted(self._root.rglob("*")) if not files or (path.is_file() and not path.is_symlink())]
        # A source that has become empty is one that the guard waits for.
        found = [path for path in found if path.name != "kept"]
        if not found:
            raise FileNotFoundError
        return self._rng.choice(found)

    def _new(self) -> Path:
        self._number += 1
        return self._directory() / f"n{self._rng.randrange(12)}{'' if self._rng.random() < 0.5 else self._number}"

    def _content(self) -> bytes:
        return self._rng.randbytes(self._rng.choice([0, 1, 100, 5000, 200_000]))

    def _write(self) -> None:
        self._new().write_bytes(self._content())

    def _append(self) -> None:
        with self._any(files=True).open("ab") as file:
            file.write(self._content())

    def _patch(self) -> None:
        path = self._any(files=True)
        before = path.stat()
        with path.open("r+b") as file:
            file.write(b"patched" if before.st_size > 7 else b"")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _save(self) -> None:
        path = self._any(files=True)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(self._content())
        temporary.rename(path)

    def _touch(self) -> None:
        os.utime(self._any(), ns=(0, self._rng.randrange(10**18)), follow_symlinks=False)

    def _truncate(self) -> None:
        os.truncate(self._any(files=True), self._rng.randrange(100))

    def _mkdir(self) -> None:
        (self._new() / "inner").mkdir(parents=True)

    def _delete(self) -> None:
        self._any(files=True).unlink()

    def _rmtree(self) -> None:
        if self._rng.random() < 0.3:
            shutil.rmtree(self._any())

    def _rename(self) -> None:
        self._any().rename(self._new())

    def _copy(self) -> None:
        one, other = self._directory(), self._new()
        if not other.is_relative_to(one) and sum(1 for _ in self._root.rglob("*")) < 300:
            shutil.copytree(one, other, symlinks=True)

    def _link(self) -> None:
        os.link(self._any(files=True), self._new())

    def _symlink(self) -> None:
        self._new().symlink_to("n1")

    def _chmod(self) -> None:
        path = self._any()
        if not path.is_symlink():
            path.chmod(self._rng.choice([0o700, 0o750, 0o755]))

    def _swap(self) -> None:
        one, other, between = self._any(), self._any(), self._root / "between"
        one.rename(between)
        try:
            other.rename(one)
            between.rename(other)
        except OSError:
            with suppress(OSError):
                between.rename(one)


def converge(place: Path, seed: int) -> None:
    """Do random work under a watch; whenever it is quiet both trees are equal, and in the end nobody was told of a problem.

    Odd seeds make hard links. What is written by one name of several need not bring an event for the others: then both trees are equal
    after the next look at the whole tree.
    """
    rng = random.Random(seed)
    source, dest = place / "source", place / "dest"
    links = seed % 2 == 1
    work = Work(source, rng, links=links)
    source.mkdir()
    (source / "kept").write_bytes(b"the source is never empty")
    for _ in range(40):
        work.step()
    with Watching(source, dest) as watching:
        for number in range(STEPS):
            work.step()
            if rng.random() < 0.03:
                watching.until_heard()
            elif rng.random() < 0.01:
                watching.lose_connection()
            elif rng.random() < 0.01:
                watching.overflow()
            if number % 100 == 99 or number == STEPS - 1:
                if links:
                    watching.overflow()
                watching.until_equal()
        # What failed because it changed meanwhile, and came well since, may still wait for its next look; nobody was told of it.
        assert not watching.heard.problems, watching.heard.problems


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_work_ends_in_equal_trees(tmp_path: Path, seed: int) -> None:
    """Steps of every kind, with pauses and without, connections lost and events lost among them; then quiet, and equality."""
    until = time.monotonic() + 60 * MINUTES
    while True:
        place = tmp_path / str(seed)
        place.mkdir()
        LOG.info("seed %d", seed)
        converge(place, seed)
        shutil.rmtree(place)
        if time.monotonic() >= until:
            break
        seed += 1
