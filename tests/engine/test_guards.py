"""What a run must not do: delete what it should keep, or hide what it could not read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from deltasync.engine.job import Summary
from deltasync.errors import ExitCode
from tests.engine.runs import Heard, pull, push


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A source with three files and a destination with those and two more."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    for root in (source, dest):
        (root / "sub").mkdir(parents=True)
        for name in ("a", "b", "sub/c"):
            (root / name).write_text(name)
    (dest / "extra").write_text("x")
    (dest / "sub" / "old").mkdir()
    (dest / "sub" / "old" / "deep").write_text("y")
    return source, dest


def names(root: Path) -> set[str]:
    """Every path beneath a directory."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def contents(path: Path) -> bytes:
    """A source argument that stands for the contents."""
    return os.fsencode(path) + b"/"


def test_nothing_is_deleted_unasked(pair: tuple[Path, Path]) -> None:
    """Without --delete what the source does not have stays."""
    source, dest = pair
    assert push(contents(source), dest).files_deleted == 0
    assert {"extra", "sub/old/deep"} <= names(dest)


def test_delete_mirrors(pair: tuple[Path, Path]) -> None:
    """With --delete it goes, and each entry is counted and named, directories with a slash."""
    source, dest = pair
    heard = Heard()
    summary = push(contents(source), dest, delete=True, heard=heard)
    assert names(dest) == names(source)
    assert summary.files_deleted == 3
    assert {path for code, path, _ in heard.items if code == "*deleting"} == {b"extra", b"sub/old/", b"sub/old/deep"}


def test_a_named_source_deletes_inside_itself_only(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """`src` without a slash is mirrored as dst/src; what stands beside it is not its business."""
    source, dest = pair
    (dest / "source").mkdir()
    (dest / "source" / "gone").write_text("z")
    push(source, dest, delete=True)
    assert (dest / "extra").exists()
    assert names(dest / "source") == names(source)


def test_every_entry_is_counted_the_root_included(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """What is considered counts, of every type; contents count their own directory, as rsync does."""
    source, _ = pair
    assert push(contents(source), tmp_path / "new").files_total == 5
    assert push(source, tmp_path / "newer").files_total == 5
    assert pull(contents(source), tmp_path / "newest").files_total == 5


def test_excluded_files_are_protected(pair: tuple[Path, Path]) -> None:
    """What a rule excludes is neither sent nor deleted, nor are the directories that hold it."""
    source, dest = pair
    (source / "deep").write_text("not sent")
    push(contents(source), dest, delete=True, rules=(b"- deep",))
    assert names(dest) == {"a", "b", "sub", "sub/c", "sub/old", "sub/old/deep"}


@pytest.mark.parametrize("transfer", [push, pull])
def test_a_rule_counts_on_its_side(transfer: Callable[..., Summary], pair: tuple[Path, Path]) -> None:
    """What is hidden is not sent, and deleted; what is protected is sent, and not deleted; what is perishable goes with its directory."""
    source, dest = pair
    for name in ("hidden", "safe", "extra"):
        (dest / name).write_text("old")
    for name in ("hidden", "fresh-safe"):
        (source / name).write_text("new")
    rules = (b"-s hidden", b"-r *safe", b"-p deep")
    assert transfer(contents(source), dest, delete=True, rules=rules).exit_code == ExitCode.OK
    assert names(dest) == names(source) - {"hidden"} | {"safe"}


def test_a_protected_directory_is_replaced_but_for_what_is_protected_in_it(tmp_path: Path) -> None:
    """As with rsync, a file takes the place of a directory that may not be deleted, unless something in that may not be either."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_text("file")
        (dest / name).mkdir(parents=True)
        (dest / name / f"in-{name}").write_text("old")
    summary = push(contents(source), dest, delete=True, rules=(b"-r a", b"-r b", b"-r in-b"))
    assert summary.exit_code == ExitCode.PARTIAL
    assert names(dest) == {"a", "b", "b/in-b"}


def test_max_delete_stops_and_says_so(pair: tuple[Path, Path]) -> None:
    """N are deleted, the rest is kept, and the exit is 25."""
    source, dest = pair
    summary = push(contents(source), dest, delete=True, max_delete=1)
    assert summary.files_deleted == 1
    assert summary.exit_code == ExitCode.DELETION_GUARD
    assert len(names(dest)) == len(names(source)) + 2


def test_max_delete_of_nothing_is_no_guard(pair: tuple[Path, Path]) -> None:
    """A limit that is just enough is no problem."""
    source, dest = pair
    assert push(contents(source), dest, delete=True, max_delete=3).exit_code == ExitCode.OK


def test_an_emptied_source_deletes_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """An empty source with --delete is taken for an accident, unless it is forced."""
    _, dest = pair
    empty = tmp_path / "empty"
    empty.mkdir()
    before = names(dest)
    summary = push(contents(empty), dest, delete=True)
    assert summary.exit_code == ExitCode.DELETION_GUARD
    assert names(dest) == before
    forced = push(contents(empty), dest, delete=True, force_empty=True)
    assert forced.exit_code == ExitCode.OK
    assert names(dest) == set()


def test_an_emptied_named_source_deletes_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """The guard holds for `src` without a slash too."""
    source, dest = pair
    push(source, dest)
    for path in sorted(source.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    summary = push(source, dest, delete=True)
    assert summary.exit_code == ExitCode.DELETION_GUARD
    assert (dest / "source" / "a").exists()


def test_an_empty_source_into_nothing_is_an_ordinary_push(tmp_path: Path) -> None:
    """An empty directory is mirrored, also with --delete, where nothing stands."""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert push(contents(empty), tmp_path / "dest", delete=True).exit_code == ExitCode.OK
    assert (tmp_path / "dest").is_dir()


def test_a_missing_source_deletes_nothing_and_the_rest_goes_on(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A source that is not there is 23 and holds every deletion back."""
    source, dest = pair
    summary = push(contents(source), os.fsencode(tmp_path / "nowhere"), dest, delete=True)
    assert summary.exit_code == ExitCode.PARTIAL
    assert [problem.path for problem in summary.problems] == [os.fsencode(tmp_path / "nowhere")]
    assert (dest / "extra").exists()


def test_errors_can_be_ignored(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """With --ignore-errors what is gone from the sources that are there is deleted, and the missing one is told all the same."""
    source, dest = pair
    summary = push(contents(source), os.fsencode(tmp_path / "misspelt"), dest, delete=True, ignore_errors=True)
    assert summary.exit_code == ExitCode.PARTIAL
    assert names(dest) == names(source)


def test_only_missing_sources(tmp_path: Path) -> None:
    """With nothing to send at all the exit is 23, and the destination is not made."""
    assert push(os.fsencode(tmp_path / "nowhere"), tmp_path / "dest").exit_code == ExitCode.PARTIAL
    assert not (tmp_path / "dest").exists()


def test_a_full_directory_gives_way_to_a_file_only_with_delete(pair: tuple[Path, Path]) -> None:
    """A file does not replace a directory that holds something, unless deletions are asked for."""
    source, dest = pair
    (source / "sub" / "c").unlink()
    (source / "sub").rmdir()
    (source / "sub").write_text("now a file")
    kept = push(contents(source), dest)
    assert kept.exit_code == ExitCode.PARTIAL
    assert (dest / "sub" / "c").exists()
    heard = Heard()
    push(contents(source), dest, delete=True, dry_run=True, heard=heard)
    assert heard.codes[b"sub"] == ">f+++++++++"
    assert (dest / "sub" / "c").exists()
    assert push(contents(source), dest, delete=True).exit_code == ExitCode.OK
    assert (dest / "sub").read_text() == "now a file"


def test_a_full_directory_gives_way_to_a_symlink_with_delete(pair: tuple[Path, Path]) -> None:
    """What needs no content is made after the deletions as well."""
    source, dest = pair
    (source / "sub" / "c").unlink()
    (source / "sub").rmdir()
    (source / "sub").symlink_to("a")
    assert push(contents(source), dest, delete=True).exit_code == ExitCode.OK
    assert (dest / "sub").readlink() == Path("a")


def test_reserved_names_are_skipped_and_leftovers_cleaned(pair: tuple[Path, Path]) -> None:
    """The receiver's own names are never sent, and what an earlier run left is gone after one that completed."""
    source, dest = pair
    (source / ".deltasync~mine").write_text("no")
    (dest / "sub" / ".deltasync~s1").write_text("left")
    mtime_ns = (source / "sub").stat().st_mtime_ns
    heard = Heard()
    push(contents(source), dest, heard=heard)
    assert not (dest / ".deltasync~mine").exists()
    assert not (dest / "sub" / ".deltasync~s1").exists()
    assert (dest / "sub").stat().st_mtime_ns == mtime_ns
    assert any(".deltasync~mine" in note for note in heard.notes)
