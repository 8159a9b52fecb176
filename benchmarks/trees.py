"""The rows of trees of files: first time, unchanged, a hundredth changed, deep, a million, and between two commits of a repository."""

from __future__ import annotations

import random
import shutil
import subprocess
from functools import partial
from pathlib import Path

from benchmarks.contest import Contestant, Place, Row, over_ssh
from benchmarks.data import OLD_NS, dated, edit_some, small_files
from benchmarks.others import unison

__all__ = ["equal", "from_nothing", "tree_rows"]

DEEP_LEVELS = 40
CHECKED_OUT = 5_000
COMMIT_SHARE = 0.2
TINY_BYTES = (20, 200)
"""The sizes of files where their number is what is measured."""


def from_nothing(_source: Path, dest: Path, _round: int) -> None:
    """Have no destination."""
    shutil.rmtree(dest, ignore_errors=True)


def equal(source: Path, dest: Path, _round: int) -> None:
    """Have a destination that is equal already."""
    subprocess.run(["rsync", "-a", "--delete", f"{source}/", f"{dest}/"], check=True)


def _edited(share: float, source: Path, dest: Path, number: int) -> None:
    """The destination is equal but for a share of the files: it is brought to the source's state, then that share of it is altered."""
    equal(source, dest, number)
    edit_some(dest, share, seed=number)


def _deep(count: int, root: Path) -> None:
    """Make files of which each ten are in a directory of their own, deep below the root, beside others on the way."""
    rng = random.Random(count)
    for start in range(0, count, 10 * DEEP_LEVELS):
        directory = root / f"top{start}"
        for level in range(DEEP_LEVELS):
            directory /= f"level{level:02d}"
            directory.mkdir(parents=True)
            for number in range(10):
                (directory / f"file{number}").write_bytes(rng.randbytes(rng.randrange(*TINY_BYTES)))
    dated(root, OLD_NS)


def _git(repository: Path, *words: str) -> None:
    who = ("-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", repository, *who, *words], check=True, capture_output=True)


def _commits(source: Path) -> None:
    """Make a repository beside the source whose second commit differs from the first in a fifth of its files."""
    repository = _repository(source)
    small_files(repository, CHECKED_OUT)
    _git(repository.parent, "init", "-q", "-b", "main", str(repository))
    for name in ("one", "two"):
        _git(repository, "add", "-A")
        _git(repository, "commit", "-q", "-m", name)
        _git(repository, "tag", name)
        edit_some(repository / "d0000", 1.0, seed=1)
        for number in range(1, int(CHECKED_OUT / 100 * COMMIT_SHARE)):
            edit_some(repository / f"d{number:04d}", 1.0, seed=number)


def _repository(source: Path) -> Path:
    return source.parent / "repository"


def _checked_out(source: Path, dest: Path, _round: int) -> None:
    """The destination has what the first commit had; then the source's files are those of the second, as git leaves them."""
    repository = _repository(source)
    _git(repository, "checkout", "-q", "-f", "one")
    subprocess.run(["rsync", "-a", "--delete", "--exclude=/.git", f"{repository}/", f"{source}/"], check=True)
    equal(source, dest, _round)
    _git(repository, "checkout", "-q", "-f", "two")
    subprocess.run(["rsync", "-a", "--delete", "--exclude=/.git", f"{repository}/", f"{source}/"], check=True)


def _with_unison(place: Place) -> list[Contestant]:
    return [*over_ssh(place), *unison(place)]


def tree_rows() -> list[Row]:
    """Return the rows."""
    tiny = partial(small_files, least_bytes=TINY_BYTES[0], most_bytes=TINY_BYTES[1])
    return [
        Row("small-20k-first", partial(small_files, count=20_000), from_nothing, _with_unison),
        Row("small-100k-first", partial(small_files, count=100_000), from_nothing),
        Row("unchanged-100k", partial(tiny, count=100_000), equal),
        Row("unchanged-deep-20k", partial(_deep, 20_000), equal),
        Row("unchanged-1m", partial(tiny, count=1_000_000), equal, heavy=True),
        Row("changed-1pct-of-20k", partial(small_files, count=20_000), partial(_edited, 0.01)),
        Row("changed-1pct-of-100k", partial(small_files, count=100_000), partial(_edited, 0.01)),
        Row("checkout-5k", _commits, _checked_out),
    ]
