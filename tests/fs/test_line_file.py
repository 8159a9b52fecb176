"""A file of lines: replaced whole, by one at a time, and used only if nobody else could have written it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from deltasync.errors import StateError
from deltasync.fs import line_file
from deltasync.fs.line_file import MAX_BYTES, LineFile


def test_many_changes_at_once_are_all_made(tmp_path: Path) -> None:
    """Eight threads add ten lines each; none is lost, and the file is private."""
    file = LineFile(str(tmp_path / "home"), "list")

    def adds(line: str) -> Callable[[list[str]], list[str]]:
        return lambda before: [*before, line]

    def work(number: int) -> None:
        for turn in range(10):
            file.update(adds(f"{number} {turn}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(file.read()) == sorted(f"{number} {turn}" for number in range(8) for turn in range(10))
    assert os.stat(file.path).st_mode & 0o777 == 0o600
    assert os.stat(tmp_path / "home").st_mode & 0o777 == 0o700


def test_nothing_is_written_where_nothing_changes(tmp_path: Path) -> None:
    """The file keeps its place on the disk; without one none is made."""
    file = LineFile(str(tmp_path / "home"), "list")
    file.update(lambda before: before)
    assert file.stamp() is None
    file.update(lambda before: ["a"])
    stamp = file.stamp()
    file.update(lambda before: before)
    assert file.stamp() == stamp


def test_who_was_killed_while_writing_leaves_the_old_lines(tmp_path: Path) -> None:
    """What such a process left is in nobody's way."""
    file = LineFile(str(tmp_path), "list")
    file.update(lambda before: ["old"])
    (tmp_path / "list.new").write_text("hal")
    assert file.read() == ["old"]
    file.update(lambda before: ["new"])
    assert file.read() == ["new"]
    assert not (tmp_path / "list.new").exists()


def test_a_lock_that_stays_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says who is in the way."""
    monkeypatch.setattr(line_file, "LOCK_WAIT_S", 0.05)
    file = LineFile(str(tmp_path), "list")

    def outer(before: list[str]) -> list[str]:
        with pytest.raises(StateError, match="another deltasync"):
            file.update(lambda lines: lines)
        return ["x"]

    file.update(outer)
    assert file.read() == ["x"]


def make_symlink(path: Path) -> None:
    """Put a symlink to a good file."""
    (path.parent / "real").write_text("x\n")
    path.symlink_to("real")


def make_loose(path: Path) -> None:
    """Put a file that others may write to."""
    path.write_text("x\n")
    path.chmod(0o620)


def make_large(path: Path) -> None:
    """Put a file beyond the limit."""
    path.write_bytes(b"\n" * (MAX_BYTES + 1))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (make_symlink, "symlink"),
        (make_loose, "others have access"),
        (make_large, "larger than"),
        (Path.mkdir, "no regular file"),
        (os.mkfifo, "no regular file"),
    ],
)
def test_what_others_could_have_made_is_not_used(tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    """Neither read nor replaced, and one line names the file."""
    file = LineFile(str(tmp_path), "list")
    make(tmp_path / "list")
    for use in (file.read, lambda: file.update(lambda lines: ["mine"])):
        with pytest.raises(StateError, match=rf"{tmp_path}/list can't be used: .*{why}"):
            use()
    assert not (tmp_path / "real").exists() or (tmp_path / "real").read_text() == "x\n"


@pytest.mark.needs("root")
def test_a_file_of_another_user_is_not_used(tmp_path: Path) -> None:
    """Though its mode is right."""
    (tmp_path / "list").write_text("x\n")
    os.chown(tmp_path / "list", 65534, 65534)
    with pytest.raises(StateError, match="another user"):
        LineFile(str(tmp_path), "list").read()


def test_a_directory_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    """They could exchange the file."""
    tmp_path.chmod(0o777)
    with pytest.raises(StateError, match="others may write"):
        LineFile(str(tmp_path), "list").update(lambda lines: ["x"])
