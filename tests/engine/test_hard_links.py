"""Groups of hard links: a name is linked to another one only where that one stands as it should."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from deltasync.engine.arrivals import Arrivals
from deltasync.errors import ExitCode
from deltasync.wire.messages import Pack
from tests.engine.runs import Heard, push


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
    real = Arrivals.pack

    def failing(self: Arrivals, pack: Pack) -> None:
        with monkeypatch.context() as patch:

            def put(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr("deltasync.engine.arrivals.put_small", put)
            real(self, pack)

    monkeypatch.setattr(Arrivals, "pack", failing)
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
    said, done = Heard(), Heard()
    assert mirror(source, dest, said, delete=True, dry_run=True) == ExitCode.OK
    assert mirror(source, dest, done, delete=True) == ExitCode.OK, done.problems
    assert sorted(said.items) == sorted(done.items)
    assert same_file(dest / "a", dest / "b")
    assert (dest / "b").read_text() == "new"
