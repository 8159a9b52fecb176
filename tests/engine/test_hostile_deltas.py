"""Deltas of a hostile peer: ranges that reach outside, checksums that don't fit, answers out of turn; each is a protocol error."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.engine import delta_stream
from deltasync.engine.serve import Limits
from deltasync.errors import DeltasyncError, ExitCode
from deltasync.fs.root import Root
from tests.engine import hostile
from tests.engine.hostile import Await, Finish, Row, Step, frame, section
from tests.engine.hostile_arena import Arena, refused

FILE_COPY, GAPS, SIGNATURE, APPLIED, WANT_WHOLE = 0x1A, 0x1B, 0x23, 0x25, 0x26
BASE = bytes(range(250)) * 1200
SIZE = len(BASE)
BLOCK = 32768
BLOCKS = -(-SIZE // BLOCK)


@pytest.fixture
def arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    """The places; a base lies in the root, which is the current directory of a client that pushes."""
    made = Arena(tmp_path)
    monkeypatch.chdir(tmp_path)
    base = Path(os.fsdecode(made.root)) / "big"
    base.write_bytes(BASE)
    os.utime(base, (1, 1))
    yield made
    made.check()


def copy(*ranges: tuple[int, int, int], number: int = 0, count: int | None = None) -> bytes:
    """Ranges of the base: where each goes, where it comes from, its length."""
    columns = b"".join(struct.pack(f"<{len(ranges)}Q", *column) for column in zip(*ranges, strict=True)) if ranges else b""
    return frame(FILE_COPY, struct.pack("<QI", number, len(ranges) if count is None else count) + columns)


def gaps(*ranges: tuple[int, int], number: int = 0, block: int = 1024, strong: int = 8, count: int | None = None) -> bytes:
    """Ranges of the base that are to be signed again."""
    columns = b"".join(struct.pack(f"<{len(ranges)}Q", *column) for column in zip(*ranges, strict=True)) if ranges else b""
    return frame(GAPS, struct.pack("<QIBI", number, block, strong, len(ranges) if count is None else count) + columns)


def signature(
    first: int,
    blocks: int,
    *,
    number: int = 1,
    base: int = SIZE,
    block: int = BLOCK,
    strong: int = 8,
    extra: bytes = b"",
    count: int | None = None,
) -> bytes:
    """Checksums of blocks, all zeros."""
    head = struct.pack("<QQIBII", number, base, block, strong, first, blocks if count is None else count)
    return frame(SIGNATURE, head + bytes((4 + strong) * blocks) + extra)


# A hostile sender -------------------------------------------------------------------------------------------------------------------------

OPEN = hostile.hello() + hostile.setup(True, [b""]) + hostile.tree()
LISTED: list[Step] = [
    OPEN + hostile.entries(section(b"", Row(b"big", size=SIZE), Row(b"new", size=SIZE))) + hostile.entries_end(2),
    Await(SIGNATURE),
]
BEGUN = hostile.begin(0, SIZE)
DELTAS = {
    "beyond the base": BEGUN + copy((0, SIZE - 9, 10)),
    "beyond the target": BEGUN + copy((SIZE - 9, 0, 10)),
    "far beyond": BEGUN + copy((0, 1 << 61, 1 << 61)),
    "base offset 2^64-1": BEGUN + copy((0, (1 << 64) - 1, 2)),
    "an empty range": BEGUN + copy((0, 0, 0)),
    "overlapping": BEGUN + copy((0, 0, 10), (9, 9, 10)),
    "overlapping later": BEGUN + copy((0, 0, 10)) + copy((5, 0, 1)),
    "no ranges": BEGUN + copy(),
    "more than it says": BEGUN + copy((0, 0, 1), count=2),
    "2^32-1 ranges": BEGUN + copy((0, 0, 1), count=0xFFFFFFFF),
    "16,385 ranges": BEGUN + copy(*[(at, at, 1) for at in range(16385)]),
    "behind a literal": BEGUN + hostile.data(0, b"x") + copy((10, 10, 1)),
    "more literals than room": BEGUN + copy((0, 0, SIZE)) + hostile.data(0, b"x"),
    "more zeros than room": BEGUN + copy((0, 0, SIZE)) + hostile.zeros(0, 1),
    "an early end": BEGUN + copy((0, 0, SIZE - 1)) + hostile.end(0, bytes(32)),
    "of a file that is not open": copy((0, 0, 1)),
    "of a file without a base": hostile.begin(1, SIZE) + copy((0, 0, 1), number=1),
    "gaps beyond the base": BEGUN + gaps((SIZE - 5, 6)),
    "gaps of nothing": BEGUN + gaps((0, 0)),
    "gaps that fall": BEGUN + gaps((5, 1), (0, 1)),
    "gaps that overlap": BEGUN + gaps((0, 5), (4, 5)),
    "no gaps": BEGUN + gaps(),
    "gaps of 2^32-1 ranges": BEGUN + gaps((0, 1), count=0xFFFFFFFF),
    "gaps of blocks of one byte": BEGUN + gaps((0, 5), block=1),
    "gaps of blocks of 4 GiB": BEGUN + gaps((0, 5), block=0xFFFFFFFF),
    "gaps of strong checksums of 255 bytes": BEGUN + gaps((0, 5), strong=255),
    "gaps twice": BEGUN + gaps((0, 5)) + gaps((0, 5)),
    "gaps of a file without a base": BEGUN + gaps((0, 5), number=1),
    "a signature from the sender": BEGUN + signature(0, 1, number=0),
}


@pytest.mark.parametrize("name", DELTAS)
def test_a_malformed_delta_ends_the_session(name: str, arena: Arena) -> None:
    """Whatever is wrong with it, the base stays as it is, and nothing lies about."""
    ended = arena.serve(*LISTED, DELTAS[name], Finish())
    assert refused(ended), (ended.code, ended.failure)
    assert (Path(os.fsdecode(arena.root)) / "big").read_bytes() == BASE
    assert not (Path(os.fsdecode(arena.root)) / "new").exists()


def test_ranges_that_would_wait_for_ever_are_bounded(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is settled where they go or not, a sender can't fill memory with them."""
    monkeypatch.setattr(delta_stream, "MAX_WAITING_RANGES", 1000)
    ended = arena.serve(*LISTED, BEGUN + copy(*[(at, at, 1) for at in range(0, 2002, 2)]), Finish())
    assert refused(ended), (ended.code, ended.failure)
    assert "too many ranges" in str(ended.failure)


def test_a_good_delta_of_the_other_speaker_is_taken(arena: Arena) -> None:
    """So the tests above fail for what they are about: moved halves, a literal, zeros, and a second round."""
    half = SIZE // 2
    target = BASE[half:] + b"literal" + bytes(5) + BASE[:half]
    said = (
        hostile.begin(0, len(target))
        + copy((0, half, half), (half + 12, 0, half - 1))
        + gaps((half - 1, 1))
        + copy((len(target) - 1, half - 1, 1))
        + hostile.data(0, b"literal")
        + hostile.zeros(0, 5)
        + hostile.end(0, hostile.digest_of(target))
    )
    ended = arena.serve(*LISTED, said + hostile.abort(1, 0), Await(APPLIED), Await(hostile.RECEIVER_DONE), hostile.sender_done(), Finish())
    assert ended.code == ExitCode.OK, ended.failure
    assert (Path(os.fsdecode(arena.root)) / "big").read_bytes() == target


def test_a_delta_of_a_wrong_digest_is_asked_for_whole(arena: Arena) -> None:
    """The base stays until the file has come whole."""
    target = b"y" * SIZE
    delta = BEGUN + copy((0, 0, SIZE)) + hostile.end(0, bytes(32))
    whole = BEGUN + hostile.data(0, target) + hostile.end(0, hostile.digest_of(target))
    ended = arena.serve(
        *LISTED, delta, Await(WANT_WHOLE), whole + hostile.abort(1, 0), Await(hostile.RECEIVER_DONE), hostile.sender_done(), Finish()
    )
    assert ended.code == ExitCode.OK, ended.failure
    assert (Path(os.fsdecode(arena.root)) / "big").read_bytes() == target


# A hostile receiver -----------------------------------------------------------------------------------------------------------------------

HELLO = hostile.hello() + hostile.control(hostile.READY, "python")


def want(*delta: int, whole: tuple[int, ...] = ()) -> bytes:
    """Files wanted as deltas."""
    return hostile.control(hostile.WANT, 0, struct.pack(f"<{len(whole)}I", *whole), b"", struct.pack(f"<{len(delta)}I", *delta))


def ids(kind: int, *numbers: int) -> bytes:
    """A message of numbers of files."""
    return hostile.control(kind, struct.pack(f"<{len(numbers)}Q", *numbers))


ANSWERS = {
    "of no wanted file": want() + signature(0, 1),
    "of a file wanted whole": want(whole=(1,)) + signature(0, 1),
    "whole and as a delta": want(1, whole=(1,)),
    "a directory as a delta": want(3),
    "not from the first block": want(1) + signature(1, 1),
    "the same blocks twice": want(1) + signature(0, 1) + signature(0, 1),
    "more blocks than there are": want(1) + signature(0, BLOCKS + 1),
    "beyond the last": want(1) + signature(0, BLOCKS) + signature(BLOCKS, 1),
    "no blocks": want(1) + signature(0, 0),
    "2^32-1 blocks": want(1) + signature(0, 1, count=0xFFFFFFFF),
    "a byte more": want(1) + signature(0, 1, extra=b"x"),
    "of an empty base": want(1) + signature(0, 1, base=0),
    "of a base of 2^63 bytes": want(1) + signature(0, 1, base=1 << 63),
    "of a base of too many blocks": want(1) + signature(0, 1, base=1 << 40, block=256),
    "blocks of one byte": want(1) + signature(0, 1, block=1),
    "strong checksums of 3 bytes": want(1) + signature(0, 1, strong=3),
    "another base later": want(1) + signature(0, 1) + signature(1, 1, base=SIZE + 1),
    "other blocks later": want(1) + signature(0, 1) + signature(1, 1, block=2 * BLOCK),
    "other checksums later": want(1) + signature(0, 1) + signature(1, 1, strong=9),
    "applied before it came": want(1) + ids(APPLIED, 1),
    "applied, never wanted": want() + ids(APPLIED, 0),
    "whole, never wanted": want() + ids(WANT_WHOLE, 0),
    "whole while it is on its way": want(1) + signature(0, 1) + ids(WANT_WHOLE, 1),
    "half a number": want(1) + hostile.control(WANT_WHOLE, b"abc"),
    "done before a delta": want(1) + hostile.receiver_done(),
    "done before it is applied": want(1) + signature(0, BLOCKS) + hostile.receiver_done(),
    "a copy from the receiver": want(1) + copy((0, 0, 1)),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_malformed_signature_ends_a_push(name: str, arena: Arena) -> None:
    """A server that signs what is not there, or signs it wrongly, gets nothing."""
    ended = arena.client("push", HELLO, Await(hostile.ENTRIES_END), ANSWERS[name], Finish())
    assert isinstance(ended.error, DeltasyncError)
    assert refused(ended), (ended.error, ended.failure)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_malformed_signature_ends_a_served_pull(name: str, arena: Arena) -> None:
    """The same of a hostile client that pulls."""
    beneath = Root.open(arena.source)
    open_ = hostile.hello() + hostile.setup(False, [b"/"])
    ended = arena.serve(open_, Await(hostile.ENTRIES_END), ANSWERS[name], Finish(), limits=Limits(beneath))
    beneath.close()
    assert refused(ended), (ended.code, ended.failure)


def test_signatures_of_too_many_files_at_once_are_refused(arena: Arena) -> None:
    """They wait in memory, so that their number is bounded."""
    source = Path(os.fsdecode(arena.source))
    for number in range(20):
        (source / f"m{number:02}").write_bytes(b"m")
    # The entries are a, b, c, d, and these.
    said = want(*range(4, 24)) + b"".join(signature(0, 1, number=number, base=1 << 30) for number in range(4, 24))
    ended = arena.client("push", HELLO, Await(hostile.ENTRIES_END), said, Finish())
    assert refused(ended), (ended.error, ended.failure)


def test_chosen_checksums_cost_a_bounded_time(arena: Arena) -> None:
    """A million blocks of one weak sum, that of the whole source: the push goes on, and ends with the file as literals."""
    source = Path(os.fsdecode(arena.source)) / "b"
    source.write_bytes(bytes(3_000_000))
    base = 256 << 20
    parts = b"".join(signature(first, 16384, base=base, block=256, strong=16) for first in range(0, base // 256, 16384))
    ended = arena.client(
        "push",
        HELLO,
        Await(hostile.ENTRIES_END),
        want(1) + parts,
        Await(hostile.FILE_END),
        ids(APPLIED, 1) + hostile.receiver_done(),
        Await(hostile.SENDER_DONE),
        Finish(),
        block_bytes=256,
    )
    assert ended.error is None
    assert ended.summary is not None
    assert ended.summary.literal_bytes == 3_000_000
