"""Itemized lines keep the order of the tree, and a file that never comes has none."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.engine import lines as module
from deltasync.engine.job import Direction, Job, Progress
from deltasync.engine.lines import Lines
from deltasync.engine.run import run
from deltasync.errors import ExitCode, Interrupted, Problem
from deltasync.wire.messages import Item
from deltasync.wire.settings import Settings
from tests.engine.runs import Heard, pull, push
from tests.forked import NOBODY, in_child

PLAIN = NOBODY if os.geteuid() == 0 else None
"""Whom to become for the tests of a plain user, to whom a file can be closed."""


def line(number: int) -> Item:
    """A line that is known by a number."""
    return Item(">f+++++++++", b"%d" % number, b"")


@given(st.lists(st.booleans()), st.randoms(use_true_random=False), st.sets(st.integers(0, 99)))
def test_lines_stay_in_order_whatever_comes_first(awaited: list[bool], rng: object, gone: set[int]) -> None:
    """What is told is what was taken but for the files that don't come; nothing waits but behind a file that is awaited."""
    told: list[Item] = []
    lines = Lines(told.append)
    for number, waits in enumerate(awaited):
        if waits:
            lines.expect(number, line(number))
        else:
            lines.add(line(number))
    first = next((number for number, waits in enumerate(awaited) if waits), len(awaited))
    assert told == [line(number) for number in range(first)]
    files = [number for number, waits in enumerate(awaited) if waits]
    rng.shuffle(files)  # type: ignore[attr-defined]
    for number in files:
        (lines.drop if number in gone else lines.comes)(number)
    assert told == [line(number) for number, waits in enumerate(awaited) if not waits or number not in gone]


def test_a_file_is_told_once() -> None:
    """One that begins anew, or is given up half-way, has been told; a number that nobody waits for is nothing."""
    told: list[Item] = []
    lines = Lines(told.append)
    lines.expect(1, line(1))
    for _ in range(2):
        lines.comes(1)
    lines.drop(1)
    lines.comes(7)
    assert told == [line(1)]


def test_the_end_tells_what_was_done() -> None:
    """Of a run that breaks off the files that never came are left out, and only they."""
    told: list[Item] = []
    lines = Lines(told.append)
    lines.expect(1, line(1))
    lines.add(line(2))
    lines.expect(3, line(3))
    lines.comes(3)
    lines.close()
    assert told == [line(2), line(3)]


def test_what_is_held_back_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is long in coming does not fill the memory with what is behind it."""
    monkeypatch.setattr(module, "MAX_HELD", 3)
    told: list[Item] = []
    lines = Lines(told.append)
    for number in range(3):
        lines.expect(number, line(number))
    assert told == []
    lines.add(line(3))
    assert told == [line(0)]
    lines.drop(0)
    lines.drop(1)
    lines.comes(2)
    assert told == [line(0), line(2), line(3)]


def test_a_file_that_can_not_be_read_has_no_line(public: Path) -> None:
    """As with rsync: an error, and no line that says it was sent; a dry run does not try, and lists it."""
    # What a run loads only when it is needed may lie where the plain user can't read.
    (public / "warm").touch()
    push(public / "warm", public / "warmer")

    def act() -> None:
        source = public / "src"
        (source / "d").mkdir(parents=True)
        for name, size in (("a", 1), ("dark", 1), ("d/large", 300_000), ("d/large-dark", 300_000), ("d/z", 1)):
            (source / name).write_bytes(bytes(size))
        (source / "l").symlink_to("a")
        for name in ("dark", "d/large-dark"):
            (source / name).chmod(0)
        for transfer in (push, pull):
            dry, real = Heard(), Heard()
            dest = public / transfer.__name__
            transfer(os.fsencode(source) + b"/", dest, dry_run=True, heard=dry)
            assert transfer(os.fsencode(source) + b"/", dest, heard=real).exit_code == ExitCode.PARTIAL
            assert sorted(path for _, path, _ in dry.items) == [b".", b"a", b"d", b"d/large", b"d/large-dark", b"d/z", b"dark", b"l"]
            assert real.items == [item for item in dry.items if b"dark" not in item[1]]
            failed = [Problem(path, "it can't be read: Permission denied") for path in (b"d/large-dark", b"dark")]
            assert sorted(real.problems, key=lambda problem: problem.path) == failed

    in_child(act, uid=PLAIN)


class Stopper(Heard):
    """Stops the run when it hears of the large file, which is never done then."""

    def __init__(self) -> None:
        super().__init__()
        self.stop = threading.Event()

    def item(self, code: str, path: bytes, link: bytes) -> None:
        """Keep it, and stop."""
        super().item(code, path, link)
        if path == b"large":
            self.stop.set()

    def progress(self, progress: Progress) -> None:
        """Look at what is done."""
        assert progress.bytes_done < 8 << 20


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_the_line_of_a_large_file_is_told_when_it_begins(direction: Direction, tmp_path: Path) -> None:
    """The line of a file stands when its content begins to come, not when all of it has; what is behind it is not told."""
    source = tmp_path / "src"
    source.mkdir()
    (source / "a").write_bytes(b"a")
    (source / "large").write_bytes(os.urandom(8 << 20))
    (source / "z").write_bytes(b"z")
    heard = Stopper()
    job = Job(direction, (os.fsencode(source) + b"/",), os.fsencode(tmp_path / "dst"), Settings(itemize=True, bwlimit_bytes_s=1 << 20))
    with pytest.raises(Interrupted):
        run(job, heard, heard.stop)
    assert [path for _, path, _ in heard.items] == [b".", b"a", b"large"]
