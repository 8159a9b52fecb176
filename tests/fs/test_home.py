"""Where this installation keeps what is its own."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from deltasync.fs.home import check_private, make_private, private_file, state_directory
from tests.expect import errno_of
from tests.forked import NOBODY, in_child


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules of all systems but macOS."""
    monkeypatch.setattr(sys, "platform", "linux")


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_the_user_may_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DELTASYNC_HOME comes first, taken from the working directory where it is relative; empty is as good as unset."""
    monkeypatch.chdir(tmp_path)
    assert state_directory({"DELTASYNC_HOME": "/a/b", "XDG_STATE_HOME": "/c", "HOME": "/"}) == "/a/b"
    assert state_directory({"DELTASYNC_HOME": "x"}) == str(tmp_path / "x")
    assert state_directory({"DELTASYNC_HOME": "", "HOME": str(tmp_path)}) == state_directory({"HOME": str(tmp_path)})


def test_a_relative_name_in_a_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a relative name leads nowhere, there is no directory."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert state_directory({"DELTASYNC_HOME": "x"}) is None


@pytest.mark.usefixtures("linux")
def test_the_rules_of_xdg(tmp_path: Path) -> None:
    """XDG_STATE_HOME if it is absolute, else `~/.local/state`."""
    home = str(tmp_path)
    assert state_directory({"XDG_STATE_HOME": "/c", "HOME": home}) == "/c/deltasync"
    assert state_directory({"XDG_STATE_HOME": "c", "HOME": home}) == f"{home}/.local/state/deltasync"
    assert state_directory({"HOME": home}) == f"{home}/.local/state/deltasync"


def test_the_rule_of_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS it is where programs keep their support files, and XDG has no say."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert state_directory({"XDG_STATE_HOME": "/c", "HOME": str(tmp_path)}) == f"{tmp_path}/Library/Application Support/deltasync"


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize("home", ["/there/is/none", "relative", "~"])
def test_no_home_no_directory(home: str) -> None:
    """A home that is not there or is no absolute path is not made up."""
    assert state_directory({"HOME": home}) is None


@pytest.mark.usefixtures("linux")
def test_the_user_database_stands_in_for_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOME in the environment, the home that the system knows is taken."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path.replace("~", str(tmp_path)))
    assert state_directory({}) == f"{tmp_path}/.local/state/deltasync"


@pytest.mark.usefixtures("linux")
def test_the_home_of_someone_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root with the home of the user who called sudo leaves no files there."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert state_directory({"HOME": str(tmp_path)}) is None


def test_what_is_made_is_private(tmp_path: Path) -> None:
    """The directory, what was missing above it, and the file are for this user alone, whatever the umask; again is the same."""
    directory = tmp_path / "a" / "b" / "c"
    before = os.umask(0)
    try:
        for _ in range(2):
            make_private(str(directory))
            assert private_file(str(directory / "file"), create=True)
    finally:
        os.umask(before)
    assert [mode(tmp_path / path) for path in ("a", "a/b", "a/b/c", "a/b/c/file")] == [0o700, 0o700, 0o700, 0o600]


def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    """Others may look into a directory that the user made so; it is the files that are private."""
    tmp_path.chmod(0o755)
    make_private(str(tmp_path))
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize("wrong", [0o770, 0o707, 0o777, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, wrong: int) -> None:
    """Group or world with the right to write could exchange the files."""
    tmp_path.chmod(wrong)
    with errno_of(errno.EPERM):
        check_private(str(tmp_path))


def test_a_directory_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could exchange the files, or would find strange ones."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with errno_of(errno.EPERM):
        make_private(str(tmp_path))


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    """A file in the way, of the directory or of one above it, is an error of the system."""
    (tmp_path / "file").write_bytes(b"")
    for path in ("file", "file/below"):
        with errno_of(errno.ENOTDIR):
            make_private(str(tmp_path / path))


@pytest.mark.needs("root")
def test_a_directory_that_cannot_be_made_is_an_error() -> None:
    """Without the right to write above it there is none."""
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        with errno_of(errno.EACCES):
            in_child(lambda: make_private(f"{above}/x/y"), uid=NOBODY)


def test_a_missing_file_stays_missing_unless_asked(tmp_path: Path) -> None:
    """Looking makes nothing."""
    assert not private_file(str(tmp_path / "x"), create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    """Its mode becomes 0600, its content stays."""
    file = tmp_path / "x"
    file.write_bytes(b"content")
    file.chmod(0o644)
    assert private_file(str(file), create=True)
    assert mode(file) == 0o600
    assert file.read_bytes() == b"content"


def test_an_unsafe_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link, wherever it leads, a directory, a file that others may write to, a file of someone else."""
    file = tmp_path / "x"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "directory").mkdir()
    for name in ("link", "directory"):
        with errno_of(errno.EINVAL):
            private_file(str(tmp_path / name), create=True)
    assert not (tmp_path / "nowhere").exists()
    file.write_bytes(b"")
    file.chmod(0o620)
    with errno_of(errno.EPERM):
        private_file(str(file), create=True)
    file.chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    with errno_of(errno.EPERM):
        private_file(str(file), create=False)
