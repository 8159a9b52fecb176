"""Where things go: sources with and without a slash, destinations that exist or not, one file or several."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from deltasync.errors import DestinationError, ExitCode, PeerFailure, Problem
from tests.engine.runs import Heard, pull, push
from tests.engine.trees import make, snapshot


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with two files."""
    made = tmp_path / "src"
    made.mkdir()
    (made / "a").write_text("a")
    (made / "b").write_text("b")
    return made


def test_a_name_goes_into_the_destination(source: Path, tmp_path: Path) -> None:
    """`src` gives dst/src; dst is made."""
    push(source, tmp_path / "dst")
    assert (tmp_path / "dst" / "src" / "a").read_text() == "a"


def test_contents_make_up_the_destination(source: Path, tmp_path: Path) -> None:
    """`src/` gives its contents, and its own attributes."""
    source.chmod(0o710)
    push(os.fsencode(source) + b"/", tmp_path / "dst")
    assert snapshot(os.fsencode(tmp_path / "dst")) == snapshot(os.fsencode(source))


def test_a_missing_parent_needs_mkpath(source: Path, tmp_path: Path) -> None:
    """Only the last component is made, unless --mkpath."""
    dest = tmp_path / "x" / "y" / "z"
    with pytest.raises(PeerFailure, match="--mkpath") as caught:
        push(source, dest)
    assert caught.value.exit_code == ExitCode.LOCAL_IO
    with pytest.raises(PeerFailure):
        push(source, dest, dry_run=True)
    push(source, dest, dry_run=True, mkpath=True)
    assert not (tmp_path / "x").exists()
    push(source, dest, mkpath=True)
    assert (dest / "src" / "b").exists()


@pytest.mark.parametrize("transfer", [push, pull])
def test_one_file_takes_the_name_of_a_destination_that_does_not_exist(source: Path, tmp_path: Path, transfer: object) -> None:
    """A single file to a new name is that name; to a directory it keeps its own; with a slash the directory is made."""
    assert callable(transfer)
    heard = Heard()
    transfer(source / "a", tmp_path / "new", heard=heard)
    assert (tmp_path / "new").read_text() == "a"
    assert heard.codes == {b"new": ">f+++++++++"}
    transfer(source / "b", tmp_path / "new")
    assert (tmp_path / "new").read_text() == "b"
    (tmp_path / "dir").mkdir()
    transfer(source / "a", tmp_path / "dir")
    assert (tmp_path / "dir" / "a").read_text() == "a"
    transfer(source / "a", os.fsencode(tmp_path / "made") + b"/")
    assert (tmp_path / "made" / "a").read_text() == "a"


def test_a_file_is_no_destination_for_a_directory(source: Path, tmp_path: Path) -> None:
    """What is not a directory is not replaced by one at the root."""
    (tmp_path / "dst").write_text("mine")
    with pytest.raises(PeerFailure, match="not a directory"):
        push(source, tmp_path / "dst")
    with pytest.raises(DestinationError, match="not a directory"):
        pull(source, tmp_path / "dst")
    assert (tmp_path / "dst").read_text() == "mine"


def test_sources_are_merged_and_the_first_wins(source: Path, tmp_path: Path) -> None:
    """Several contents become one tree; of two files with one name the first source's is taken."""
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    (source / "sub").mkdir()
    for root, text in ((source, "first"), (other, "second")):
        (root / "both").write_text(text)
        (root / "sub" / text).write_text(text)
    (other / "c").write_text("c")
    (other / "a").mkdir()
    single = tmp_path / "single"
    single.write_text("s")
    push(os.fsencode(source) + b"/", os.fsencode(other) + b"/", single, tmp_path / "dst")
    found = {str(path.relative_to(tmp_path / "dst")) for path in (tmp_path / "dst").rglob("*")}
    assert found == {"a", "b", "both", "c", "single", "sub", "sub/first", "sub/second"}
    assert (tmp_path / "dst" / "both").read_text() == "first"


def test_a_pull_is_a_push_with_the_roles_exchanged(tmp_path: Path) -> None:
    """A tree pulled is equal, a second pull does nothing, and the far side says what it can't send."""
    tree, dest = os.fsencode(tmp_path / "tree"), os.fsencode(tmp_path / "dest")
    make(tree, random.Random(11), 100)
    first = pull(tree + b"/", dest, hard_links=True)
    assert snapshot(dest, links=True) == snapshot(tree, links=True)
    assert first.files_sent > 0
    again = Heard()
    pull(tree + b"/", dest, hard_links=True, delete=True, heard=again)
    assert again.items == []


@pytest.mark.parametrize("place", ["dst", "no/parent/dst"])
def test_a_pull_of_what_is_not_there_is_a_problem_of_each_source(source: Path, tmp_path: Path, place: str) -> None:
    """Nothing is made or opened for it, not even where that could not be, and the run is 23; beside others the rest goes on."""
    gone, dest = [os.fsencode(tmp_path / name) for name in ("gone", "lost")], tmp_path / place
    heard = Heard()
    summary = pull(*gone, dest, heard=heard, delete=True)
    expected = [Problem(path, "this source can't be sent: No such file or directory") for path in gone]
    assert heard.problems == list(summary.problems) == expected
    assert (summary.exit_code, summary.files_total) == (ExitCode.PARTIAL, 0)
    assert not dest.exists()
    heard = Heard()
    (tmp_path / "dst2").mkdir()
    (tmp_path / "dst2" / "old").write_text("kept, since a source is missing")
    summary = pull(gone[0], os.fsencode(source) + b"/", tmp_path / "dst2", heard=heard, delete=True)
    assert heard.problems == list(summary.problems) == expected[:1]
    assert summary.exit_code == ExitCode.PARTIAL
    assert {path.name for path in (tmp_path / "dst2").iterdir()} == {path.name for path in source.iterdir()} | {"old"}


def test_nothing_is_made_where_nothing_comes(source: Path, tmp_path: Path) -> None:
    """A directory that is passed over makes no destination, as with rsync."""
    assert push(source, tmp_path / "dst", recursive=False).exit_code == ExitCode.OK
    assert pull(source, tmp_path / "dst", recursive=False).exit_code == ExitCode.OK
    assert not (tmp_path / "dst").exists()


def test_a_symlink_is_sent_as_itself_and_with_a_slash_followed(source: Path, tmp_path: Path) -> None:
    """`link` is a symlink, `link/` the directory behind it."""
    (tmp_path / "link").symlink_to("src")
    push(tmp_path / "link", os.fsencode(tmp_path / "one") + b"/")
    assert (tmp_path / "one" / "link").is_symlink()
    push(os.fsencode(tmp_path / "link") + b"/", tmp_path / "two")
    assert (tmp_path / "two" / "a").read_text() == "a"
