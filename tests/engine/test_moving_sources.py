"""Sources that change, vanish or can't be read while they are sent."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.delta.digest import FileDigest
from deltasync.engine.reading import ATTEMPTS, PACK_FILE_BYTES, Changing, digest_at, read_small, stream
from deltasync.errors import ExitCode, Interrupted
from deltasync.fs.listing import entry_at
from deltasync.wire.messages import FileAbort, FileBegin, FileData, FileEnd, FileZeros, Message
from tests.engine.runs import Heard, push
from tests.forked import NOBODY, in_child

PLAIN = NOBODY if os.geteuid() == 0 else None
"""Whom to become for the tests of a plain user."""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A directory and its descriptor."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield tmp_path, fd
    os.close(fd)


def content_of(messages: list[Message]) -> bytes:
    """The content that a stream of messages stands for, after its last beginning."""
    made = b""
    for message in messages:
        if isinstance(message, FileBegin):
            made = b""
        elif isinstance(message, FileData):
            made += bytes(message.content)
        elif isinstance(message, FileZeros):
            made += bytes(message.zero_bytes)
    return made


def test_a_file_that_changed_since_it_was_listed_is_sent_as_it_is(directory: tuple[Path, int]) -> None:
    """Size, time and mode are those of the read, not of the listing."""
    path, fd = directory
    (path / "f").write_bytes(b"old")
    entry = entry_at(fd, b"f")
    assert entry is not None
    (path / "f").write_bytes(b"newer")
    os.chmod(path / "f", 0o600)
    os.utime(path / "f", ns=(5, 5))
    small = read_small(fd, b"f", entry)
    assert small == (b"newer", 5, stat.S_IFREG | 0o600, (path / "f").stat().st_ino)


def test_a_file_that_grew_is_no_longer_small(directory: tuple[Path, int]) -> None:
    """What does not fit in a pack any more is left to a stream."""
    path, fd = directory
    (path / "f").write_bytes(b"old")
    entry = entry_at(fd, b"f")
    assert entry is not None
    (path / "f").write_bytes(bytes(PACK_FILE_BYTES + 1))
    assert read_small(fd, b"f", entry) is None


def test_a_stream_that_changes_begins_again(directory: tuple[Path, int]) -> None:
    """A large file written to while it is read is taken back and sent anew, as it stands then."""
    path, fd = directory
    (path / "f").write_bytes(os.urandom(1_500_000))
    sent: list[Message] = []
    for message in stream(fd, b"f", 3, bytearray(1 << 19)):
        sent.append(message if not isinstance(message, FileData) else FileData(message.file_id, bytes(message.content)))
        if len(sent) == 2:
            with open(path / "f", "ab") as file:
                file.write(b"more")
    assert sum(isinstance(message, FileAbort) for message in sent) == 1
    assert content_of(sent) == (path / "f").read_bytes()
    assert isinstance(sent[-1], FileEnd)
    assert sent[-1].digest == digest_at(fd, b"f", 1_500_004)


def test_a_stream_that_never_rests_is_given_up(directory: tuple[Path, int]) -> None:
    """After some attempts the file is reported, not sent half-changed."""
    path, fd = directory
    (path / "f").write_bytes(bytes(300_000))
    begun: list[Message] = []

    def send() -> None:
        for message in stream(fd, b"f", 3, bytearray(1 << 19)):
            if isinstance(message, FileBegin):
                begun.append(message)
                with open(path / "f", "ab") as file:
                    file.write(b"x")

    with pytest.raises(Changing):
        send()
    assert len(begun) == ATTEMPTS


def test_holes_are_told_not_read(directory: tuple[Path, int]) -> None:
    """A sparse file travels as its data and runs of zeros, with the digest of its whole content."""
    path, fd = directory
    with open(path / "f", "wb") as file:
        file.seek(5 << 20)
        file.write(b"in the middle")
        file.truncate(400 << 20)
    sent = list(stream(fd, b"f", 1, bytearray(1 << 19)))
    assert sum(len(message.content) for message in sent if isinstance(message, FileData)) < 1 << 20
    digest = FileDigest(400 << 20)
    with open(path / "f", "rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    assert isinstance(sent[-1], FileEnd)
    assert sent[-1].digest == digest.digest()


@pytest.mark.parametrize("sparse", [False, True])
def test_a_sparse_file_arrives_whole(tmp_path: Path, sparse: bool) -> None:
    """With -S it has holes again; without, its zeros are written."""
    (tmp_path / "src").mkdir()
    with open(tmp_path / "src" / "f", "wb") as file:
        file.write(b"begin")
        file.truncate(20 << 20)
    push(os.fsencode(tmp_path / "src") + b"/", tmp_path / "dst", sparse=sparse)
    made = tmp_path / "dst" / "f"
    assert made.read_bytes() == (tmp_path / "src" / "f").read_bytes()
    assert (made.stat().st_blocks * 512 < 1 << 20) is sparse


def test_a_file_that_vanished_is_24_and_one_that_grew_is_sent(tmp_path: Path) -> None:
    """Between the listing and the read files may go and grow; the run goes on."""
    source = tmp_path / "src"
    source.mkdir()
    for name in "abc":
        (source / name).write_text(name)

    class Meddler(Heard):
        """Changes the source when the first file has been decided on."""

        def item(self, code: str, path: bytes, link: bytes) -> None:
            super().item(code, path, link)
            if path == b".":
                (source / "a").unlink()
                (source / "b").write_text("b" * 300_000)

    heard = Meddler()
    summary = push(os.fsencode(source) + b"/", tmp_path / "dst", heard=heard)
    if not heard.problems:
        # The files were read before the item was heard: both outcomes are right, and which it is depends on the machine alone.
        assert (tmp_path / "dst" / "a").read_text() == "a"
        return
    assert summary.exit_code == ExitCode.VANISHED
    assert [problem.path for problem in heard.problems] == [b"a"]
    assert (tmp_path / "dst" / "b").read_text() == "b" * 300_000


def test_what_a_plain_user_can_not_read_is_reported_and_holds_deletions_back(public: Path) -> None:
    """An unreadable file and directory are problems (23); the rest goes on; nothing is deleted."""

    def act() -> None:
        source, dest = public / "src", public / "dst"
        (source / "dark").mkdir(parents=True)
        (source / "dark" / "inside").write_text("x")
        (source / "closed").write_text("x")
        (source / "open").write_text("x")
        dest.mkdir()
        (dest / "extra").write_text("x")
        (source / "dark").chmod(0)
        (source / "closed").chmod(0)
        heard = Heard()
        summary = push(os.fsencode(source) + b"/", dest, delete=True, heard=heard)
        assert {problem.path for problem in heard.problems} == {b"dark", b"closed"}, heard.problems
        assert summary.exit_code == ExitCode.PARTIAL
        assert (dest / "open").read_text() == "x"
        assert (dest / "extra").exists()
        assert (dest / "dark").stat().st_mode & 0o777 == 0
        assert (dest / "dark").stat().st_mtime_ns == (source / "dark").stat().st_mtime_ns
        again = Heard()
        push(os.fsencode(source) + b"/", dest, heard=again)
        assert b"dark" not in again.codes
        (source / "dark").chmod(0o700)

    in_child(act, uid=PLAIN)


def test_read_only_directories_of_a_plain_user_are_written_and_stay_read_only(public: Path) -> None:
    """A directory that forbids writing is opened for the time of the work, at the destination alone."""

    def act() -> None:
        source, dest = public / "src", public / "dst"
        (source / "d").mkdir(parents=True)
        (source / "d" / "one").write_text("1")
        (source / "d").chmod(0o555)
        push(os.fsencode(source) + b"/", dest)
        assert (dest / "d").stat().st_mode & 0o777 == 0o555
        (source / "d").chmod(0o755)
        (source / "d" / "two").write_text("2")
        (source / "d" / "one").unlink()
        (source / "d").chmod(0o555)
        heard = Heard()
        summary = push(os.fsencode(source) + b"/", dest, delete=True, heard=heard)
        assert not summary.problems, summary.problems
        assert [path.name for path in (dest / "d").iterdir()] == ["two"]
        assert (dest / "d").stat().st_mode & 0o777 == 0o555
        (source / "d").chmod(0o755)
        (dest / "d").chmod(0o755)

    in_child(act, uid=PLAIN)


def test_set_id_bits_go_where_the_owner_can_not_be_kept(public: Path) -> None:
    """A plain user's copy of somebody else's set-id program is no set-id program, and a second push leaves it alone."""
    source = public / "src"
    source.mkdir()
    (source / "tool").write_text("x")
    os.chmod(source / "tool", 0o6755)
    os.chmod(source, 0o755)
    if os.geteuid() != 0:
        os.chmod(source / "tool", 0o755)

    def act() -> None:
        push(os.fsencode(source) + b"/", public / "dst")
        assert (public / "dst" / "tool").stat().st_mode & 0o7777 == 0o755
        heard = Heard()
        push(os.fsencode(source) + b"/", public / "dst", heard=heard)
        assert heard.items == []

    in_child(act, uid=PLAIN)


def test_an_interrupted_run_stops_within_a_second_and_keeps_what_is_done(tmp_path: Path) -> None:
    """INT leaves finished files, keeps a large one as a partial, and removes every other staged file."""
    from deltasync.engine.job import Job, Progress
    from deltasync.engine.run import run
    from deltasync.wire.settings import Settings

    source, dest = tmp_path / "src", tmp_path / "dst"
    source.mkdir()
    (source / "a-small").write_text("done")
    (source / "large").write_bytes(os.urandom(64 << 20))
    stop = threading.Event()

    class Stopper(Heard):
        """Stops the run when some of the large file has gone."""

        def progress(self, progress: Progress) -> None:
            if progress.bytes_done > 8 << 20:
                stop.set()

    job = Job("push", (os.fsencode(source) + b"/",), os.fsencode(dest), Settings(bwlimit_bytes_s=40 << 20))
    with pytest.raises(Interrupted):
        run(job, Stopper(), stop)
    left = sorted(path.name for path in dest.iterdir())
    assert "a-small" in left
    assert "large" not in left
    partials = [name for name in left if name.startswith(".deltasync~")]
    assert len(partials) == 1
    assert (dest / partials[0]).stat().st_size > 1 << 20
    push(os.fsencode(source) + b"/", dest)
    assert sorted(path.name for path in dest.iterdir()) == ["a-small", "large"]
