"""Deltas from end to end, both roles in one process: little travels, and what arrives is right, whatever changes meanwhile."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from deltasync.delta.digest import leaf_bytes
from deltasync.delta.match import Copy
from deltasync.delta.signature import Signature
from deltasync.delta.spans import Span
from deltasync.engine import delta_file
from deltasync.engine.arrivals import Arrivals
from deltasync.engine.base import Base
from deltasync.engine.bases import Bases
from deltasync.engine.delta_file import LOOK_BACK, DeltaFile, _Sampled
from deltasync.engine.errands import Errand
from deltasync.engine.job import Summary
from deltasync.engine.reading import read_exactly
from deltasync.errors import ExitCode
from deltasync.fs.identity import Identity
from deltasync.fs.index import Index, Remembered
from deltasync.patch.staging import Buffer, Staged
from deltasync.wire.messages import FileBegin
from tests.engine.runs import Heard, pull, push

SIZE = 6 << 20
Edit = Callable[[bytearray, random.Random], None]


def content(rng: random.Random, size: int = SIZE) -> bytes:
    """Bytes that nothing compresses."""
    return rng.randbytes(size)


def overwritten(data: bytearray, rng: random.Random) -> None:
    """Some scattered edits."""
    for _ in range(20):
        at = rng.randrange(len(data) - 100)
        data[at : at + 100] = rng.randbytes(100)


def inserted(data: bytearray, rng: random.Random) -> None:
    """One byte in front, and some in the middle."""
    data[3_000_000:3_000_000] = rng.randbytes(5000)
    data[0:0] = b"x"


def moved(data: bytearray, rng: random.Random) -> None:
    """A piece taken from one place to another."""
    piece = data[1_000_001:1_200_000]
    del data[1_000_001:1_200_000]
    data[4_000_003:4_000_003] = piece


def appended(data: bytearray, rng: random.Random) -> None:
    """More at the end, of a length that is no multiple of anything."""
    data += rng.randbytes(70_001)


def cut(data: bytearray, rng: random.Random) -> None:
    """Less at the end."""
    del data[5_000_001:]


def zeroed(data: bytearray, rng: random.Random) -> None:
    """A long run of zeros in place of data."""
    data[2_000_000:3_500_000] = bytes(1_500_000)


def replaced(data: bytearray, rng: random.Random) -> None:
    """Nothing is as it was."""
    data[:] = rng.randbytes(len(data) + 12_345)


def untouched(data: bytearray, rng: random.Random) -> None:
    """Only the time differs."""


@pytest.mark.parametrize(
    ("edit", "most_literal"),
    [
        (overwritten, 20 * 4096),
        (inserted, 5001 + 2 * 2048),
        (moved, 4 * 2048),
        (appended, 70_001),
        (cut, 2048),
        (zeroed, 1_500_000 + 2 * 2048),
        (replaced, SIZE + 12_345),
        (untouched, 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("options", [{}, {"block_bytes": 2000}, {"sparse": True}], ids=["two rounds", "fixed blocks", "sparse"])
@pytest.mark.parametrize("run", [push, pull])
def test_a_changed_file_costs_what_has_changed(
    run: Callable[..., object], options: dict[str, Any], edit: Edit, most_literal: int, tmp_path: Path, rng: random.Random
) -> None:
    """The destination becomes the source, and what travels as literals is about what is new."""
    old = content(rng)
    new = bytearray(old)
    edit(new, rng)
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.write_bytes(new)
    dest.write_bytes(old)
    os.utime(dest, (1, 1))
    os.chmod(source, 0o640)
    summary = push(source, dest, **options) if run is push else pull(source, dest, **options)
    assert dest.read_bytes() == new
    assert os.stat(dest).st_mtime_ns == os.stat(source).st_mtime_ns
    assert os.stat(dest).st_mode == os.stat(source).st_mode
    if "block_bytes" not in options:
        assert summary.literal_bytes <= most_literal
    assert summary.literal_bytes + summary.matched_bytes == len(new)
    assert (summary.files_sent, summary.resent_whole, summary.exit_code) == (1, 0, ExitCode.OK)
    assert sorted(os.listdir(tmp_path)) == ["dest", "source"]


def test_many_files_at_once(tmp_path: Path, rng: random.Random) -> None:
    """More files than may be signed at once, large and small, changed and not, new and gone: each becomes what it shall be."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    dest.mkdir()
    for number in range(40):
        old = content(rng, rng.randrange(100_000, 900_000))
        new = bytearray(old)
        if number % 3:
            overwritten(new, rng)
        (source / f"f{number}").write_bytes(new)
        if number % 7:
            (dest / f"f{number}").write_bytes(old)
            os.utime(dest / f"f{number}", (number, number))
    summary = push(f"{source}/".encode(), dest)
    assert summary.exit_code is ExitCode.OK
    assert {path.name: path.read_bytes() for path in dest.iterdir()} == {path.name: path.read_bytes() for path in source.iterdir()}
    assert summary.matched_bytes > summary.literal_bytes
    assert push(f"{source}/".encode(), dest).entries_changed == 0


@pytest.fixture
def pair(tmp_path: Path, rng: random.Random) -> tuple[Path, Path]:
    """A source, and a destination that differs in a few places."""
    old = content(rng)
    new = bytearray(old)
    overwritten(new, rng)
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.write_bytes(new)
    dest.write_bytes(old)
    os.utime(dest, (1, 1))
    return source, dest


def test_a_base_that_changes_meanwhile_is_not_trusted(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes to the destination's file between its signature and its use: the file is sent again whole, once, and is right."""
    source, dest = pair
    search = DeltaFile.search
    meddled: list[bool] = []

    def meddle(self: DeltaFile, *args: Any) -> Errand:
        if not meddled:
            meddled.append(True)
            with dest.open("r+b") as file:
                file.seek(4_000_000)
                file.write(b"meddled")
        return search(self, *args)

    monkeypatch.setattr(DeltaFile, "search", meddle)
    heard = Heard()
    summary = push(source, dest, heard=heard)
    assert dest.read_bytes() == source.read_bytes()
    assert (summary.resent_whole, summary.files_sent, summary.exit_code) == (1, 1, ExitCode.OK)
    assert summary.literal_bytes >= source.stat().st_size
    assert heard.last.files_done == heard.last.files_total == 1
    assert heard.last.bytes_done == heard.last.bytes_total


@pytest.mark.parametrize("edit", [overwritten, untouched])
def test_what_times_vouch_for_is_looked_at_once_more(
    edit: Edit, pair: tuple[Path, Path], rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checksums from before somebody wrote prove nothing, whether they were to be copied with their leaves or the file was to stay."""
    source, dest = pair
    new = bytearray(dest.read_bytes())
    edit(new, rng)
    source.write_bytes(new)
    monkeypatch.setattr(Identity, "settled", lambda self, at_ns: True)
    begin = Arrivals.begin
    meddled: list[bool] = []

    def meddle(self: Arrivals, message: FileBegin) -> None:
        if not meddled:
            meddled.append(True)
            dest.write_bytes(b"meddled" + dest.read_bytes()[7:])
        begin(self, message)

    monkeypatch.setattr(Arrivals, "begin", meddle)
    summary = push(source, dest)
    assert dest.read_bytes() == source.read_bytes()
    assert (summary.resent_whole, summary.exit_code) == (1, ExitCode.OK)


def test_a_signature_that_lies_leads_to_one_clean_resend(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied is not what was signed, and times don't tell: the digest of the file does."""
    source, dest = pair
    new = bytearray(dest.read_bytes())
    new[5_000_000:5_000_010] = b"0123456789"
    source.write_bytes(new)
    read = Base.read
    seen: list[int] = []

    def lie(self: Base, at: int, buffer: memoryview) -> None:
        read(self, at, buffer)
        if at <= 1_000_000 < at + len(buffer):
            seen.append(at)
            buffer[1_000_000 - at] ^= len(seen) > 1

    monkeypatch.setattr(Base, "read", lie)
    monkeypatch.setattr(Identity, "settled", lambda self, at_ns: False)
    summary = push(source, dest)
    assert dest.read_bytes() == source.read_bytes()
    assert (summary.resent_whole, summary.exit_code) == (1, ExitCode.OK)


def test_a_base_that_cannot_be_read_is_done_without(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The file comes whole then, and nobody is troubled."""
    source, dest = pair

    def refuse(*_: object) -> Base:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Base, "open", refuse)
    summary = push(source, dest)
    assert dest.read_bytes() == source.read_bytes()
    assert (summary.matched_bytes, summary.exit_code) == (0, ExitCode.OK)


def test_a_source_that_changes_while_it_is_compared_is_sent_again(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is sent as it stands at one instant: what was written while its delta was made is there too."""
    source, dest = pair
    literals = DeltaFile.literals
    written: list[bool] = []

    def write(self: DeltaFile) -> Errand:
        if not written:
            written.append(True)
            with source.open("r+b") as file:
                file.seek(100)
                file.write(b"written meanwhile")
        return literals(self)

    monkeypatch.setattr(DeltaFile, "literals", write)
    heard = Heard()
    summary = push(source, dest, heard=heard)
    assert dest.read_bytes() == source.read_bytes()
    assert b"written meanwhile" in dest.read_bytes()[:200]
    assert summary.exit_code is ExitCode.OK
    assert heard.last.bytes_done == heard.last.bytes_total


def test_a_source_that_shrinks_while_it_is_compared(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that ends before its end is read again as what it is now."""
    source, dest = pair
    search = DeltaFile.search

    def shrink(self: DeltaFile, *args: Any) -> Errand:
        os.truncate(source, 1_000_000)
        return search(self, *args)

    monkeypatch.setattr(DeltaFile, "search", shrink)
    assert push(source, dest).exit_code is ExitCode.OK
    assert dest.read_bytes() == source.read_bytes()
    assert dest.stat().st_size == 1_000_000


def test_a_source_that_vanishes_is_counted_as_vanished(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It was listed, the receiver offered a base, and then it is gone: 24, and the destination keeps what it has."""
    source, dest = pair
    old = dest.read_bytes()
    opened = Base.open.__func__  # type: ignore[attr-defined]

    def vanish(*args: object) -> Base:
        source.unlink()
        return opened(Base, *args)  # type: ignore[no-any-return]

    monkeypatch.setattr(Base, "open", vanish)
    heard = Heard()
    assert push(source, dest, heard=heard).exit_code is ExitCode.VANISHED
    assert dest.read_bytes() == old
    assert [problem.path for problem in heard.problems] == [b"source"]


@pytest.mark.parametrize("threads", [1, 4])
def test_any_number_of_threads_gives_the_same(threads: int, pair: tuple[Path, Path]) -> None:
    """The pool's size changes nothing but the time."""
    source, dest = pair
    summary = push(source, dest, threads=threads)
    assert dest.read_bytes() == source.read_bytes()
    assert summary.matched_bytes > summary.literal_bytes


def test_a_dry_run_reads_no_base(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what it would do, and touches nothing."""
    source, dest = pair
    monkeypatch.setattr(Base, "open", None)
    before = dest.stat()
    assert push(source, dest, dry_run=True).files_sent == 1
    assert dest.stat() == before


def test_the_slow_engine_rolls_over_a_bounded_part_and_says_so(pair: tuple[Path, Path], rng: random.Random) -> None:
    """In plain Python the file is right all the same, blocks at their own offsets are found, and one note tells what would be faster."""
    source, dest = pair
    new = bytearray(source.read_bytes())
    new[1 << 20 : 5 << 20] = rng.randbytes(4 << 20)
    source.write_bytes(new)
    heard = Heard()
    summary = push(source, dest, heard=heard, engine="python")
    assert dest.read_bytes() == new
    assert summary.engine == "python"
    assert summary.matched_bytes > 1 << 20
    assert [note for note in heard.notes if "python engine" in note] == heard.notes
    assert len(heard.notes) == 1


def test_what_was_put_in_place_is_not_read_again_to_be_signed(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The index knows the checksums of a file that came as a delta: the next delta reads of the base only what it copies."""
    source, dest = pair
    os.utime(source, (1_000_000, 1_000_000))
    assert push(source, dest).resent_whole == 0
    signed: list[int] = []
    monkeypatch.setattr(Bases, "_sums", lambda self, base, piece, block_bytes: signed.append(block_bytes))
    new = source.read_bytes() + b"appended"
    source.write_bytes(new)
    os.utime(source, (2_000_000, 2_000_000))
    summary = push(source, dest)
    assert dest.read_bytes() == new
    assert signed == []
    assert summary.literal_bytes == 8


@pytest.mark.parametrize("run", [push, pull])
def test_a_place_where_nothing_can_be_remembered_is_told_of_once(
    run: Callable[..., Summary], pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever end the receiver is: one note, and all is well but for the time that it costs; without large files, none."""
    source, dest = pair
    os.utime(source, (1_000_000, 1_000_000))
    home = dest.with_name("home")
    home.write_bytes(b"a file")
    monkeypatch.setenv("DELTASYNC_HOME", str(home))
    heard = Heard()
    assert run(source, dest, heard=heard).exit_code is ExitCode.OK
    assert dest.read_bytes() == source.read_bytes()
    assert [str(home) in note for note in heard.notes] == [True]
    again = Heard()
    run(source, dest, heard=again)
    assert again.notes == []


def test_what_the_index_says_wrongly_costs_a_resend_and_is_forgotten(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is not true of the base can't spoil the file, where the base's leaves are copied and hashed anew; nor is it kept."""
    source, dest = pair
    find = Index.find
    lies: list[Identity] = []
    forgotten: list[Identity] = []

    def lie(self: Index, identity: Identity) -> Remembered | None:
        if find(self, identity) is not None or lies:
            return None
        lies.append(identity)
        leaves = -(-identity.size // leaf_bytes(identity.size))
        digests = [blake3(source.read_bytes()[at * 32768 : (at + 1) * 32768]).digest() for at in range(leaves)]
        return Remembered(leaf_bytes(identity.size), bytes(4 * leaves), b"".join(digests))

    monkeypatch.setattr(Index, "find", lie)
    monkeypatch.setattr(Base, "leaf", lambda self, index: None)
    monkeypatch.setattr(Index, "forget", lambda self, identity: forgotten.append(identity))
    summary = push(source, dest)
    assert dest.read_bytes() == source.read_bytes()
    assert len(lies) == summary.resent_whole == 1
    assert forgotten == lies


def test_content_that_is_new_for_long_is_sampled(tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind more new content than is rolled over in vain, the old content is found, and what was passed over just before is looked at."""
    monkeypatch.setattr(delta_file, "SEGMENT_BYTES", 64 << 10)
    monkeypatch.setattr(delta_file._batches, "__defaults__", (64 << 10,))
    old = content(rng, 3 << 20)
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.write_bytes(content(rng, (8 << 20) + 5) + old + content(rng, 8 << 20))
    dest.write_bytes(old)
    os.utime(dest, (1, 1))
    searched: list[int] = []
    search = DeltaFile._search

    def count(self: DeltaFile, signature: Signature, spans: list[Span]) -> list[Copy]:
        searched.append(signature.layout.block_bytes)
        return search(self, signature, spans)

    monkeypatch.setattr(DeltaFile, "_search", count)
    summary = push(source, dest)
    assert dest.read_bytes() == source.read_bytes()
    assert summary.literal_bytes <= (16 << 20) + 5 + (64 << 10)
    assert searched.count(32 << 10) < 260, "what is new is not rolled over from its start to its end"


def test_what_was_passed_over_behind_the_last_match_is_never_due() -> None:
    """Pieces just before a match are looked at after all; a match among them says nothing of the end of the file."""
    pieces = [[Span(number, number + 1)] for number in range(1000)]
    sampled = _Sampled(iter(pieces))
    handed_out = []
    for piece in sampled:
        handed_out.append(piece)
        sampled.heard(fruitful=piece == [Span(504, 505)])
    due = []
    for piece in sampled.passed_over():
        due.append(piece)
        sampled.heard(fruitful=True)
    assert [Span(504, 505)] in handed_out
    assert due == [piece for piece in pieces[430:504] if piece not in handed_out][-LOOK_BACK:]
    assert len(due) == LOOK_BACK


def test_a_file_that_is_what_it_shall_be_stays_where_it_is(pair: tuple[Path, Path]) -> None:
    """Only its attributes change: nothing is written, and it is the same file."""
    source, dest = pair
    dest.write_bytes(source.read_bytes())
    os.utime(dest, (1, 1))
    os.chmod(source, 0o604)
    before = dest.stat()
    summary = push(source, dest)
    after = dest.stat()
    assert (summary.literal_bytes, summary.matched_bytes, summary.resent_whole) == (0, SIZE, 0)
    assert (after.st_ino, after.st_blocks) == (before.st_ino, before.st_blocks)
    assert (after.st_mtime_ns, after.st_mode) == (source.stat().st_mtime_ns, source.stat().st_mode)
    assert push(source, dest).entries_changed == 0


def test_a_snapshot_that_shares_the_file_keeps_its_attributes(pair: tuple[Path, Path]) -> None:
    """A file of several names is replaced, also where only its time differs."""
    source, dest = pair
    dest.write_bytes(source.read_bytes())
    os.utime(dest, (1, 1))
    snapshot = dest.with_name("snapshot")
    os.link(dest, snapshot)
    push(source, dest)
    assert snapshot.stat().st_mtime == 1
    assert dest.read_bytes() == source.read_bytes()
    assert dest.stat().st_mtime_ns == source.stat().st_mtime_ns


@pytest.mark.parametrize("edit", [overwritten, untouched, moved])
def test_a_destination_that_takes_no_file_is_reported(
    edit: Edit, pair: tuple[Path, Path], rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the file is staged: one problem, what comes is passed over, and the old file stays."""
    source, dest = pair
    old = dest.read_bytes()
    new = bytearray(old)
    edit(new, rng)
    source.write_bytes(new)
    os.link(dest, dest.with_name("other"))

    def full(*_: object, **__: object) -> Staged:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Staged, "create", full)
    heard = Heard()
    assert push(source, dest, heard=heard).exit_code is ExitCode.LOCAL_IO
    assert [problem.path for problem in heard.problems] == [b"dest"]
    assert dest.read_bytes() == old


def test_a_disk_that_fills_up_leaves_the_old_file(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes while ranges are copied: the old file stays whole, and nothing is left behind."""
    source, dest = pair
    old = dest.read_bytes()
    put = Staged.put

    def fill(self: Staged, at: int, data: Buffer) -> None:
        if at > 2_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        put(self, at, data)

    monkeypatch.setattr(Staged, "put", fill)
    heard = Heard()
    assert push(source, dest, heard=heard).exit_code is ExitCode.LOCAL_IO
    assert len(heard.problems) == 1
    assert dest.read_bytes() == old
    assert sorted(os.listdir(dest.parent)) == ["dest", "source"]


def test_holes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse image of 3 GiB with little in it is compared by what is in it; and what is in it arrives."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    for path, content in ((source, b"new"), (dest, b"old")):
        with path.open("wb") as file:
            for at in (5_000_000, 1 << 30, (3 << 30) - 100):
                file.seek(at)
                file.write(b"data" * 20)
            file.seek(1_500_000_000)
            file.write(content * 1000)
            file.truncate(3 << 30)
    os.utime(dest, (1, 1))
    read: list[int] = []

    def count(fd: int, at: int, buffer: memoryview) -> None:
        read.append(len(buffer))
        read_exactly(fd, at, buffer)

    monkeypatch.setattr(delta_file, "read_exactly", count)
    summary = push(source, dest, sparse=True)
    assert summary.exit_code is ExitCode.OK
    assert summary.literal_bytes <= 8192
    assert sum(read) < 64 << 20
    assert dest.stat().st_blocks * 512 < 64 << 20
    assert dest.stat().st_size == 3 << 30
    with source.open("rb") as one, dest.open("rb") as other:
        for at in (0, 4 << 20, 1 << 30, 1_499_990_000, 2 << 30, (3 << 30) - (1 << 20)):
            assert os.pread(one.fileno(), 1 << 20, at) == os.pread(other.fileno(), 1 << 20, at)
