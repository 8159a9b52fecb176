"""Small and large files put in their places."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltasync.patch.attributes import NOTHING_LOST, Attributes, Lost
from deltasync.patch.leftovers import partial_name
from deltasync.patch.small import put_small
from deltasync.patch.staging import PARTIAL_MIN_BYTES, Staged, clean_stale
from tests.expect import errno_of
from tests.forked import NOBODY, in_child, killed_before

TIME = 1_600_000_001_987_654_321
OLD, NEW = b"old" * 1000, b"new!" * 1000
ATTRIBUTES = Attributes(0o4751, TIME)


def put_large(dir_fd: int, name: bytes, content: bytes, attributes: Attributes) -> Lost:
    """Stage a file in three pieces and commit it."""
    staged = Staged.create(dir_fd, name, len(content), sparse=False)
    try:
        third = len(content) // 3
        for piece in (content[:third], memoryview(content)[third : 2 * third], bytearray(content[2 * third :])):
            staged.write(piece)
        return staged.commit(attributes)
    finally:
        staged.abandon(keep=False)


Put = Callable[[int, bytes, bytes, Attributes], Lost]


@pytest.fixture(params=[put_small, put_large], ids=lambda put: put.__name__)
def put(request: pytest.FixtureRequest) -> Put:
    """Both ways to put a file in its place."""
    chosen: Put = request.param
    return chosen


def full_disk(place: Path, put: Callable[[], object]) -> int:
    """Let nothing longer than 1,000 bytes be written, and return the error number that this gives."""

    def limited() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            put()
        except OSError as error:
            return error.errno or 0
        return 0

    return in_child(limited)


@pytest.mark.parametrize("name", [b"f", b"n" * 255, b"new\nline", b"\xff\xfe", b"-rf", b"\x1b[0m"])
def test_content_and_attributes_arrive(put: Put, dir_fd: int, place: Path, name: bytes) -> None:
    """Whatever the name, over nothing and over an older file; nothing else is left in the directory."""
    for content in (NEW, b"", b"x", OLD):
        assert put(dir_fd, name, content, ATTRIBUTES) is NOTHING_LOST
        path = os.path.join(os.fsencode(place), name)
        with open(path, "rb") as file:
            assert file.read() == content
        assert (stat.S_IMODE(os.stat(path).st_mode), os.stat(path).st_mtime_ns) == (0o4751, TIME)
        assert os.listdir(os.fsencode(place)) == [name]


def test_without_a_mode_only_the_owner_reads_it(put: Put, dir_fd: int, place: Path) -> None:
    """Whatever the umask allows."""
    before = os.umask(0)
    try:
        put(dir_fd, b"f", NEW, Attributes())
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "f").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["symlink", "fifo", "hard link", "dangling"])
def test_what_had_the_name_is_replaced_and_not_written_through(put: Put, dir_fd: int, place: Path, tmp_path: Path, kind: str) -> None:
    """A symlink's target and a file's other links keep their content."""
    canary = tmp_path / "canary"
    canary.write_bytes(OLD)
    match kind:
        case "symlink":
            (place / "f").symlink_to(canary)
        case "fifo":
            os.mkfifo(place / "f")
        case "hard link":
            (place / "f").hardlink_to(canary)
        case "dangling":
            (place / "f").symlink_to("none")
    put(dir_fd, b"f", NEW, ATTRIBUTES)
    assert not (place / "f").is_symlink()
    assert (place / "f").read_bytes() == NEW
    assert canary.read_bytes() == OLD
    assert canary.stat().st_nlink == 1
    assert os.listdir(place) == ["f"]


@pytest.mark.parametrize("full", [False, True])
def test_a_directory_of_that_name_is_left_alone(put: Put, dir_fd: int, place: Path, full: bool) -> None:
    """EISDIR comes through, and the staged file is gone."""
    (place / "f").mkdir()
    if full:
        (place / "f/x").mkdir()
    with pytest.raises(IsADirectoryError):
        put(dir_fd, b"f", NEW, ATTRIBUTES)
    assert os.listdir(place) == ["f"]
    assert len(os.listdir(place / "f")) == full


def test_a_failed_write_leaves_the_old_file(put: Put, dir_fd: int, place: Path) -> None:
    """No space, quota, file-size limit: the error comes through, the old file is whole, and nothing is left behind."""
    (place / "f").write_bytes(OLD)
    assert full_disk(place, lambda: put(dir_fd, b"f", NEW, ATTRIBUTES)) == errno.EFBIG
    assert (place / "f").read_bytes() == OLD
    assert os.listdir(place) == ["f"]


def test_short_writes_are_continued(put: Put, dir_fd: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes 700 bytes at a time gets them all."""
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:700]))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:700], offset))
    put(dir_fd, b"f", NEW, ATTRIBUTES)
    assert (place / "f").read_bytes() == NEW


@pytest.mark.needs("root")
def test_a_plain_user_is_refused_in_a_directory_of_another(put: Put, dir_fd: int, place: Path) -> None:
    """EACCES comes through and the old file is whole; where he may write, he is told what of the ownership was lost."""
    place.chmod(0o755)
    (place / "f").write_bytes(OLD)
    with pytest.raises(PermissionError):
        in_child(lambda: put(dir_fd, b"f", NEW, ATTRIBUTES), uid=NOBODY)
    assert (place / "f").read_bytes() == OLD
    place.chmod(0o777)
    assert in_child(lambda: put(dir_fd, b"f", NEW, Attributes(0o6755, TIME, 0, 0)), uid=NOBODY) == Lost.OWNER | Lost.GROUP
    assert stat.S_IMODE((place / "f").stat().st_mode) == 0o755


def test_a_failing_close_is_not_passed_over(put: Put, dir_fd: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network filesystems say there that what was written is lost: the old file stays."""
    (place / "f").write_bytes(OLD)
    close = os.close
    failed: list[int] = []

    def failing(fd: int) -> None:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        close(fd)
        if regular and not failed:
            failed.append(fd)
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "close", failing)
    with errno_of(errno.EDQUOT):
        put(dir_fd, b"f", NEW, ATTRIBUTES)
    assert (place / "f").read_bytes() == OLD
    assert os.listdir(place) == ["f"]


@pytest.mark.parametrize("old", [None, OLD])
def test_killed_at_any_call_the_file_is_old_or_new(put: Put, dir_fd: int, place: Path, old: bytes | None) -> None:
    """Before each call into the system in turn: whole, with its attributes if new; and what is left is cleaned as stale."""
    seen = set()
    number, going, now = 0, True, old
    while going:
        if old is None:
            (place / "f").unlink(missing_ok=True)
        else:
            (place / "f").write_bytes(old)
            (place / "f").chmod(0o600)
        going = killed_before(number, lambda: put(dir_fd, b"f", NEW, ATTRIBUTES))
        now = (place / "f").read_bytes() if (place / "f").exists() else None
        assert now in (old, NEW)
        assert stat.S_IMODE((place / "f").stat().st_mode) == (0o4751 if now == NEW else 0o600) if now is not None else old is None
        seen.add(now)
        for left in set(os.listdir(os.fsencode(place))) - {b"f"}:
            assert stat.S_IMODE(os.stat(left, dir_fd=dir_fd).st_mode) in (0o600, 0o4751)
            assert clean_stale(dir_fd, left)
        number += 1
    assert number > 6
    assert seen == {old, NEW}
    assert now == NEW


def test_a_small_file_cleaned_away_by_another_is_staged_again(dir_fd: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once; if the directory itself is gone, the error comes through."""
    rename = os.rename
    cleaned: list[bytes] = []

    def robbed(source: bytes, target: bytes, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if len(cleaned) < robberies:
            os.unlink(source, dir_fd=src_dir_fd)
            cleaned.append(source)
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", robbed)
    robberies = 1
    put_small(dir_fd, b"f", NEW, ATTRIBUTES)
    assert (place / "f").read_bytes() == NEW
    cleaned.clear()
    robberies = 2
    with pytest.raises(FileNotFoundError):
        put_small(dir_fd, b"f", OLD, ATTRIBUTES)
    assert (place / "f").read_bytes() == NEW
    assert os.listdir(place) == ["f"]


def test_until_its_commit_a_large_file_is_nowhere_to_be_seen(dir_fd: int, place: Path) -> None:
    """It has its staged name, 0600, and the old file its own; the directory's descriptor may be closed meanwhile."""
    (place / "f").write_bytes(OLD)
    own = os.dup(dir_fd)
    staged = Staged.create(own, b"f", len(NEW), sparse=False)
    os.close(own)
    staged.write(NEW)
    assert staged.written == len(NEW)
    assert (place / "f").read_bytes() == OLD
    assert set(os.listdir(os.fsencode(place))) == {b"f", partial_name(b"f")}
    assert stat.S_IMODE(os.stat(partial_name(b"f"), dir_fd=dir_fd).st_mode) == 0o600
    assert not clean_stale(dir_fd, partial_name(b"f"))
    staged.commit(ATTRIBUTES)
    staged.abandon(keep=True)
    assert (place / "f").read_bytes() == NEW
    assert os.listdir(place) == ["f"]


def test_no_descriptor_stays_open(dir_fd: int) -> None:
    """After a commit, an abandoned file, and a failed creation."""
    before = len(os.listdir("/proc/self/fd"))
    put_small(dir_fd, b"f", NEW, ATTRIBUTES)
    put_large(dir_fd, b"f", NEW, ATTRIBUTES)
    Staged.create(dir_fd, b"f", 1, sparse=False).abandon(keep=True)
    os.mkdir(partial_name(b"d"), dir_fd=dir_fd)
    os.mkdir(partial_name(b"d") + b"/x", dir_fd=dir_fd)
    put_large(dir_fd, b"d", NEW, ATTRIBUTES)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_incomplete_file_is_never_put_in_place(dir_fd: int, place: Path) -> None:
    """Nor one that would be longer than announced."""
    staged = Staged.create(dir_fd, b"f", 10, sparse=False)
    staged.write(b"123456789")
    with pytest.raises(ValueError, match="9 bytes are written of 10"):
        staged.commit(ATTRIBUTES)
    with pytest.raises(ValueError, match="11 bytes are more than the 10"):
        staged.write(b"01")
    with pytest.raises(ValueError, match="11 bytes are more than the 10"):
        staged.zeros(2)
    staged.write(b"0")
    staged.commit(ATTRIBUTES)
    assert (place / "f").read_bytes() == b"1234567890"


def test_a_directory_in_the_way_can_be_removed_and_the_commit_tried_again(dir_fd: int, place: Path) -> None:
    """After an error the file is still staged."""
    (place / "f").mkdir()
    staged = Staged.create(dir_fd, b"f", len(NEW), sparse=False)
    staged.write(NEW)
    with pytest.raises(IsADirectoryError):
        staged.commit(ATTRIBUTES)
    (place / "f").rmdir()
    staged.commit(ATTRIBUTES)
    assert (place / "f").read_bytes() == NEW


@pytest.mark.parametrize(
    ("written", "keep", "kept"),
    [(PARTIAL_MIN_BYTES + 1, True, True), (PARTIAL_MIN_BYTES, True, False), (PARTIAL_MIN_BYTES + 1, False, False)],
)
def test_more_than_a_mebibyte_is_kept_on_request(dir_fd: int, place: Path, written: int, keep: bool, kept: bool) -> None:
    """A partial has what was written and no lock; the next run takes its name."""
    staged = Staged.create(dir_fd, b"f", 1 << 30, sparse=True)
    staged.write(b"x" * 10_000)
    staged.zeros(written - 10_000)
    staged.abandon(keep=keep)
    staged.abandon(keep=False)
    assert os.listdir(os.fsencode(place)) == ([partial_name(b"f")] if kept else [])
    if kept:
        assert os.stat(partial_name(b"f"), dir_fd=dir_fd).st_size == written
        assert put_large(dir_fd, b"f", NEW, ATTRIBUTES) is NOTHING_LOST
        assert os.listdir(place) == ["f"]


def test_a_partial_never_holds_what_was_not_written(dir_fd: int) -> None:
    """A write that failed halfway counts for nothing, and is cut off."""
    partial = partial_name(b"f")

    def filled() -> tuple[int, int]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        staged = Staged.create(dir_fd, b"f", 1 << 30, sparse=False)
        staged.write(b"x" * (PARTIAL_MIN_BYTES + 10))
        resource.setrlimit(resource.RLIMIT_FSIZE, (PARTIAL_MIN_BYTES + 1000, PARTIAL_MIN_BYTES + 1000))
        with pytest.raises(OSError, match="File too large"):
            staged.write(b"x" * 10_000)
        staged.abandon(keep=True)
        return staged.written, os.stat(partial, dir_fd=dir_fd).st_size

    assert in_child(filled) == (PARTIAL_MIN_BYTES + 10, PARTIAL_MIN_BYTES + 10)


def test_a_file_that_was_about_to_be_put_in_place_is_not_kept(dir_fd: int, place: Path) -> None:
    """It may have its final mode and owner already: no partial is readable by others."""
    (place / "f").mkdir()
    staged = Staged.create(dir_fd, b"f", PARTIAL_MIN_BYTES * 2, sparse=True)
    staged.zeros(PARTIAL_MIN_BYTES * 2)
    with pytest.raises(IsADirectoryError):
        staged.commit(Attributes(0o644))
    staged.abandon(keep=True)
    assert os.listdir(place) == ["f"]


def test_two_at_once_do_not_disturb_each_other(dir_fd: int, place: Path) -> None:
    """The second stages under a name of its own, keeps no partial, and each commit is whole."""
    one = Staged.create(dir_fd, b"f", len(OLD), sparse=False)
    two = Staged.create(dir_fd, b"f", len(NEW), sparse=False)
    three = Staged.create(dir_fd, b"f", 1 << 30, sparse=True)
    one.write(OLD)
    two.write(NEW)
    three.zeros(PARTIAL_MIN_BYTES * 2)
    assert len(os.listdir(place)) == 3
    two.commit(ATTRIBUTES)
    assert (place / "f").read_bytes() == NEW
    one.commit(ATTRIBUTES)
    assert (place / "f").read_bytes() == OLD
    three.abandon(keep=True)
    assert os.listdir(place) == ["f"]


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo"])
def test_what_stands_under_the_staged_name_is_not_written_to(dir_fd: int, place: Path, tmp_path: Path, kind: str) -> None:
    """Somebody who may write in the directory can put it there; it is removed, and what it leads to keeps its content."""
    canary = tmp_path / "canary"
    canary.write_bytes(OLD)
    trap = place / os.fsdecode(partial_name(b"f"))
    match kind:
        case "symlink":
            trap.symlink_to(canary)
        case "hard link":
            trap.hardlink_to(canary)
        case "fifo":
            os.mkfifo(trap)
    put_large(dir_fd, b"f", NEW, ATTRIBUTES)
    assert (place / "f").read_bytes() == NEW
    assert canary.read_bytes() == OLD
    assert canary.stat().st_nlink == 1


def test_an_abandoned_file_takes_nothing_of_another_with_it(dir_fd: int, place: Path) -> None:
    """If its staged name has come to stand for something else, that stays."""
    staged = Staged.create(dir_fd, b"f", 10, sparse=False)
    name = place / os.fsdecode(partial_name(b"f"))
    name.unlink()
    name.write_bytes(b"another's")
    staged.abandon(keep=False)
    assert name.read_bytes() == b"another's"


def test_a_sparse_file_has_holes(dir_fd: int, place: Path) -> None:
    """20 GiB of zeros and a word at their end take a few blocks; the size is right, also with a hole at the end."""
    size = 20 << 30
    staged = Staged.create(dir_fd, b"f", size, sparse=True)
    staged.zeros(size - 100_000)
    staged.write(b"word" + bytes(60_000))
    staged.write(bytes(100_000 - 60_004))
    staged.commit(ATTRIBUTES)
    status = (place / "f").stat()
    assert status.st_size == size
    assert status.st_blocks * 512 <= 16384
    with (place / "f").open("rb") as file:
        file.seek(size - 100_000)
        assert file.read() == b"word" + bytes(99_996)


def test_zeros_of_a_file_that_is_not_sparse_take_their_space(dir_fd: int, place: Path) -> None:
    """Given as a count or as content."""
    staged = Staged.create(dir_fd, b"f", 2_000_000, sparse=False)
    staged.zeros(1_000_000)
    staged.write(bytes(1_000_000))
    staged.commit(ATTRIBUTES)
    assert (place / "f").read_bytes() == bytes(2_000_000)
    assert (place / "f").stat().st_blocks * 512 >= 2_000_000


PIECE = st.one_of(
    st.integers(0, 20_000).map(bytes), st.integers(0, 20_000), st.binary(max_size=64), st.integers(1, 9_000).map(lambda count: b"x" * count)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECE, max_size=12), st.booleans())
def test_pieces_of_any_length_come_out_as_they_went_in(dir_fd: int, place: Path, pieces: list[bytes | int], sparse: bool) -> None:
    """Data and zeros in any order, at any alignment, sparse or not."""
    content = b"".join(bytes(piece) if isinstance(piece, int) else piece for piece in pieces)
    staged = Staged.create(dir_fd, b"f", len(content), sparse=sparse)
    for piece in pieces:
        if isinstance(piece, int):
            staged.zeros(piece)
        else:
            staged.write(piece)
    staged.commit(Attributes(0o600))
    assert (place / "f").read_bytes() == content


def test_a_file_becomes_a_partial_and_stays_one(place: Path, dir_fd: int) -> None:
    """Until then a later run does not find it; from then on all of it is kept, and another file's partial of the name is gone."""
    (place / os.fsdecode(partial_name(b"f"))).write_bytes(b"older")
    staged = Staged.create(dir_fd, b"f", PARTIAL_MIN_BYTES + 1, sparse=False, partial=False)
    staged.stretch()
    staged.put(5, b"x")
    assert (place / os.fsdecode(partial_name(b"f"))).read_bytes() == b"older"
    assert staged.becomes_partial()
    staged.abandon(keep=True)
    kept = (place / os.fsdecode(partial_name(b"f"))).read_bytes()
    assert (len(kept), kept[5:6], len(os.listdir(place))) == (PARTIAL_MIN_BYTES + 1, b"x", 1)


def test_a_file_does_not_become_what_another_process_has(place: Path, dir_fd: int) -> None:
    """A partial that is locked stays where it is."""
    other = Staged.create(dir_fd, b"f", PARTIAL_MIN_BYTES + 1, sparse=False)
    staged = Staged.create(dir_fd, b"f", PARTIAL_MIN_BYTES + 1, sparse=False, partial=False)
    assert not staged.becomes_partial()
    staged.abandon(keep=True)
    assert os.listdir(place) == [os.fsdecode(partial_name(b"f"))]
    other.abandon(keep=False)


def test_a_short_file_becomes_no_partial(place: Path, dir_fd: int) -> None:
    """It is sent again as fast."""
    staged = Staged.create(dir_fd, b"f", PARTIAL_MIN_BYTES, sparse=False, partial=False)
    assert not staged.becomes_partial()
    staged.abandon(keep=True)
    assert os.listdir(place) == []
