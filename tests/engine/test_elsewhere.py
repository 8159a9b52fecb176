"""Bases from elsewhere: a renamed file is renamed, a copied one copied, an interrupted one goes on; what is deleted stays right."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from deltasync.engine import elsewhere
from deltasync.engine.delta_stream import DeltaStream
from deltasync.engine.elsewhere import Candidate
from deltasync.errors import ExitCode
from deltasync.fs.identity import Identity
from deltasync.patch.leftovers import partial_name
from tests.engine.runs import Heard, push

SIZE = 3 << 20


def tree(directory: Path) -> dict[str, bytes]:
    """Every file beneath a directory, by its path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def identity(path: Path) -> Identity:
    """Which file it is, and of which state."""
    return Identity.of(path.stat())


@pytest.fixture
def mirrored(tmp_path: Path, rng: random.Random) -> tuple[Path, Path]:
    """A source with a few large files and a directory of some, and its mirror."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    (source / "deep" / "er").mkdir(parents=True)
    for place in ("one", "two", "deep/three", "deep/er/four"):
        (source / place).write_bytes(rng.randbytes(SIZE))
        os.utime(source / place, (1_000_000, 1_000_000))
    push(f"{source}/".encode(), dest)
    return source, dest


def test_a_renamed_file_is_renamed(mirrored: tuple[Path, Path]) -> None:
    """With `--delete` nothing of it is sent, and it is the very file that it was; the lines are those of a new and of a deleted file."""
    source, dest = mirrored
    inode = (dest / "one").stat().st_ino
    (source / "one").rename(source / "deep" / "uno")
    heard = Heard()
    summary = push(f"{source}/".encode(), dest, heard=heard, delete=True)
    assert tree(dest) == tree(source)
    assert (summary.literal_bytes, summary.matched_bytes, summary.files_deleted, summary.files_sent) == (0, SIZE, 1, 1)
    assert (dest / "deep" / "uno").stat().st_ino == inode
    assert heard.codes[b"one"] == "*deleting"
    assert heard.codes[b"deep/uno"] == ">f+++++++++"
    assert push(f"{source}/".encode(), dest, delete=True).entries_changed == 0


def test_a_renamed_file_with_edits_inside_is_renamed_and_patched(mirrored: tuple[Path, Path], rng: random.Random) -> None:
    """Only the edits travel; more and less at the end make no difference."""
    source, dest = mirrored
    for place, size in (("one", SIZE + 70_000), ("two", SIZE - 70_000)):
        content = bytearray((source / place).read_bytes())
        content[1_000_000:1_000_100] = rng.randbytes(100)
        content[2_000_000:2_100_000] = bytes(100_000)
        content = content[:size] + rng.randbytes(max(size - SIZE, 0))
        (source / place).unlink()
        (source / f"new-{place}").write_bytes(content)
    inodes = {(dest / place).stat().st_ino for place in ("one", "two")}
    summary = push(f"{source}/".encode(), dest, delete=True)
    assert tree(dest) == tree(source)
    assert {(dest / f"new-{place}").stat().st_ino for place in ("one", "two")} <= inodes
    assert summary.literal_bytes < 500_000
    assert (summary.files_deleted, summary.resent_whole) == (2, 0)


@pytest.mark.parametrize("hole", [True, False], ids=["a hole", "zeros"])
def test_zeros_of_a_renamed_file_are_zeros(mirrored: tuple[Path, Path], rng: random.Random, hole: bool) -> None:
    """With `--sparse` too, where zeros are not written that are there already: the old content is, beneath them."""
    source, dest = mirrored
    content = bytearray((source / "one").read_bytes() + bytes(500_000))
    content[1_000_000:1_400_000] = bytes(400_000)
    (source / "one").unlink()
    (source / "one-more").write_bytes(content)
    if hole:
        with (source / "one-more").open("wb") as file:
            file.write(content[:1_000_000])
            file.seek(1_400_000)
            file.write(content[1_400_000:SIZE])
            file.truncate(len(content))
    inode = (dest / "one").stat().st_ino
    summary = push(f"{source}/".encode(), dest, delete=True, sparse=True)
    assert (dest / "one-more").read_bytes() == content
    assert ((dest / "one-more").stat().st_ino, summary.resent_whole) == (inode, 0)
    assert (dest / "one-more").stat().st_blocks * 512 < SIZE + 100_000


def test_a_renamed_directory(mirrored: tuple[Path, Path]) -> None:
    """What was in it is renamed with it, at any depth."""
    source, dest = mirrored
    (source / "deep").rename(source / "moved")
    summary = push(f"{source}/".encode(), dest, delete=True)
    assert tree(dest) == tree(source)
    assert (summary.literal_bytes, summary.matched_bytes) == (0, 2 * SIZE)
    assert not (dest / "deep").exists()


@pytest.mark.parametrize("options", [{}, {"delete": True, "max_delete": 5}], ids=["without --delete", "with --max-delete"])
def test_what_may_not_be_taken_is_copied(mirrored: tuple[Path, Path], options: dict[str, Any]) -> None:
    """Without `--delete` the old file stays, untouched; where deletions may stop before it, it is copied first."""
    source, dest = mirrored
    before = (dest / "one").stat()
    (source / "one").rename(source / "uno")
    summary = push(f"{source}/".encode(), dest, **options)
    assert (dest / "uno").read_bytes() == (source / "uno").read_bytes()
    assert (summary.literal_bytes, summary.matched_bytes) == (0, SIZE)
    assert (dest / "uno").stat().st_ino != before.st_ino
    if not options:
        assert (dest / "one").stat() == before


@pytest.mark.parametrize("what", ["a directory", "a file"])
def test_what_stands_beside_the_sources_is_not_taken(mirrored: tuple[Path, Path], rng: random.Random, what: str) -> None:
    """`--delete` applies in the directories that are pushed: a file of the same size and time beside them is copied, and stays."""
    source, dest = mirrored
    for name in ("precious", "below/precious"):
        (dest / name).parent.mkdir(exist_ok=True)
        (dest / name).write_bytes(rng.randbytes(SIZE + len(name)))
        os.utime(dest / name, (1_000_000, 1_000_000))
    before = {name: identity(dest / name) for name in ("precious", "below/precious")}
    for name in before:
        new = source / "deep" / f"new-{len(name)}"
        new.write_bytes((dest / name).read_bytes())
        os.utime(new, (1_000_000, 1_000_000))
    sources = [source / "deep"] if what == "a directory" else sorted((source / "deep").glob("new-*"))
    summary = push(*sources, dest, delete=True)
    made = dest / "deep" if what == "a directory" else dest
    assert {name: identity(dest / name) for name in before} == before
    assert all((made / f"new-{len(name)}").read_bytes() == (dest / name).read_bytes() for name in before)
    assert (summary.literal_bytes, summary.files_deleted) == (0, 0)


def test_only_so_many_wait(mirrored: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The others come at once, whole."""
    source, dest = mirrored
    monkeypatch.setattr(elsewhere, "MAX_WAITING", 1)
    (source / "deep").rename(source / "moved")
    summary = push(f"{source}/".encode(), dest, delete=True)
    assert tree(dest) == tree(source)
    assert (summary.literal_bytes, summary.matched_bytes) == (SIZE, SIZE)


@pytest.mark.parametrize(("old", "rule"), [("one", b"- one"), ("deep/three", b"- deep"), ("deep/er/four", b"- deep/er/")])
def test_what_the_rules_exclude_is_no_base(old: str, rule: bytes, mirrored: tuple[Path, Path]) -> None:
    """An excluded file at the destination is neither renamed nor signed for the sender, whatever it resembles."""
    source, dest = mirrored
    (source / old).rename(source / "uno")
    summary = push(f"{source}/".encode(), dest, delete=True, rules=(rule,))
    assert (dest / "uno").read_bytes() == (dest / old).read_bytes() == (source / "uno").read_bytes()
    assert (summary.matched_bytes, summary.literal_bytes) == (0, SIZE)


def test_a_copied_file_is_copied_there(mirrored: tuple[Path, Path]) -> None:
    """A second file of the same content is made from the first, which stays what it is."""
    source, dest = mirrored
    (source / "copy").write_bytes((source / "one").read_bytes())
    before = (dest / "one").stat()
    summary = push(f"{source}/".encode(), dest, delete=True)
    assert tree(dest) == tree(source)
    assert (summary.literal_bytes, summary.matched_bytes) == (0, SIZE)
    assert (dest / "one").stat() == before


def test_a_later_version_under_a_similar_name(mirrored: tuple[Path, Path], rng: random.Random) -> None:
    """A dump of the next day is made from that of the day before."""
    source, dest = mirrored
    old = rng.randbytes(SIZE)
    (source / "dump-2031-05-01.sql").write_bytes(old)
    push(f"{source}/".encode(), dest)
    (source / "dump-2031-05-02.sql").write_bytes(old[:1_000_000] + b"a new row" + old[1_000_000:])
    summary = push(f"{source}/".encode(), dest)
    assert tree(dest) == tree(source)
    assert summary.literal_bytes < 10_000


def test_nothing_is_taken_while_parts_of_the_source_can_not_be_read(mirrored: tuple[Path, Path]) -> None:
    """Deletions are held back then, and so is what would take a file away."""
    source, dest = mirrored
    (source / "one").rename(source / "uno")
    heard = Heard()
    assert push(f"{source}/".encode(), f"{source}/gone".encode(), dest, heard=heard, delete=True).exit_code is ExitCode.PARTIAL
    assert (dest / "one").read_bytes() == (dest / "uno").read_bytes()


def test_a_file_that_is_open_elsewhere_is_not_changed_under_its_reader(mirrored: tuple[Path, Path], rng: random.Random) -> None:
    """Who has the old file open goes on reading the old content; the file is copied."""
    source, dest = mirrored
    old = (dest / "one").read_bytes()
    new = bytearray(old)
    new[100_000:200_000] = rng.randbytes(100_000)
    (source / "one").unlink()
    (source / "uno").write_bytes(new)
    with (dest / "one").open("rb") as reader:
        summary = push(f"{source}/".encode(), dest, delete=True)
        assert reader.read() == old
    assert tree(dest) == tree(source)
    assert summary.matched_bytes > SIZE // 2


def test_a_file_that_was_written_to_meanwhile_is_not_taken(mirrored: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was signed of it, and what its times vouched for, is not true any more: the file comes whole."""
    source, dest = mirrored
    (source / "one").rename(source / "uno")
    monkeypatch.setattr(Identity, "settled", lambda self, at_ns: True)
    end = DeltaStream.end

    def meddle(self: DeltaStream, digest: bytes) -> None:
        with (dest / "one").open("r+b") as file:
            file.write(b"meddled")
        end(self, digest)

    monkeypatch.setattr(DeltaStream, "end", meddle)
    summary = push(f"{source}/".encode(), dest, delete=True)
    assert tree(dest) == tree(source)
    assert (summary.resent_whole, summary.files_deleted) == (1, 1)


def test_a_file_with_several_names_is_not_changed_under_the_others(mirrored: tuple[Path, Path], rng: random.Random) -> None:
    """A snapshot that shares the file keeps its content."""
    source, dest = mirrored
    snapshot = dest.parent / "snapshot"
    os.link(dest / "one", snapshot)
    old = snapshot.read_bytes()
    new = bytearray(old)
    new[100_000:200_000] = rng.randbytes(100_000)
    (source / "one").unlink()
    (source / "uno").write_bytes(new)
    push(f"{source}/".encode(), dest, delete=True)
    assert snapshot.read_bytes() == old
    assert tree(dest) == tree(source)


def test_what_an_interrupted_run_left_is_used(mirrored: tuple[Path, Path], rng: random.Random) -> None:
    """A new file goes on from its partial, which is gone afterwards."""
    source, dest = mirrored
    content = rng.randbytes(SIZE)
    (source / "five").write_bytes(content)
    partial = dest / os.fsdecode(partial_name(b"five"))
    partial.write_bytes(content[: SIZE - 500_000])
    summary = push(f"{source}/".encode(), dest)
    assert tree(dest) == tree(source)
    assert summary.literal_bytes <= 500_000 + 32_768


def test_a_partial_of_other_content_does_no_harm(mirrored: tuple[Path, Path], rng: random.Random) -> None:
    """Whatever stands under a name of ours, what arrives is what was sent."""
    source, dest = mirrored
    (source / "five").write_bytes(rng.randbytes(SIZE))
    partial = dest / os.fsdecode(partial_name(b"five"))
    partial.write_bytes(rng.randbytes(SIZE + 5))
    assert push(f"{source}/".encode(), dest).exit_code is ExitCode.OK
    assert tree(dest) == tree(source)


def test_the_table_is_bounded(mirrored: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its bounds files come whole, and the result is the same."""
    source, dest = mirrored
    monkeypatch.setattr(elsewhere, "MAX_CANDIDATES", 0)
    (source / "one").rename(source / "uno")
    summary = push(f"{source}/".encode(), dest, delete=True)
    assert tree(dest) == tree(source)
    assert summary.matched_bytes == 0


def test_a_first_push_does_not_wait(tmp_path: Path, rng: random.Random) -> None:
    """Into a destination that it makes, nothing is looked for."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_bytes(rng.randbytes(SIZE))
    summary = push(f"{source}/".encode(), tmp_path / "dest")
    assert (summary.literal_bytes, summary.exit_code) == (SIZE, ExitCode.OK)
    assert Candidate(b"", b"x", 1, 2, extra=False).partial is False
