"""Saved large files in a watch: their deltas come without being asked for, and are taken only if the peer still has what was sent."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from deltasync.detect.scan import Chunk
from deltasync.engine.delta_file import DeltaFile
from deltasync.engine.deltas import Deltas
from deltasync.engine.holdings import Holding, Holdings
from deltasync.engine.presumed import Presumed
from deltasync.engine.wants import OpenChunks
from deltasync.errors import RemoteProtocolError
from deltasync.fs.listing import look, own_entry
from deltasync.tree.rows import Section
from deltasync.wire.messages import MAX_OPEN_CHUNKS, MAX_PRESUMED, FileAbort, FileBegin, FileData, FileEnd, Want
from deltasync.wire.messages import Presumed as Announced
from tests.engine.watching import Watching

SIZE = 3 << 20
Answers = list[tuple[int, int]]
Edit = Callable[[bytearray, random.Random], None]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """How many deltas were taken and refused, for each answer that spoke of any."""
    heard: Answers = []
    real = Deltas.answer

    def answer(self: Deltas, taken: Collection[int], refused: Collection[int]) -> None:
        if taken or refused:
            heard.append((len(taken), len(refused)))
        real(self, taken, refused)

    monkeypatch.setattr(Deltas, "answer", answer)
    return heard


def save(path: Path, content: bytes) -> None:
    """Save a file by moving it into its place from outside, with a time that is not too fresh for its checksums to be remembered."""
    beside = path.parent.parent / "saved"
    beside.write_bytes(content)
    long_ago = time.time_ns() - 3_000_000_000
    os.utime(beside, ns=(long_ago, long_ago))
    beside.rename(path)


def few_bytes(data: bytearray, rng: random.Random) -> None:
    """Two edits."""
    for at in (100_000, 2_000_000):
        data[at : at + 50] = rng.randbytes(50)


def one_in_front(data: bytearray, rng: random.Random) -> None:
    """Everything is moved by a byte."""
    data[0:0] = rng.randbytes(1)


def half_anew(data: bytearray, rng: random.Random) -> None:
    """More than is sent before the peer has spoken."""
    data[: SIZE // 2] = rng.randbytes(SIZE // 2)


def shorter(data: bytearray, rng: random.Random) -> None:
    """Less at the end."""
    del data[2_000_001:]


class Saving:
    """A watched file that is saved again and again.

    Args:
        tmp_path: Where there is room.
        seed: Of what is in it.
    """

    def __init__(self, tmp_path: Path, seed: int) -> None:
        self.source, self.dest = tmp_path / "src", tmp_path / "dst"
        self.source.mkdir()
        self._rng = random.Random(seed)
        self.data = bytearray(self._rng.randbytes(SIZE))
        save(self.source / "large", bytes(self.data))
        self.watching = Watching(self.source, self.dest)

    def edit(self, edit: Edit) -> None:
        """Save it with an edit, and wait until the peer has it."""
        edit(self.data, self._rng)
        batches = len(self.watching.heard.batches)
        save(self.source / "large", bytes(self.data))
        self.watching.until(lambda: len(self.watching.heard.batches) > batches and self.watching.equal())


@pytest.fixture
def saving(tmp_path: Path) -> Iterator[Saving]:
    """A watch of a file that has been saved once, so that the peer's checksums are remembered."""
    saving = Saving(tmp_path, 7)
    with saving.watching:
        saving.edit(few_bytes)
        yield saving


@pytest.mark.parametrize("edit", [few_bytes, one_in_front, half_anew, shorter])
def test_a_second_save_needs_no_signature(saving: Saving, answers: Answers, edit: Edit) -> None:
    """What was sent before is what the delta is made to, whatever changed."""
    saving.edit(edit)
    saving.edit(few_bytes)
    assert answers == [(1, 0), (1, 0)]


def test_a_first_save_needs_none_either(tmp_path: Path, answers: Answers) -> None:
    """What went whole is remembered as well, whether it was there before the watch or came in it."""
    saving = Saving(tmp_path, 8)
    with saving.watching:
        saving.edit(few_bytes)
        saving.edit(one_in_front)
    assert answers == [(1, 0), (1, 0)]


@pytest.mark.parametrize("edit", [few_bytes, half_anew])
def test_what_somebody_wrote_at_the_peer_is_seen(saving: Saving, answers: Answers, edit: Edit) -> None:
    """The delta is passed over, whether it has come to its end or not, and made anew to what is there; then all is as before."""
    foreign = bytearray(saving.data)
    foreign[500_000:500_010] = b"somebody's"
    (saving.dest / "large").write_bytes(foreign)
    saving.edit(edit)
    saving.edit(few_bytes)
    assert answers == [(0, 1), (1, 0)]


def test_a_file_that_is_gone_at_the_peer_comes_whole(saving: Saving, answers: Answers) -> None:
    """There is nothing to make it from."""
    (saving.dest / "large").unlink()
    saving.edit(few_bytes)
    assert answers == [(0, 1)]


def test_a_file_that_changes_while_its_delta_is_made_comes_again(saving: Saving, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had come of the delta is void."""
    verdicts = iter([False])
    real = DeltaFile.unchanged
    monkeypatch.setattr(DeltaFile, "unchanged", lambda self, before: next(verdicts, True) and real(self, before))
    saving.edit(few_bytes)
    assert answers == [(1, 0)]


def test_what_changes_but_for_its_content_is_not_sent(saving: Saving, answers: Answers) -> None:
    """A mode travels with the entry."""
    (saving.source / "large").chmod(0o600)
    saving.watching.until(lambda: (saving.dest / "large").stat().st_mode & 0o777 == 0o600)
    assert answers == []


def test_holdings_are_bounded() -> None:
    """What was learnt first goes first."""
    holdings = Holdings(limit_bytes=2 * (1 + 36 * 32) + 10)
    for path in (b"a", b"b", b"a", b"c"):
        holdings.learn(path, Holding(1 << 20, 0, bytes(4 * 32), bytes(32 * 32)))
    kept = {path for path in (b"a", b"b", b"c") if path in holdings}
    assert kept == {b"a", b"c"}


def test_a_holding_goes_with_a_rename() -> None:
    """What is renamed over another takes its place."""
    holdings = Holdings()
    for path in (b"a", b"b"):
        holdings.learn(path, Holding(1 << 20, 0, bytes(4 * 32), bytes(32 * 32)))
    holdings.renamed(b"a", b"b")
    holdings.renamed(b"unknown", b"c")
    assert {path for path in (b"a", b"b", b"c") if path in holdings} == {b"b"}
    holdings.renamed(b"unknown", b"b")
    assert b"b" not in holdings


def test_what_is_passed_over_ends_with_its_stream() -> None:
    """Then the same file may come in the usual way."""
    presumed = Presumed()
    presumed.pass_over([4, 5])
    for end in (FileEnd(4, bytes(32)), FileAbort(5, again=False)):
        assert presumed.busy
        assert presumed.passes_over(FileBegin(end.file_id, 1, 0, 0o100644))
        assert presumed.passes_over(FileData(end.file_id, b"x"))
        assert not presumed.passes_over(FileData(6, b"x"))
        assert presumed.passes_over(end)
        assert not presumed.passes_over(FileBegin(end.file_id, 1, 0, 0o100644))
    assert not presumed.busy


def take(announced: list[Announced], entries: int) -> None:
    """Take announcements, and a chunk."""
    presumed = Presumed()
    for message in announced:
        presumed.announce(message)
    presumed.of_chunk(0, entries)


@pytest.mark.parametrize(
    "announced",
    [
        [Announced(b"\0\0\0\0", bytes(64))],
        [Announced(b"\0\0\0\0" * 2, bytes(64))],
        [Announced(b"\0\0\0\0\1", bytes(32))],
        [Announced(b"\0\0\0\0", bytes(32))] * 2,
        [Announced(b"\2\0\0\0", bytes(32))],
    ],
)
def test_a_malformed_announcement_ends_the_session(announced: list[Announced]) -> None:
    """Digests for each, no index twice or beyond the chunk, and one message a chunk."""
    with pytest.raises(RemoteProtocolError):
        take(announced, 2)


def test_a_peer_can_t_have_ever_more_passed_over() -> None:
    """There is an end to what may be open."""
    presumed = Presumed()
    for chunk in range(MAX_OPEN_CHUNKS):
        presumed.pass_over(range(chunk * MAX_PRESUMED, (chunk + 1) * MAX_PRESUMED))
    with pytest.raises(RemoteProtocolError, match="too many"):
        presumed.pass_over([10_000])


@pytest.mark.parametrize(("delta", "presumed"), [(b"", b"\0\0\0\0"), (b"\1\0\0\0", b"\1\0\0\0"), (b"\0\0\0\0", b"\0")])
def test_a_peer_takes_only_what_was_offered(tmp_path: Path, delta: bytes, presumed: bytes) -> None:
    """Of the files that it wants as deltas, those that were announced."""
    for name in ("f", "g"):
        (tmp_path / name).write_bytes(b"1")
    fd = os.open(tmp_path, os.O_RDONLY)
    rows, _ = look(fd, [b"f", b"g"], lambda name, error: pytest.fail(f"{name!r}: {error}"))
    chunks = OpenChunks()
    chunks.add(Chunk((Section(b"", own_entry(fd), rows, first=True, last=True),), (None,), b"", 2, 2, 2), [0])
    os.close(fd)
    with pytest.raises(RemoteProtocolError, match="not listed"):
        chunks.answer(Want(0, b"", delta=delta, presumed=presumed))
