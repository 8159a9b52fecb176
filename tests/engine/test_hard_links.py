"""Groups of hard links: a name is linked to another one only where that one stands as it should."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deltasync.engine.job import Summary
from deltasync.errors import ExitCode
from deltasync.patch.small import SmallFile
from tests.engine.runs import Heard, pull, push


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A source with two names of one new file, and a destination with an older file of its own for each."""
    source, dest = tmp_path / "src", tmp_path / "dst"
    source.mkdir()
    dest.mkdir()
    (source / "a").write_text("new")
    (source / "b").hardlink_to(source / "a")
    for name in "ab":
        (dest / name).write_text(f"old {name}")
        os.utime(dest / name, ns=(5, 5))
    return source, dest


def mirror(source: Path, dest: Path, heard: Heard | None = None, **options: Any) -> ExitCode:
    """Push the contents with -H."""
    return push(os.fsencode(source) + b"/", dest, hard_links=True, heard=heard, **options).exit_code


def same_file(*paths: Path) -> bool:
    """Whether all are names of one file."""
    return len({path.stat().st_ino for path in paths}) == 1


def test_nothing_is_linked_to_a_name_whose_content_did_not_come(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first name can't be written, the second does not become one with the old content of the first."""
    source, dest = pair

    def put(_fd: int, files: list[SmallFile]) -> list[OSError]:
        return [OSError(28, "No space left on device")] * len(files)

    monkeypatch.setattr("deltasync.engine.small_files.put_together", put)
    heard = Heard()
    assert mirror(source, dest, heard) == ExitCode.LOCAL_IO
    assert (dest / "b").read_text() == "old b"
    assert {problem.path for problem in heard.problems} == {b"a", b"b"}


def test_a_group_follows_content_that_only_its_digest_tells(pair: tuple[Path, Path]) -> None:
    """With -c, names that were one file stay one when the content of the first is replaced."""
    source, dest = pair
    (dest / "b").unlink()
    (dest / "a").write_text("odd")
    (dest / "b").hardlink_to(dest / "a")
    os.utime(dest / "a", ns=(0, (source / "a").stat().st_mtime_ns))
    mirror(source, dest, checksum=True)
    assert (dest / "b").read_text() == "new"
    assert same_file(dest / "a", dest / "b")


def test_a_name_that_an_option_skips_leads_no_group(pair: tuple[Path, Path]) -> None:
    """With -u, --existing or --ignore-existing the first name that is not skipped is sent, and others are linked to that."""
    source, dest = pair
    os.utime(dest / "a", ns=(1 << 61, 1 << 61))
    assert mirror(source, dest, update=True) == ExitCode.OK
    assert ((dest / "a").read_text(), (dest / "b").read_text()) == ("old a", "new")
    (dest / "a").unlink()
    (dest / "b").write_text("older")
    assert mirror(source, dest, existing=True) == ExitCode.OK
    assert not (dest / "a").exists()
    assert (dest / "b").read_text() == "new"
    (dest / "b").unlink()
    (dest / "a").write_text("mine")
    assert mirror(source, dest, ignore_existing=True) == ExitCode.OK
    assert ((dest / "a").read_text(), (dest / "b").read_text()) == ("mine", "new")


@pytest.mark.parametrize("here", ["a", "b/a", "b/b", "c"])
def test_no_content_is_sent_that_is_here_under_any_other_name(tmp_path: Path, here: str) -> None:
    """Wherever in the order of names the one stands that is here already, new names are linked to it."""
    names = ["a", "b/a", "b/b", "c"]
    source, dest = tmp_path / "src", tmp_path / "dst"
    (source / "b").mkdir(parents=True)
    (source / "a").write_text("content")
    for name in names[1:]:
        (source / name).hardlink_to(source / "a")
    (dest / "b").mkdir(parents=True)
    shutil.copy2(source / "a", dest / here)
    inode = (dest / here).stat().st_ino
    heard = Heard()
    summary = push(os.fsencode(source) + b"/", dest, hard_links=True, heard=heard)
    assert summary.literal_bytes == 0
    linked = {os.fsencode(name): "hf+++++++++" for name in names if name != here}
    assert {path: code for path, code in heard.codes.items() if code[1] == "f"} == linked
    assert {(dest / name).stat().st_ino for name in names} == {inode}


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_last_name_leads_a_group_of_which_none_is_here(tmp_path: Path, dry_run: bool) -> None:
    """As with rsync the last name brings the content, and what is no regular file counts as none; the others are linked to it."""
    source, dest = tmp_path / "src", tmp_path / "dst"
    source.mkdir()
    dest.mkdir()
    (source / "a").write_text("content")
    for name in "bc":
        (source / name).hardlink_to(source / "a")
    (dest / "b").symlink_to("nowhere")
    heard = Heard()
    assert mirror(source, dest, heard, dry_run=dry_run) == ExitCode.OK
    lines = [(code, path, link) for code, path, link in heard.items if code[1] == "f"]
    assert sorted(lines) == [(">f+++++++++", b"c", b""), ("hf+++++++++", b"a", b"c"), ("hf+++++++++", b"b", b"c")]
    if not dry_run:
        assert (dest / "a").read_text() == "content"
        assert same_file(dest / "a", dest / "b", dest / "c")


@pytest.mark.parametrize("option", ["update", "checksum"])
def test_the_line_of_a_link_tells_the_attributes_that_differ(pair: tuple[Path, Path], option: str) -> None:
    """Also where the name is newer here, which does not keep it from being linked; no content is sent for it that `c` would tell of."""
    source, dest = pair
    os.utime(dest / "b", ns=(1 << 61, 1 << 61))
    heard = Heard()
    assert mirror(source, dest, heard, **{option: True}) == ExitCode.OK
    assert heard.codes[b"b"] == "hf.st......"
    assert same_file(dest / "a", dest / "b")


def test_only_so_many_names_are_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the limit the first name leads at once, also those of its group that were put off before."""
    monkeypatch.setattr("deltasync.engine.links.MAX_POSTPONED", 3)
    source, dest = tmp_path / "src", tmp_path / "dst"
    source.mkdir()
    for group in "12":
        (source / f"a{group}").write_text(f"content {group}")
        for name in "bc":
            (source / f"{name}{group}").hardlink_to(source / f"a{group}")
    heard = Heard()
    assert mirror(source, dest, heard) == ExitCode.OK
    assert {path for path, code in heard.codes.items() if code[0] == ">"} == {b"b2", b"c1"}
    for group in "12":
        assert (dest / f"a{group}").read_text() == f"content {group}"
        assert same_file(*(dest / f"{name}{group}" for name in "abc"))


@pytest.mark.parametrize("transfer", [push, pull])
@pytest.mark.parametrize("here", [False, True])
def test_names_that_need_no_content_count_as_done(pair: tuple[Path, Path], transfer: Callable[..., Summary], here: bool) -> None:
    """In the end the progress is complete, whether the content of a group came by its last name or was here."""
    source, dest = pair
    (dest / "a").unlink()
    if here:
        shutil.copy2(source / "b", dest / "b")
    else:
        (dest / "b").unlink()
    heard = Heard()
    transfer(os.fsencode(source) + b"/", dest, hard_links=True, heard=heard)
    assert (heard.last.files_done, heard.last.bytes_done) == (heard.last.files_total, heard.last.bytes_total) == (2, 6)


def test_joining_equal_files_leaves_the_time_of_their_directory(pair: tuple[Path, Path]) -> None:
    """Two equal files become one, and the directory's time is the source's all the same."""
    source, dest = pair
    for name in "ab":
        (dest / name).write_text("new")
        os.utime(dest / name, ns=(0, (source / name).stat().st_mtime_ns))
    os.utime(dest, ns=(0, source.stat().st_mtime_ns))
    mirror(source, dest)
    assert same_file(dest / "a", dest / "b")
    assert dest.stat().st_mtime_ns == source.stat().st_mtime_ns


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("full", [False, True])
def test_a_directory_makes_way_for_a_name_of_a_group(pair: tuple[Path, Path], name: str, full: bool) -> None:
    """A directory in the place of any name of the group goes: an empty one always, another one with --delete; a dry run says so."""
    source, dest = pair
    (dest / name).unlink()
    (dest / name).mkdir()
    if full:
        (dest / name / "inside").write_text("x")
        kept = Heard()
        assert mirror(source, dest, kept) == ExitCode.PARTIAL
        assert (dest / name / "inside").exists()
        assert (dest / ("b" if name == "a" else "a")).read_text() == "new"
        assert {problem.path for problem in kept.problems} == {name.encode()}
    said, done = Heard(), Heard()
    assert mirror(source, dest, said, delete=True, dry_run=True) == ExitCode.OK
    assert mirror(source, dest, done, delete=True) == ExitCode.OK, done.problems
    assert sorted(said.items) == sorted(done.items)
    assert same_file(dest / "a", dest / "b")
    assert (dest / "b").read_text() == "new"
