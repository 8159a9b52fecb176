"""Somebody who may write in the tree swaps a directory for a symlink, again and again, while the receiver works in it."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from deltasync.fs import libc
from deltasync.fs.openat2 import Opener, best_opener, open_by_walk
from deltasync.fs.root import Root
from deltasync.patch.attributes import Attributes, apply_at
from deltasync.patch.make import make_directory, make_link, make_special, make_symlink
from deltasync.patch.remove import remove_tree
from deltasync.patch.small import put_small
from deltasync.patch.staging import Staged, clean_stale

ROUNDS = 400
ATTRIBUTES = Attributes(0o4777, 1)


def large(dir_fd: int) -> None:
    """Stage and commit a large file."""
    staged = Staged.create(dir_fd, b"file", 3, sparse=False)
    try:
        staged.write(b"bad")
        staged.commit(ATTRIBUTES)
    finally:
        staged.abandon(keep=False)


OPERATIONS: dict[str, Callable[[int], object]] = {
    "put_small": lambda fd: put_small(fd, b"file", b"bad", ATTRIBUTES),
    "staged": large,
    "attributes": lambda fd: apply_at(fd, b"file", ATTRIBUTES, stat.S_IFREG),
    "directory": lambda fd: make_directory(fd, b"file"),
    "symlink": lambda fd: make_symlink(fd, b"file", b"bad", ATTRIBUTES),
    "fifo": lambda fd: make_special(fd, b"file", stat.S_IFIFO, 0, ATTRIBUTES),
    "link": lambda fd: make_link(fd, b"other", fd, b"file"),
    "stale": lambda fd: clean_stale(fd, b".deltasync~s1"),
}


def _swap_until_orphaned(root_fd: int) -> NoReturn:
    """Be the swapper, until killed or alone."""
    try:
        parent = os.getppid()
        while os.getppid() == parent:
            libc.exchange(root_fd, b"p", b"swap")
    finally:
        os._exit(1)


class Attack:
    """A root with `p/q`, an outside of the same names, and a process that swaps `p` with a symlink to the outside."""

    def __init__(self, base: Path) -> None:
        self.outside = base / "outside"
        for top in (self.outside, base / "root/p"):
            (top / "q/d").mkdir(parents=True)
            for name in ("q/file", "q/other", "q/d/file", "q/.deltasync~s1"):
                (top / name).write_bytes(b"good")
        (base / "root/swap").symlink_to("../outside")
        self.root = Root.open(os.fsencode(base / "root"), max_open=0)
        self.before = self.state()
        self.swapper = os.fork()
        if not self.swapper:
            _swap_until_orphaned(self.root.fd)

    def state(self) -> dict[str, tuple[object, ...]]:
        """Everything that can be seen outside."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.outside.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (status.st_ino, status.st_mode, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns, content)
        return found

    def stop(self) -> None:
        """End the swapper."""
        os.kill(self.swapper, signal.SIGKILL)
        os.waitpid(self.swapper, 0)
        self.root.close()


@pytest.fixture
def attack(tmp_path: Path) -> Iterator[Attack]:
    """An attack under way."""
    going = Attack(tmp_path)
    yield going
    going.stop()


@pytest.mark.parametrize("opener", list(dict.fromkeys([best_opener(), open_by_walk])), ids=lambda opener: opener.__name__)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_outside_is_touched(attack: Attack, operation: str, opener: Opener) -> None:
    """Whichever moment an operation meets, it works inside the root or fails."""
    root = Root(os.dup(attack.root.fd), max_open=0, opener=opener)
    inside = refused = 0
    for number in range(50 * ROUNDS):
        if number >= ROUNDS and inside and refused:
            break
        try:
            directory = root.dir(b"p/q")
        except OSError:
            refused += 1
            continue
        with directory, suppress(OSError):
            inside += 1
            OPERATIONS[operation](directory.fd)
    root.close()
    assert attack.state() == attack.before
    assert inside
    assert refused


def test_nothing_outside_is_removed(attack: Attack) -> None:
    """A tree that is swapped while it is removed loses what was in the root, and nothing else."""
    inside = 0
    for number in range(50 * ROUNDS):
        if number >= ROUNDS and inside:
            break
        with suppress(OSError), attack.root.dir(b"p") as top:
            inside += 1
            make_directory(top.fd, b"q")
            with attack.root.dir(b"p/q") as directory:
                make_directory(directory.fd, b"d")
                put_small(directory.fd, b"file", b"x", Attributes())
        remove_tree(attack.root, b"p/q", lambda *_: False, lambda *_: None, lambda _: True, failed=lambda _: None)
        remove_tree(attack.root, b"p/q/d", lambda *_: False, lambda *_: None, lambda _: True, failed=lambda _: None)
    assert inside
    assert attack.state() == attack.before


def test_a_held_directory_stays_what_it_was(attack: Attack) -> None:
    """A lease taken before the swap leads to the real directory after it: everything lands there."""
    directory = None
    while directory is None:
        with suppress(OSError):
            directory = attack.root.dir(b"p/q")
    for name in list(OPERATIONS)[:-1]:
        with suppress(IsADirectoryError):
            OPERATIONS[name](directory.fd)
    directory.release()
    assert attack.state() == attack.before
