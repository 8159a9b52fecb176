"""Disks that fail reads and writes, or do only a part of them: each file is old or new, what failed is named, and the rest is done."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deltasync.engine.job import Summary
from deltasync.errors import ExitCode
from deltasync.fs.identity import Identity
from deltasync.patch import small
from tests.engine.runs import Heard, push

LARGE = 300_000
READS, WRITES = ("read", "pread", "preadv"), ("write", "pwrite")


class Faults:
    """Stands between this process and the files beneath a directory.

    Args:
        monkeypatch: What puts it there.
        beneath: Of other files nothing is touched.
        calls: The names in `os` that it takes.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, beneath: Path, calls: tuple[str, ...]) -> None:
        self.short = False
        self.fails_at: int | None = None
        self.count = 0
        self._beneath = os.fspath(beneath) + "/"
        for name in calls:
            monkeypatch.setattr(os, name, self._faulty(name, getattr(os, name)))

    def _faulty(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(fd: int, what: Any, *more: Any) -> Any:
            if not os.readlink(f"/proc/self/fd/{fd}").startswith(self._beneath):
                return call(fd, what, *more)
            self.count += 1
            if self.fails_at is not None and self.count > self.fails_at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if self.short:
                what = _less(what) if name in ("read", "pread") else _smaller(what) if name == "preadv" else _shorter(what)
            return call(fd, what, *more)

        return replacement


def _less(count: int) -> int:
    return (count + 1) // 2


def _shorter(data: Any) -> memoryview:
    return memoryview(data)[: _less(len(data))]


def _smaller(buffers: list[Any]) -> list[memoryview]:
    return [_shorter(buffers[0])]


@dataclass
class Trees:
    """A source, and a destination with older versions of its files."""

    source: Path
    dest: Path
    mode: str

    def contents(self, root: Path) -> dict[str, bytes]:
        """What is beneath a directory."""
        return {path.name: path.read_bytes() for path in root.iterdir()}

    def begin(self) -> None:
        """Have old files at the destination; nothing of what a run before has left."""
        rng = random.Random(1)
        for root in (self.source, self.dest):
            root.mkdir(exist_ok=True)
            for path in root.iterdir():
                path.unlink()
        old = bytearray(rng.randbytes(LARGE))
        (self.dest / "patched").write_bytes(old)
        old[1000:1000] = b"inserted"
        old[200_000:250_000] = rng.randbytes(50_000)
        (self.source / "patched").write_bytes(old)
        (self.source / "new").write_bytes(rng.randbytes(LARGE))
        for root in (self.source, self.dest):
            (root / "touched").write_bytes(b"t" * 5000)
        (self.source / "tiny").write_bytes(b"new content")
        (self.dest / "tiny").write_bytes(b"old")
        (self.dest / "goes").write_bytes(b"g")
        for path in self.dest.iterdir():
            os.utime(path, ns=(10**18, 10**18))

    def push(self, heard: Heard) -> Summary:
        """Push."""
        return push(bytes(self.source) + b"/", self.dest, heard=heard, delete=True, update_mode=self.mode)


@pytest.fixture(params=["auto", "stage", "inplace"])
def trees(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trees:
    """Trees, for each way to patch; small files are not written in C, where nothing can stand in between."""
    monkeypatch.setattr(small, "_BULK", None)
    # No waiting until what was just written may be trusted.
    monkeypatch.setattr(Identity, "settled", lambda *_: True)
    return Trees(tmp_path / "source", tmp_path / "dest", request.param)


def test_reads_and_writes_that_do_a_part_are_gone_on_with(trees: Trees, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network filesystems do that: everything arrives, also what is a copy of what is there."""
    trees.begin()
    os.link(trees.dest / "touched", tmp_path / "other")
    faults = Faults(monkeypatch, tmp_path, READS + WRITES)
    faults.short = True
    heard = Heard()
    assert (trees.push(heard).exit_code, heard.problems) == (ExitCode.OK, [])
    faults.short = False
    assert trees.contents(trees.dest) == trees.contents(trees.source)
    assert (tmp_path / "other").read_bytes() == b"t" * 5000


@pytest.mark.parametrize("calls", [WRITES, READS], ids=["writes", "reads"])
def test_a_destination_that_fails_from_any_place_on(trees: Trees, calls: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is old or new, or has a journal; it is named if it is not new, and a run on a sound disk heals everything."""
    faults = Faults(monkeypatch, trees.dest, calls)
    # Patches in place sync a lot, so that they are sampled.
    for number in range(0, 200, 7 if trees.mode == "inplace" else 1):
        faults.fails_at = None
        trees.begin()
        new, old = trees.contents(trees.source), trees.contents(trees.dest)
        faults.count, faults.fails_at = 0, number
        heard = Heard()
        code = trees.push(heard).exit_code
        failing, faults.fails_at = faults.count > number, None
        found = trees.contents(trees.dest)
        failed = {os.fsdecode(problem.path) for problem in heard.problems}
        told = f"{number} calls: {heard.problems}, {sorted(found)}"
        journals = [name for name in found if name.startswith(".deltasync~")]
        # Where what is there can't be read, it can't be patched in place either, which is an error of its own.
        assert code in ((ExitCode.PARTIAL, ExitCode.LOCAL_IO) if failed else (ExitCode.OK,)), told
        mixed = {name for name in new if found.get(name) not in (new[name], old.get(name))}
        assert len(mixed) <= len(journals) <= (len(failed) if trees.mode == "inplace" else 0), told
        assert {name for name in new if found.get(name) != new[name]} <= failed, told
        assert "goes" not in found, told
        assert trees.push(Heard()).exit_code is ExitCode.OK, told
        assert trees.contents(trees.dest) == new, told
        if not failing:
            return
    pytest.fail("there was no end of calls")


def test_a_source_that_fails_from_any_place_on(trees: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be read is named and stays what it is at the destination."""
    faults = Faults(monkeypatch, trees.source, READS)
    for number in range(200):
        faults.fails_at = None
        trees.begin()
        new, old = trees.contents(trees.source), trees.contents(trees.dest)
        faults.count, faults.fails_at = 0, number
        heard = Heard()
        code = trees.push(heard).exit_code
        failing, faults.fails_at = faults.count > number, None
        found = trees.contents(trees.dest)
        failed = {os.fsdecode(problem.path) for problem in heard.problems}
        told = f"{number} calls: {heard.problems}, {sorted(found)}"
        assert code is (ExitCode.PARTIAL if failed else ExitCode.OK), told
        assert {name: found.get(name) for name in new} == {name: old.get(name) if name in failed else new[name] for name in new}, told
        assert not [name for name in found if name.startswith(".deltasync~")], told
        if not failing:
            return
    pytest.fail("there was no end of calls")
