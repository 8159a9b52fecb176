"""Attributes of entries."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from deltasync.patch.attributes import NOTHING_LOST, Attributes, Lost, apply_at, apply_fd
from tests.expect import errno_of
from tests.forked import NOBODY, in_child

TIME = 1_600_000_001_987_654_321
Apply = Callable[[int, bytes, Attributes], Lost]


def by_descriptor(dir_fd: int, name: bytes, attributes: Attributes) -> Lost:
    """Set them on a file that is open."""
    fd = os.open(name, os.O_RDONLY, dir_fd=dir_fd)
    try:
        return apply_fd(fd, attributes, stat.S_IFMT(os.fstat(fd).st_mode))
    finally:
        os.close(fd)


def by_name(dir_fd: int, name: bytes, attributes: Attributes) -> Lost:
    """Set them on a name."""
    return apply_at(dir_fd, name, attributes, stat.S_IFMT(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode))


@pytest.fixture(params=[by_descriptor, by_name], ids=lambda apply: apply.__name__)
def apply(request: pytest.FixtureRequest) -> Apply:
    """Both ways to set attributes."""
    chosen: Apply = request.param
    return chosen


def own(dir_fd: int, name: bytes, uid: int = NOBODY, mode: int = 0o600) -> None:
    """Make a file of that owner."""
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, mode, dir_fd=dir_fd))
    if os.geteuid() == 0:
        os.chown(name, uid, uid, dir_fd=dir_fd)


def at(dir_fd: int, name: bytes) -> os.stat_result:
    """Look at a name itself."""
    return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)


@pytest.mark.parametrize("mtime_ns", [TIME, 0, -1, -TIME])
def test_mode_and_time_are_set_to_the_nanosecond(apply: Apply, dir_fd: int, mtime_ns: int) -> None:
    """Of files and directories, also before 1970; nothing is lost."""
    own(dir_fd, b"f", os.geteuid())
    os.mkdir(b"d", dir_fd=dir_fd)
    for name in (b"f", b"d"):
        assert apply(dir_fd, name, Attributes(0o751, mtime_ns)) is NOTHING_LOST
        assert (stat.S_IMODE(at(dir_fd, name).st_mode), at(dir_fd, name).st_mtime_ns) == (0o751, mtime_ns)


def test_none_leaves_everything_alone(apply: Apply, dir_fd: int) -> None:
    """Without attributes not even the change time moves."""
    own(dir_fd, b"f", os.geteuid())
    before = at(dir_fd, b"f")
    assert apply(dir_fd, b"f", Attributes()) is NOTHING_LOST
    assert at(dir_fd, b"f").st_ctime_ns == before.st_ctime_ns


@pytest.mark.needs("root")
def test_the_set_id_bits_survive_a_new_owner(apply: Apply, dir_fd: int) -> None:
    """A change of owner clears them, so they are set after it."""
    own(dir_fd, b"f", 0)
    assert apply(dir_fd, b"f", Attributes(0o6755, TIME, 1234, 4321)) is NOTHING_LOST
    status = at(dir_fd, b"f")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_uid, status.st_gid) == (0o6755, TIME, 1234, 4321)
    assert apply(dir_fd, b"f", Attributes(gid=55)) is NOTHING_LOST
    assert (at(dir_fd, b"f").st_uid, at(dir_fd, b"f").st_gid) == (1234, 55)


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("wanted", "lost", "mode"),
    [
        (Attributes(0o6755, TIME, 0, 0), Lost.OWNER | Lost.GROUP, 0o755),
        (Attributes(0o6755, TIME, 0, None), Lost.OWNER, 0o2755),
        (Attributes(0o6755, TIME, None, 0), Lost.GROUP, 0o4755),
        (Attributes(0o6755, TIME, 0, NOBODY), Lost.OWNER, 0o2755),
        (Attributes(0o6755, TIME, NOBODY, NOBODY), NOTHING_LOST, 0o6755),
    ],
)
def test_a_plain_user_lends_nobody_rights(apply: Apply, dir_fd: int, wanted: Attributes, lost: Lost, mode: int) -> None:
    """What of the ownership is refused is said, its set-id bit is left out, and the rest is kept."""
    own(dir_fd, b"f")
    assert in_child(lambda: apply(dir_fd, b"f", wanted), uid=NOBODY) == lost
    status = at(dir_fd, b"f")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_uid, status.st_gid) == (mode, TIME, NOBODY, NOBODY)


@pytest.mark.needs("root")
def test_a_directory_keeps_its_set_group_bit(apply: Apply, dir_fd: int) -> None:
    """There it lends no right, it only says whose group new files get."""
    os.mkdir(b"d", dir_fd=dir_fd)
    os.chown(b"d", NOBODY, NOBODY, dir_fd=dir_fd)
    assert in_child(lambda: apply(dir_fd, b"d", Attributes(0o2755, None, None, 0)), uid=NOBODY) == Lost.GROUP
    assert stat.S_IMODE(at(dir_fd, b"d").st_mode) == 0o2755


@pytest.mark.needs("root")
def test_what_belongs_to_another_stays_as_it_is(apply: Apply, dir_fd: int) -> None:
    """Each refusal is returned, none raised."""
    own(dir_fd, b"f", 0, 0o644)
    os.chmod(b"f", 0o644, dir_fd=dir_fd)
    before = at(dir_fd, b"f")
    assert in_child(lambda: apply(dir_fd, b"f", Attributes(0o4777, TIME, NOBODY, NOBODY)), uid=NOBODY) == ~NOTHING_LOST
    assert at(dir_fd, b"f") == before


def test_a_symlink_gets_its_own_time(dir_fd: int) -> None:
    """What it points to is not touched, and a mode asked for is passed over."""
    own(dir_fd, b"f", os.geteuid())
    os.symlink(b"f", b"l", dir_fd=dir_fd)
    before = at(dir_fd, b"f")
    assert apply_at(dir_fd, b"l", Attributes(0o777, TIME), stat.S_IFLNK) is NOTHING_LOST
    assert at(dir_fd, b"l").st_mtime_ns == TIME
    assert at(dir_fd, b"f") == before


@pytest.mark.needs("root")
def test_a_symlink_gets_its_own_owner(dir_fd: int) -> None:
    """Also when it leads nowhere."""
    os.symlink(b"none", b"l", dir_fd=dir_fd)
    assert apply_at(dir_fd, b"l", Attributes(None, TIME, 1234, 4321), stat.S_IFLNK) is NOTHING_LOST
    assert (at(dir_fd, b"l").st_uid, at(dir_fd, b"l").st_gid, at(dir_fd, b"l").st_mtime_ns) == (1234, 4321, TIME)


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO])
def test_a_symlink_in_place_of_what_was_seen_is_an_error(dir_fd: int, tmp_path: Path, kind: int) -> None:
    """Its target outside keeps everything."""
    (tmp_path / "canary").write_bytes(b"")
    before = (tmp_path / "canary").stat()
    os.symlink(tmp_path / "canary", b"l", dir_fd=dir_fd)
    with errno_of(errno.EOPNOTSUPP, errno.ELOOP):
        apply_at(dir_fd, b"l", Attributes(0o4777, TIME, os.geteuid(), os.getegid()), kind)
    assert (tmp_path / "canary").stat() == before


def test_specials_are_not_opened(dir_fd: int) -> None:
    """A FIFO that nobody writes to gets its attributes at once."""
    os.mkfifo(b"p", dir_fd=dir_fd)
    assert apply_at(dir_fd, b"p", Attributes(0o640, TIME), stat.S_IFIFO) is NOTHING_LOST
    assert (stat.S_IMODE(at(dir_fd, b"p").st_mode), at(dir_fd, b"p").st_mtime_ns) == (0o640, TIME)


def test_other_failures_are_raised(dir_fd: int) -> None:
    """Only a lack of rights is a value."""
    with pytest.raises(FileNotFoundError):
        apply_at(dir_fd, b"none", Attributes(mtime_ns=TIME), stat.S_IFREG)
    with pytest.raises(FileNotFoundError):
        apply_at(dir_fd, b"none", Attributes(uid=0, gid=0), stat.S_IFREG)
    fd = os.dup(dir_fd)
    os.close(fd)
    with errno_of(errno.EBADF):
        apply_fd(fd, Attributes(0o600))
