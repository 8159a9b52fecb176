"""A hostile far end against a client: a server that sends another tree than was asked for, or wants what was not listed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.engine import peer as peering
from deltasync.engine import reporter
from deltasync.engine.serve import Limits
from deltasync.errors import DeltasyncError, ExitCode
from deltasync.fs.root import Root
from tests.engine import hostile
from tests.engine.hostile import Await, Cut, Finish, Flood, Row, Step, folder, frame, section
from tests.engine.hostile_arena import Arena, Ended, forget_peak, peak_bytes, refused, seen
from tests.engine.hostile_talks import END, PULLED, WANTED

HELLO = hostile.hello() + hostile.control(hostile.READY, "python")
ONE = hostile.entries(section(b"", Row(b"f", size=3)))


@pytest.fixture
def arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    """The places, looked after when the test is over; the root is the current directory of a client that pushes."""
    made = Arena(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield made
    made.check()


# Pulls ------------------------------------------------------------------------------------------------------------------------------------

TREES = {
    "another name": hostile.tree(b"other"),
    "contents for a name": hostile.tree(),
    "a name and contents": hostile.tree(b"src", b""),
    "whole without contents": hostile.tree(b"src", whole=True),
    "lone and whole": hostile.tree(whole=True, lone=True),
    "dotdot": hostile.tree(b".."),
    "no tree": hostile.entries(section(b"", folder(b"src"))),
    "an entry beside": hostile.tree(b"src") + hostile.entries(section(b"", Row(b"mine2"), folder(b"src"))),
    "a directory beside": hostile.tree(b"src") + hostile.entries(section(b"", folder(b"src")), section(b"in")),
    "a directory above": hostile.tree(b"src") + hostile.entries(section(b"", folder(b"src")), section(b"srcx")),
    "wants": hostile.tree(b"src") + hostile.want(0),
    "setup": hostile.setup(True, [b""]),
    "hello twice": hostile.hello(),
}


@pytest.mark.parametrize("name", TREES)
def test_a_pull_takes_no_other_tree_than_it_asked_for(name: str, arena: Arena) -> None:
    """A name was asked for with --delete: whatever else comes ends the run, and nothing that was there is gone."""
    before = seen(arena.root)
    ended = arena.client("pull", HELLO + TREES[name], places=(b"src", arena.root), delete=True)
    assert refused(ended), ended.error
    assert set(seen(arena.root)) >= set(before)


def test_contents_under_a_new_name_widen_no_deletion(arena: Arena) -> None:
    """`src/` was asked for into a directory that is not there yet: the peer can't turn that into the directory above."""
    neighbours = seen(arena.root)
    lone = hostile.tree(lone=True) + hostile.entries(section(b"", Row(b"src"))) + hostile.entries_end(1)
    ended = arena.client("pull", HELLO + lone, Finish(), places=(b"src/", arena.root + b"/new"), delete=True)
    assert refused(ended)
    assert seen(arena.root) == neighbours


def test_a_lone_name_is_no_directory(arena: Arena) -> None:
    """What was announced as one entry that is no directory neither becomes one nor has anything in it."""
    lone = hostile.tree(b"src", lone=True)
    for said in (section(b"", folder(b"src")), section(b"", Row(b"src")) + section(b"new", Row(b"x"))):
        ended = arena.client("pull", HELLO + lone + hostile.entries(said), places=(b"src", arena.root + b"/new"))
        assert refused(ended)


EXCLUDED = {
    "an entry": section(b"", Row(b"secret")),
    "an entry deeper": section(b"", folder(b"in")) + section(b"in", Row(b"secret")),
    "a directory's contents": section(b"", folder(b"a")) + section(b"secret", Row(b"x")),
    "deeper contents": section(b"", folder(b"a")) + section(b"secret/in", Row(b"x")),
    "contents of a directory deeper": section(b"in", folder(b"a")) + section(b"in/secret/a/b", Row(b"x")),
}


@pytest.mark.parametrize("name", EXCLUDED)
def test_what_the_own_rules_exclude_is_refused(name: str, arena: Arena) -> None:
    """The peer can neither write nor delete in what the user excluded."""
    (Path(os.fsdecode(arena.root)) / "secret" / "in").mkdir(parents=True)
    (Path(os.fsdecode(arena.root)) / "secret" / "in" / "mine").write_text("mine")
    said = HELLO + hostile.tree() + hostile.entries(EXCLUDED[name])
    ended = arena.client("pull", said, delete=True, rules=(b"- secret",))
    assert refused(ended)
    assert (Path(os.fsdecode(arena.root)) / "secret" / "in" / "mine").read_text() == "mine"
    assert not (Path(os.fsdecode(arena.root)) / "secret" / "x").exists()


def test_what_the_own_rules_hide_is_refused(arena: Arena) -> None:
    """A rule for the sender's side alone binds the peer as one for both sides does."""
    said = HELLO + hostile.tree() + hostile.entries(EXCLUDED["an entry"])
    assert refused(arena.client("pull", said, rules=(b"-s secret",)))


def test_directories_that_were_not_wanted_are_refused(arena: Arena) -> None:
    """Without --recursive the peer has nothing to say about directories."""
    ended = arena.client("pull", HELLO + hostile.tree() + hostile.entries(section(b"in", Row(b"x"))), recursive=False)
    assert refused(ended)
    assert not (Path(os.fsdecode(arena.root)) / "in" / "x").exists()


def test_a_pull_cut_anywhere_is_a_failed_run(arena: Arena) -> None:
    """Cut at each frame's boundary, and a byte before and behind, no pull succeeds; whole it does."""
    whole = b"".join(PULLED)
    at = 0
    for one in PULLED:
        at += len(one)
        for cut in (at - 1, at, at + 1):
            for last in (Finish(), Cut()):
                ended = arena.client("pull", whole[:cut], last)
                assert isinstance(ended.error, DeltasyncError)
                assert ended.code in (ExitCode.CONNECTION, ExitCode.PROTOCOL), ended.error
    ended = arena.client("pull", Await(hostile.SETUP), whole, *END, places=(b"src/", arena.root + b"/new"))
    assert ended.error is None
    assert ended.code == ExitCode.OK


# Pushes -----------------------------------------------------------------------------------------------------------------------------------

WANTS = {
    "another chunk": hostile.want(1),
    "a chunk twice": hostile.want(0) * 2,
    "no such index": hostile.want(0, 4),
    "index 2^32-1": hostile.want(0, 0xFFFFFFFF),
    "a directory": hostile.want(0, 3),
    "falling": hostile.want(0, 1, 0),
    "twice": hostile.want(0, 0, 0),
    "half an index": hostile.control(hostile.WANT, 0, b"abc", b""),
    "now and later": hostile.want(0, 0, deferred=[0]),
    "chunk -1": hostile.control(hostile.WANT, -1, b"", b""),
    "chunk 2^63": hostile.want(1 << 63),
    "32,769 bytes": hostile.control(hostile.WANT, 0, bytes(32769), b""),
    "not put off": hostile.want(0) + hostile.want_deferred(0),
    "put off, wanted twice": hostile.want(0, deferred=[0]) + hostile.want_deferred(0, 0),
    "deferred 2^64-1": hostile.want(0) + hostile.want_deferred((1 << 64) - 1),
    "done early": hostile.receiver_done(),
    "done before its files": hostile.want(0, 0, 1, 2) + hostile.receiver_done(),
    "a tree": hostile.tree(),
    "entries": hostile.entries(section(b"")),
    "a pack": hostile.pack((0, b"")),
    "reserved": frame(0x23),
    "ready twice": hostile.control(hostile.READY, "x"),
    "item of 17 letters": hostile.control(hostile.ITEMS, [["x" * 17, b"a", b""]]),
    "item without a code": hostile.control(hostile.ITEMS, [["", b"a", b""]]),
    "item with an escape": hostile.control(hostile.ITEMS, [["\x1b[2J", b"a", b""]]),
    "item of two lines": hostile.control(hostile.ITEMS, [["*deleting\n", b"a", b""]]),
    "item of two": hostile.control(hostile.ITEMS, [["x", b"a"]]),
    "4,097 items": hostile.control(hostile.ITEMS, [[">f+++++++++", b"a", b""]] * 4097),
}


@pytest.mark.parametrize("name", WANTS)
def test_a_push_sends_only_what_it_listed(name: str, arena: Arena) -> None:
    """Whatever else is wanted ends the run; nothing outside the source is read."""
    ended = arena.client("push", HELLO, Await(hostile.ENTRIES_END), WANTS[name], Finish())
    assert refused(ended) or ended.peer.of(hostile.SENDER_DONE), (ended.error, ended.failure)
    assert isinstance(ended.error, DeltasyncError)


@pytest.mark.parametrize("name", WANTS)
def test_a_serving_side_sends_only_what_it_listed(name: str, arena: Arena) -> None:
    """The same of a hostile client that pulls."""
    beneath = Root.open(arena.source)
    open_ = hostile.hello() + hostile.setup(False, [b"/"])
    ended = arena.serve(open_, Await(hostile.ENTRIES_END), WANTS[name], Finish(), limits=Limits(beneath))
    beneath.close()
    assert refused(ended), (ended.code, ended.failure)


def answered(steps: list[Step], arena: Arena, **options: object) -> Ended:
    """Push to a server that answers by a script."""
    return arena.client("push", HELLO, Await(hostile.ENTRIES_END), *steps, **options)  # type: ignore[arg-type]


def test_a_push_is_understood_by_the_second_speaker(arena: Arena) -> None:
    """What is sent can be read from docs/protocol.md alone, and ends as it says."""
    ended = answered(WANTED, arena)
    assert ended.error is None
    assert ended.peer.complete
    assert [one.fields[0] for one in ended.peer.of(hostile.TREE)] == [True]
    assert [one.fields for one in ended.peer.of(hostile.ENTRIES_END)] == [[4, 0]]
    assert [one.body[8:] for one in ended.peer.of(hostile.FILE_END)] == [hostile.digest_of(b"x" * 300_000)]


REPORTS = {
    "items": hostile.squeezed(hostile.ITEMS, hostile.packed([[[">f+++++++++", b"p" * 250_000, b""]] * 4])),
    "troubles": hostile.squeezed(hostile.TROUBLE, hostile.packed([b"p" * 250_000, "x" * 4096, 23])),
    "notes": hostile.squeezed(hostile.NOTE, hostile.packed(["x" * 4096])),
}


@pytest.mark.parametrize("name", ["troubles", "notes"])
def test_reports_without_end_are_not_kept(name: str, arena: Arena) -> None:
    """A server can't fill the client's memory with problems; that there were more is said once."""
    before = forget_peak()
    ended = answered([*[REPORTS[name] * 100] * 12, Finish()], arena)
    assert ended.code == ExitCode.CONNECTION
    assert peak_bytes() - before < 200 << 20
    kept = sum(len(problem.path) for problem in ended.heard.problems)
    assert kept <= reporter.MAX_TOLD_BYTES
    if name == "troubles":
        assert sum("more problems" in note for note in ended.heard.notes) == 1


@pytest.mark.parametrize("name", REPORTS)
def test_a_peer_that_talks_and_does_not_listen_is_left(name: str, arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that wants a large file, reads nothing and floods the sender fills no memory, and the session ends without it."""
    monkeypatch.setattr(peering, "BREAK_GRACE_S", 0.2)
    Path(os.fsdecode(arena.source + b"/b")).write_bytes(os.urandom(12 << 20))
    beneath = Root.open(arena.source)
    before = forget_peak()
    open_ = hostile.hello() + hostile.setup(False, [b"/"], compress="never")
    steps: list[Step] = [open_, Await(hostile.ENTRIES), hostile.want(0, 1), Flood(REPORTS[name] * 10)]
    ended = arena.serve(*steps, limits=Limits(beneath), deaf_after=hostile.ENTRIES)
    beneath.close()
    assert ended.code == ExitCode.PROTOCOL
    assert peak_bytes() - before < 300 << 20
