"""Disks that are full, limited or read-only, wherever in a file that shows: the old file is whole, and what can be done is done."""

from __future__ import annotations

import os
import random
import resource
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from deltasync.engine.job import Summary
from deltasync.errors import ExitCode
from tests.engine.runs import Heard, push
from tests.forked import in_child

SIZE = 2 << 20
STEP = 64 << 10
PAGE = 4096
WAYS = ["new", "small", "stage", "stage, fsync", "inplace"]


class Small:
    """A small disk with the destination on it, and a source that is to be put there.

    Args:
        place: Where it is mounted.
        source: A directory to be filled.
        way: How the file comes: as a new one, in small ones, or as a patch in one of the ways to do that.
    """

    def __init__(self, place: Path, source: Path, way: str) -> None:
        rng = random.Random(way)
        self.place, self.source, self.dest, self.way = place, source, place / "dest", way
        self.dest.mkdir()
        (source / "done").mkdir(parents=True)
        self.new = {b"f": rng.randbytes(SIZE)}
        self.old: dict[bytes, bytes] = {}
        if way == "small":
            self.new = {b"f%d" % number: rng.randbytes(STEP) for number in range(SIZE // STEP)}
        elif way != "new":
            self.old = {b"f": self.new[b"f"]}
            changed = bytearray(self.new[b"f"])
            for at in range(0, SIZE, STEP):
                # Half of each piece is new, and the rest moves, so that the journal and the new file grow from start to end.
                changed[at : at + STEP // 2] = rng.randbytes(STEP // 2)
            self.new[b"f"] = bytes(changed)
        for name, content in self.new.items():
            (source / os.fsdecode(name)).write_bytes(content)

    def begin(self, free: int | None) -> None:
        """Have the old files at the destination, one that is to be deleted, and so much room that is free, or all there is."""
        (self.place / "ballast").unlink(missing_ok=True)
        for path in self.dest.iterdir():
            if path.name != "done":
                path.unlink()
        for name, content in self.old.items():
            (self.dest / os.fsdecode(name)).write_bytes(content)
            os.utime(self.dest / os.fsdecode(name), ns=(1, 1))
        (self.dest / "goes").touch()
        (self.dest / "done").mkdir(exist_ok=True)
        (self.dest / "done").chmod(0o700)
        if free is None:
            return
        room = os.statvfs(self.place)
        with (self.place / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, room.f_bavail * room.f_frsize - free)

    def push(self, heard: Heard) -> Summary:
        """Push."""
        mode = {"inplace": "inplace", "new": "auto", "small": "auto"}.get(self.way, "stage")
        return push(bytes(self.source) + b"/", self.dest, heard=heard, delete=True, update_mode=mode, fsync="fsync" in self.way)

    def wrong(self, failed: set[bytes]) -> list[str]:
        """Compare the destination with what it must be when some files have failed; returns what differs."""
        wanted = {
            **{name: content for name, content in self.new.items() if name not in failed},
            **{name: self.old[name] for name in failed & set(self.old)},
        }
        found = {name: (self.dest / os.fsdecode(name)).read_bytes() for name in os.listdir(os.fsencode(self.dest)) if name != b"done"}
        wrong = [os.fsdecode(name) for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)]
        return wrong if (self.dest / "done").stat().st_mode & 0o777 == 0o755 else [*wrong, "done"]


@pytest.fixture(params=WAYS)
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Small]:
    """A small disk, for each of the ways."""
    place, source = tmp_path / "disk", tmp_path / "source"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={6 * SIZE}", "none", place], check=True)
    yield Small(place, source, request.param)
    subprocess.run(["umount", place], check=True)


@pytest.mark.needs("root")
def test_a_disk_that_is_full_at_any_place(small: Small) -> None:
    """At every 64 KiB: what failed is named and is what it was, the rest is done, nothing is left behind, and room heals all."""
    failures = 0
    for free in range(0, 2 * SIZE, STEP):
        small.begin(free + PAGE)
        heard = Heard()
        summary = small.push(heard)
        failed = {problem.path for problem in heard.problems}
        told = f"{free} bytes free: {heard.problems}"
        assert summary.exit_code is (ExitCode.LOCAL_IO if failed else ExitCode.OK), told
        assert all("No space left on device" in problem.error for problem in heard.problems), told
        assert (failed <= set(small.new), small.wrong(failed)) == (True, []), told
        if not failed:
            break
        failures += 1
    assert failures >= (SIZE // STEP) // 2
    small.begin(free)
    assert small.push(Heard()).exit_code is ExitCode.OK
    assert small.wrong(set()) == []


@pytest.fixture(params=["new", "small", "stage"])
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Small:
    """The same on a disk with room, for those ways that have a file written from its start to its end."""
    return Small(tmp_path, tmp_path / "source", request.param)


def test_a_limit_of_the_size_of_files(limited: Small) -> None:
    """What would be longer is named and stays what it is; all else is done."""
    (limited.source / "short").write_bytes(b"short")
    limited.new[b"short"] = b"short"

    def run(most_bytes: int) -> tuple[ExitCode, list[tuple[bytes, str]]]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        heard = Heard()
        return limited.push(heard).exit_code, [(problem.path, problem.error) for problem in heard.problems]

    for most_bytes in (PAGE, STEP - 1, STEP, SIZE // 2, SIZE - 1, SIZE):
        limited.begin(None)
        wanted = {name for name, content in limited.new.items() if len(content) > most_bytes}
        code, problems = in_child(partial(run, most_bytes))
        assert {name for name, _ in problems} == wanted, problems
        assert code is (ExitCode.PARTIAL if wanted else ExitCode.OK), problems
        assert all("File too large" in error for _, error in problems), problems
        assert limited.wrong(wanted) == [], problems


@pytest.mark.needs("root")
def test_a_part_that_is_read_only(tmp_path: Path) -> None:
    """A filesystem inside the destination that can't be written to stays as it is; each path is named, and the rest is done."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    for root, content in ((source, b"new"), (dest, b"old")):
        (root / "sub").mkdir(parents=True)
        (root / "f").write_bytes(content)
    subprocess.run(["mount", "-t", "tmpfs", "none", dest / "sub"], check=True)
    try:
        for root, content in ((source, b"new!"), (dest, b"old")):
            (root / "sub" / "small").write_bytes(content)
            (root / "sub" / "large").write_bytes(content * 50_000)
        (source / "sub" / "made").mkdir()
        (dest / "sub" / "goes").touch()
        subprocess.run(["mount", "-o", "remount,ro", dest / "sub"], check=True)
        heard = Heard()
        assert push(bytes(source) + b"/", dest, heard=heard, delete=True).exit_code is ExitCode.LOCAL_IO
        assert {problem.path for problem in heard.problems} == {
            b"sub",
            *(b"sub/" + name for name in (b"small", b"large", b"made", b"goes")),
        }
        assert all("Read-only file system" in problem.error for problem in heard.problems)
        assert (dest / "f").read_bytes() == b"new"
        found = {path.name: path.read_bytes() for path in (dest / "sub").iterdir()}
        assert found == {"small": b"old", "large": b"old" * 50_000, "goes": b""}
    finally:
        subprocess.run(["umount", dest / "sub"], check=True)
