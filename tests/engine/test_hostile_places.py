"""Places that lead elsewhere: `serve --root` and `--read-only`, and directories that turn into symlinks while a push runs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from deltasync.engine.serve import Limits
from deltasync.errors import DestinationError, ExitCode, PeerFailure
from deltasync.fs import libc
from deltasync.fs.root import Root
from deltasync.patch.make import make_directory
from tests.engine import hostile
from tests.engine.flipper import Flipper
from tests.engine.hostile import Await, Finish, Row, section
from tests.engine.hostile_arena import Arena, leftovers, seen
from tests.engine.hostile_talks import END
from tests.engine.runs import push

FLIPPING_S = 1.5
PLACES = {
    "above": b"..",
    "beside": b"../canary",
    "beside, absolute": b"/../canary",
    "absolute": b"%s",
    "down and up": b"in/../../canary",
    "deep up": b"in/../../../../../../../../etc",
    "a symlink": b"out",
    "a symlink's contents": b"out/",
    "behind a symlink": b"out/dir",
    "behind a symlink, its contents": b"out/dir/",
    "a file behind a symlink": b"out/secret",
    "the home of root": b"~root",
    "NUL": b"a\0b",
    "NUL in a directory": b"a\0b/c",
    "a long name": b"n" * 256,
    "a long name's contents": b"n" * 256 + b"/",
    "a long path": b"n/" * 30_000,
}


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """The places, looked after when the test is over."""
    made = Arena(tmp_path)
    yield made
    made.check()


@pytest.mark.parametrize("mkpath", [False, True])
@pytest.mark.parametrize("lone", [False, True])
@pytest.mark.parametrize("name", PLACES)
def test_a_destination_beneath_the_root_leads_nowhere_else(name: str, lone: bool, mkpath: bool, arena: Arena) -> None:
    """Whatever the destination says, a push writes beneath the root, or fails and says so."""
    place = PLACES[name].replace(b"%s", arena.canary)
    tree = hostile.tree(b"f", lone=True) if lone else hostile.tree()
    said = hostile.hello() + hostile.setup(True, [place], mkpath=mkpath, delete=True) + tree
    said += hostile.entries(section(b"", Row(b"f", size=3))) + hostile.entries_end(1) + hostile.pack((0, b"abc"))
    ended = arena.serve(said, *END)
    assert ended.code in (ExitCode.OK, ExitCode.LOCAL_IO)
    assert ended.code == ExitCode.OK or ended.failure is not None


@pytest.mark.parametrize("name", PLACES)
def test_a_source_beneath_the_root_leads_nowhere_else(name: str, arena: Arena) -> None:
    """Whatever the source says, a pull reads beneath the root, or fails and says so."""
    beneath = Root.open(arena.root)
    said = hostile.hello() + hostile.setup(False, [PLACES[name].replace(b"%s", arena.canary)])
    ended = arena.serve(said, Await(hostile.ENTRIES_END), Finish(), limits=Limits(beneath, read_only=True))
    beneath.close()
    chunks = b"".join(one.body for one in ended.peer.of(hostile.ENTRIES))
    assert b"deep" not in chunks
    assert b"secret" not in chunks
    assert ended.code != ExitCode.OK
    assert chunks or ended.failure is not None


def test_the_home_is_the_root(arena: Arena) -> None:
    """`~` and an absolute path are taken beneath the root."""
    for number, place in enumerate((b"~", b"/", b"~/", b"", b"/in", b"~/in")):
        said = hostile.hello() + hostile.setup(True, [place]) + hostile.tree(b"f")
        said += hostile.entries(section(b"", Row(b"f", size=3, mtime_ns=number))) + hostile.entries_end(1) + hostile.pack((0, b"abc"))
        assert arena.serve(said, *END).code == ExitCode.OK
    assert (Path(os.fsdecode(arena.root)) / "f").read_text() == "abc"
    assert (Path(os.fsdecode(arena.root)) / "in" / "f").read_text() == "abc"


@pytest.mark.parametrize("settings", [{}, {"delete": True}, {"dry_run": True}])
def test_a_read_only_side_takes_nothing(settings: dict[str, bool], arena: Arena) -> None:
    """A push to it is refused with exit code 5 before anything is looked at, and no inode changes."""
    before = seen(arena.root)
    beneath = Root.open(arena.root)
    said = (
        hostile.hello() + hostile.setup(True, [b""], **settings) + hostile.tree() + hostile.entries(section(b"")) + hostile.entries_end(0)
    )
    ended = arena.serve(said, Finish(), limits=Limits(beneath, read_only=True))
    beneath.close()
    assert ended.code == ExitCode.AUTHENTICATION
    assert ended.failure is not None
    assert ended.failure[0] == ExitCode.AUTHENTICATION
    assert seen(arena.root) == before


@pytest.mark.parametrize("options", [{}, {"delete": True}, {"checksum": True}, {"hard_links": True, "ignore_times": True}])
def test_a_directory_that_turns_into_a_symlink_is_never_followed(options: dict[str, Any], arena: Arena) -> None:
    """While pushes run, a directory is swapped with a symlink to the canary: that is neither changed nor read."""
    source, root = (Path(os.fsdecode(path)) for path in (arena.source, arena.root))
    (source / "in").mkdir()
    for name in ("dir", "secret.d"):
        (source / "in" / name).mkdir()
        (source / "in" / name / "deep").write_bytes(b"n" * 25)
    (source / "in" / "secret").write_bytes(b"s" * 25)
    os.link(source / "in" / "secret", source / "in" / "twin")
    rounds = flips = 0
    until = time.monotonic() + FLIPPING_S
    while time.monotonic() < until:
        for name in ("in", "flip"):
            if (root / name).is_symlink():
                (root / name).unlink()
            else:
                shutil.rmtree(root / name, ignore_errors=True)
        (root / "in" / "dir").mkdir(parents=True)
        (root / "flip").symlink_to(os.fsdecode(arena.canary))
        flipper = Flipper(arena.root, b"in", b"flip")
        with flipper:
            for number in range(4):
                (source / "in" / "secret").write_bytes(b"%025d" % (rounds * 10 + number))
                with suppress(PeerFailure, DestinationError):
                    push(arena.source + b"/", arena.root, force_empty=True, **options)
        assert flipper.error is None
        flips += flipper.flips
        rounds += 1
    assert flips > 100
    arena.check()


def test_two_swaps_while_a_directory_is_made_leave_nothing_staged(arena: Arena) -> None:
    """A directory comes in place of the symlink at the last moment, and a symlink while it is put back: it is back, nothing stays."""
    root = Path(os.fsdecode(arena.root))
    fd = os.open(arena.root, os.O_RDONLY | os.O_DIRECTORY)
    calls: list[bytes] = []

    def exchange(dir_fd: int, staged: bytes, name: bytes) -> None:
        calls.append(staged)
        if len(calls) == 1:
            libc.exchange(dir_fd, b"in", name)
        else:
            (root / "out").rmdir()
            (root / "out").symlink_to("nowhere")
        libc.exchange(dir_fd, staged, name)

    with pytest.raises(OSError, match="directory"):
        make_directory(fd, b"out", exchange=exchange)
    os.close(fd)
    assert (root / "out" / "mine").read_text() == "mine"
    assert leftovers(arena.root) == []
