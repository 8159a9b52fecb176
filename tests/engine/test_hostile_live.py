"""A hostile client in a live session: what it says of names touches nothing outside the root, and what is out of place ends the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.errors import ExitCode
from tests.engine import hostile
from tests.engine.hostile import Await, Finish, Raw, Row, folder, section
from tests.engine.hostile_arena import Arena, refused

RENAMES, PRESUMED, ROUND, GONE = 0x1C, 0x1E, 0x30, 0x31
ROUND_DONE = hostile.ROUND_DONE
PARTIAL, WRITTEN = 16, 32
LIVE = hostile.control(hostile.TREE, True, [b""], False, 0, True)
FILE = Row(b"f", size=3)
FIRST = (
    hostile.hello(features=["rounds"])
    + hostile.setup(True, [b""])
    + LIVE
    + hostile.entries(section(b"", FILE, folder(b"in")), section(b"in", Row(b"mine", size=4)))
    + hostile.entries_end(3)
    + hostile.pack((0, b"abc"), (2, b"new!"))
)
"""A live session up to the end of its tree."""
EMPTY = hostile.entries_end(0)


def number(of: int) -> bytes:
    """A round begins."""
    return hostile.control(ROUND, of)


def renames(*pairs: tuple[bytes, bytes]) -> bytes:
    """Names that changed."""
    return hostile.control(RENAMES, pairs)


def gone(*paths: bytes) -> bytes:
    """Names that are gone."""
    return hostile.control(GONE, paths)


def presumed(*indexes: int, digests: int | None = None) -> bytes:
    """Deltas that were not asked for are announced, to something that nobody has."""
    packed = b"".join(index.to_bytes(4, "little") for index in indexes)
    return hostile.control(PRESUMED, packed, b"?" * 32 * (len(indexes) if digests is None else digests))


def changed(path: bytes, *rows: Row, flags: int = 3 | PARTIAL) -> bytes:
    """One section of a round."""
    return hostile.entries(section(path, *rows, flags=flags))


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """The places, looked after when the test is over."""
    made = Arena(tmp_path)
    yield made
    made.check()


PATHS = [b"..", b"/etc", b"a/../b", b"a//b", b"", b"in/.deltasync~j1", b".deltasync~s", b"a\0b", b"n" * 256, b"in/"]
REFUSED = {
    f"{flags} with {kind}": number(1) + changed(b"in", FILE, flags=flags | kind)
    for kind in (PARTIAL, WRITTEN, PARTIAL | WRITTEN)
    for flags in (0, 1, 2)
}
REFUSED |= {f"gone {path[:12]!r}": number(1) + gone(path) for path in PATHS}
REFUSED |= {f"renamed from {path[:12]!r}": number(1) + renames((path, b"g")) for path in PATHS}
REFUSED |= {f"renamed to {path[:12]!r}": number(1) + renames((b"f", path)) for path in PATHS}
REFUSED |= {
    "a section beyond its flags": number(1) + changed(b"in", FILE, flags=64 | 3),
    "round 0": number(0),
    "round 2 first": number(2),
    "round 1 twice": number(1) + EMPTY + number(1),
    "round -1": number(-1),
    "a round in a round": number(1) + number(2),
    "renames before a round": renames((b"f", b"g")),
    "gone before a round": gone(b"f"),
    "entries before a round": changed(b"", FILE),
    "a tree in a round": number(1) + LIVE,
    "a pair of three": number(1) + hostile.control(RENAMES, [[b"f", b"g", b"h"]]),
    "a pair of one": number(1) + hostile.control(RENAMES, [[b"f"]]),
    "2^32-1 pairs": number(1) + hostile.control(RENAMES, Raw(b"\xdd\xff\xff\xff\xff")),
    "2^32-1 paths": number(1) + hostile.control(GONE, Raw(b"\xdd\xff\xff\xff\xff")),
    "an end of more than was listed": number(1) + hostile.entries_end(1),
    "deltas announced twice": number(1) + presumed(0) + presumed(0),
    "a delta announced twice": number(1) + presumed(0, 0),
    "deltas without digests": number(1) + presumed(0, digests=2),
    "nothing announced": number(1) + presumed(),
    "too many deltas announced": number(1) + presumed(*range(9)),
    "a delta of what is not listed": number(1) + presumed(1) + changed(b"in", FILE),
    "deltas announced at the end": number(1) + EMPTY + presumed(0),
    "a delta that was not announced": number(1) + changed(b"in", FILE) + hostile.begin(0, 3) + hostile.begin(0, 3),
    "a file that is not asked for": number(1) + EMPTY + number(2) + hostile.pack((7, b"abc")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_round_does_not_allow_ends_the_session(name: str, arena: Arena) -> None:
    """The serving side ends with a protocol error; what stood before stands."""
    ended = arena.serve(FIRST, Await(ROUND_DONE), REFUSED[name], Finish())
    assert refused(ended), (ended.code, ended.failure)
    assert (Path(os.fsdecode(arena.root)) / "in" / "mine").read_text() == "new!"


@pytest.mark.parametrize("flags", [PARTIAL, WRITTEN, PARTIAL | WRITTEN])
def test_sections_of_rounds_are_refused_where_there_are_none(flags: int, arena: Arena) -> None:
    """A push that is not live has no partial sections."""
    ended = arena.serve(hostile.hello() + hostile.setup(True, [b""]) + hostile.tree() + changed(b"in", FILE, flags=flags | 3), Finish())
    assert refused(ended)


def test_names_are_not_followed_out_of_the_root(arena: Arena) -> None:
    """Through a symlink that leads out nothing is renamed, replaced, deleted or made, and what was not done is said."""
    moves = renames((b"out/secret", b"taken"), (b"f", b"out/f"), (b"out/dir", b"dir"), (b"in", b"in/in"), (b"absent", b"g"))
    said = (
        number(1) + moves + gone(b"out/secret", b"out/dir/deep", b"out/dir") + changed(b"out", Row(b"new", size=3)) + hostile.entries_end(1)
    )
    ended = arena.serve(FIRST, Await(ROUND_DONE), said, Await(ROUND_DONE, 2), hostile.sender_done(), Finish())
    assert ended.code in (ExitCode.OK, ExitCode.CONNECTION, ExitCode.PROTOCOL)
    done = ended.peer.of(ROUND_DONE)
    if len(done) > 1:
        assert done[1].fields[1] == b"".join(at.to_bytes(4, "little") for at in range(5))
    root = Path(os.fsdecode(arena.root))
    assert (root / "out").is_symlink()
    assert (root / "f").read_bytes() == b"abc"


def test_a_live_session_that_keeps_to_the_rules_is_understood(arena: Arena) -> None:
    """A rename, a deletion and a save, told in a round, are done, and each round is answered."""
    said = (
        number(1)
        + renames((b"f", b"in/g"))
        + gone(b"in/mine")
        + changed(b"in", Row(b"new", size=3), flags=3 | PARTIAL | WRITTEN)
        + hostile.entries_end(1)
        + hostile.pack((0, b"xyz"))
    )
    ended = arena.serve(FIRST, Await(ROUND_DONE), said, Await(ROUND_DONE, 2), hostile.sender_done(), Await(hostile.RECEIVER_DONE), Finish())
    assert ended.code == ExitCode.OK, ended.failure
    assert [one.fields[0] for one in ended.peer.of(ROUND_DONE)] == [0, 1]
    there = Path(os.fsdecode(arena.root)) / "in"
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {"g": b"abc", "new": b"xyz"}


def test_what_is_announced_wrongly_is_passed_over_whatever_it_is(arena: Arena) -> None:
    """A delta to what the receiver does not have, with ranges and content that can't be; the file comes as it is asked for."""
    junk = hostile.begin(0, 1 << 40) + hostile.data(0, b"x" * 1000) + hostile.end(0, b"\0" * 32)
    said = number(1) + presumed(0) + changed(b"in", Row(b"new", size=3), flags=3 | PARTIAL | WRITTEN) + junk + hostile.entries_end(1)
    ended = arena.serve(
        FIRST,
        Await(ROUND_DONE),
        said,
        hostile.pack((0, b"xyz")),
        Await(ROUND_DONE, 2),
        hostile.sender_done(),
        Await(hostile.RECEIVER_DONE),
        Finish(),
    )
    assert ended.code == ExitCode.OK, ended.failure
    assert (Path(os.fsdecode(arena.root)) / "in" / "new").read_bytes() == b"xyz"
