"""Directories as packed rows: the compiled look at them and the one in Python see the same."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync._native import Bulk, find_bulk
from deltasync.fs import listing
from deltasync.fs.listing import list_names, look
from deltasync.tree.rows import Rows
from tests._native.sanitized import run_sanitized

NATIVE = find_bulk()
NAMES = [b"-", b"a", b"a\nb", b"a b", b"b\xff", b"link", b"lost", b"other", b"pipe", b"sub", b"\xe2\x82\xac", b"z" * 255]


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """Open a directory with an entry of each type that a plain user can make, and names of every kind."""
    place = os.fsencode(tmp_path)
    for number, name in enumerate(NAMES[:5] + NAMES[10:]):
        path = os.path.join(place, name)
        with open(path, "wb") as file:
            file.write(b"x" * number)
        os.utime(path, ns=(0, number * 1_000_000_007 - 3_000_000_000))
        os.chmod(path, 0o600 + number)
    os.link(os.path.join(place, b"a"), os.path.join(place, b"other"))
    os.symlink(b"a", os.path.join(place, b"link"))
    os.symlink(b"/no/such\xff", os.path.join(place, b"lost"))
    os.mkfifo(os.path.join(place, b"pipe"))
    os.mkdir(os.path.join(place, b"sub"))
    opened = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield opened
    os.close(opened)


@pytest.fixture(params=["native", "python"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Look in one way or the other."""
    name: str = request.param
    if name == "native" and NATIVE is None:
        pytest.skip("needs compiler")
    monkeypatch.setattr(listing, "_BULK", NATIVE if name == "native" else None)
    return name


def seen(dir_fd: int, names: list[bytes]) -> tuple[Rows, list[list[int]], list[bytes]]:
    """Look, and return all that is to be seen and the names that failed."""
    failed: list[bytes] = []
    rows, files = look(dir_fd, names, lambda name, _error: failed.append(name))
    return rows, [list(column) for column in files], failed


@pytest.mark.usefixtures("engine")
def test_all_names_are_listed_in_the_order_of_their_bytes(fd: int, tmp_path: Path) -> None:
    """Those of the reserved prefix apart, again and again, and nothing for an empty directory."""
    assert list_names(fd) == (sorted(NAMES), [])
    for name in (".deltasync~x", ".deltasync~", ".deltasync", "sub/.deltasync~y"):
        (tmp_path / name).touch()
    for _ in range(2):
        names, reserved = list_names(fd)
        assert (names, sorted(reserved)) == (sorted([*NAMES, b".deltasync"]), [b".deltasync~", b".deltasync~x"])
    (tmp_path / "empty").mkdir()
    empty = os.open(tmp_path / "empty", os.O_RDONLY)
    assert list_names(empty) == ([], [])
    os.close(empty)


@pytest.mark.usefixtures("engine")
def test_what_is_no_directory_can_not_be_listed(tmp_path: Path) -> None:
    """The error is the system's."""
    (tmp_path / "file").touch()
    file = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(NotADirectoryError):
        list_names(file)
    os.close(file)


@pytest.mark.usefixtures("engine")
def test_rows_hold_what_stat_says(fd: int) -> None:
    """Type, size of regular files, time to the nanosecond, owner, target; and which file it is."""
    names = sorted(NAMES)
    rows, (devices, inodes, links), failed = seen(fd, names)
    stats = [os.stat(name, dir_fd=fd, follow_symlinks=False) for name in names]
    assert [entry.name for entry in rows.entries()] == names
    for entry, status in zip(rows.entries(), stats, strict=True):
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        assert entry[1:6] == (status.st_mode, size, status.st_mtime_ns, status.st_uid, status.st_gid)
    assert [entry.target for entry in rows.entries() if entry.target] == [b"a", b"/no/such\xff"]
    assert list(zip(devices, inodes, links, strict=True)) == [(one.st_dev, one.st_ino, one.st_nlink) for one in stats]
    assert failed == []


@pytest.mark.usefixtures("engine")
def test_what_is_gone_is_left_out_and_told(fd: int) -> None:
    """The others are there."""
    rows, files, failed = seen(fd, [b"a", b"gone", b"sub"])
    assert (rows.name_list(), [len(column) for column in files], failed) == ([b"a", b"sub"], [2, 2, 2], [b"gone"])
    assert seen(fd, []) == (Rows(0, b"", b"", b"", b"", b"", b""), [[], [], []], [])


@pytest.mark.usefixtures("engine")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_device_nodes_have_their_numbers(fd: int, tmp_path: Path) -> None:
    """Both kinds, among others."""
    os.mknod(tmp_path / "block", stat.S_IFBLK | 0o600, os.makedev(7, 3))
    os.mknod(tmp_path / "char", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    rows, _, _ = seen(fd, [b"a", b"block", b"char"])
    assert [entry.rdev for entry in rows.entries()] == [0, os.makedev(7, 3), os.makedev(1, 3)]


@pytest.mark.usefixtures("engine")
def test_a_socket_is_an_entry_like_others(tmp_path: Path) -> None:
    """Its type and nothing of a size."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / "s"))
        opened = os.open(tmp_path, os.O_RDONLY)
        rows, _, _ = seen(opened, [b"s"])
        os.close(opened)
    assert [(stat.S_IFMT(entry.mode), entry.size) for entry in rows.entries()] == [(stat.S_IFSOCK, 0)]


@pytest.mark.skipif(NATIVE is None, reason="needs compiler")
class TestNative:
    """What the compiled look alone can be asked."""

    native: Bulk

    @pytest.fixture(autouse=True)
    def _native(self) -> None:
        assert NATIVE is not None
        self.native = NATIVE

    @pytest.mark.parametrize("count", [-1, 0, 3, 1 << 62])
    def test_a_wrong_number_of_names_is_refused(self, fd: int, count: int) -> None:
        """Nothing is read beyond the names."""
        with pytest.raises(ValueError, match="not so many names"):
            self.native.look(fd, b"a\0b", count)

    def test_names_are_as_many_as_said(self, fd: int) -> None:
        """Fewer or more are no result."""
        assert self.native.look(fd, b"a\0sub", 1) is None
        assert self.native.look(fd, b"a\0sub", 2) is not None
        assert self.native.look(fd, b"aaaaa", 2) is None

    def test_bad_descriptors_are_errors(self) -> None:
        """Of the system, or of the caller."""
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            self.native.list_names(1 << 20)
        assert self.native.look(1 << 20, b"a", 1) is None
        with pytest.raises(ValueError, match="negative"):
            self.native.list_names(-1)


@pytest.mark.needs("gcc")
@pytest.mark.timeout(300)
def test_the_compiled_look_under_the_sanitizers(tmp_path: Path) -> None:
    """All of these tests once more, with a module that watches its addresses and its arithmetic."""
    run_sanitized("bulk", __file__, tmp_path)
