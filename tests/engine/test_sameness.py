"""Small files that only differ in their times: a digest is all that travels, and the receiver's file stays."""

from __future__ import annotations

import os
import struct
import threading
import time
from pathlib import Path

import pytest

from deltasync.delta.digest import same_digest
from deltasync.detect.scan import Chunk
from deltasync.engine import sameness
from deltasync.engine.ground import Abilities, Ground
from deltasync.engine.reporter import LocalReporter
from deltasync.engine.sameness import had, stay
from deltasync.engine.serve import Limits
from deltasync.engine.streams import Expected
from deltasync.engine.wants import OpenChunks
from deltasync.errors import ExitCode, RemoteProtocolError
from deltasync.fs.identity import Identity
from deltasync.fs.listing import entry_at, look, own_entry
from deltasync.tree.entry import Entry
from deltasync.tree.filters import Filters
from deltasync.tree.rows import Section
from deltasync.wire.messages import Want
from deltasync.wire.settings import Settings
from tests.engine import hostile
from tests.engine.hostile import Await, Row, Step, control, section
from tests.engine.hostile_arena import Arena, refused
from tests.engine.runs import Heard, push

OLD_NS, NEW_NS = 10**18, 10**18 + 5 * 10**9 + 7
SAME, WANT = 0x1D, 0x20


def trees(place: Path, source: bytes, dest: bytes, name: str = "f") -> tuple[Path, Path]:
    """Two directories with a file each, of different times, long settled."""
    made = place / "source", place / "dest"
    for directory, content, time_ns in zip(made, (source, dest), (NEW_NS, OLD_NS), strict=True):
        directory.mkdir()
        (directory / name).write_bytes(content)
        os.utime(directory / name, ns=(time_ns, time_ns))
    settle(made[1] / name)
    return made


def settle(path: Path) -> None:
    """Wait until a change of the file would show as another time."""
    while not Identity.of(path.stat()).settled(time.time_ns()):
        threading.Event().wait(0.02)


def test_a_file_with_another_time_alone_stays_and_does_not_travel(tmp_path: Path) -> None:
    """It keeps its inode and takes time and mode; nothing of its content is sent."""
    source, dest = trees(tmp_path, b"x" * 5000, b"x" * 5000)
    (source / "f").chmod(0o640)
    before = (dest / "f").stat()
    heard = Heard()
    summary = push(b"%s/" % os.fsencode(source), dest, heard=heard)
    after = (dest / "f").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode & 0o777) == (before.st_ino, NEW_NS, 0o640)
    assert (summary.literal_bytes, summary.matched_bytes, summary.files_sent) == (0, 5000, 1)
    assert sum(summary.update_modes.values()) == 0
    assert heard.codes[b"f"].startswith(">f")


def test_another_content_of_the_same_length_travels(tmp_path: Path) -> None:
    """Equal sizes prove nothing."""
    source, dest = trees(tmp_path, b"x" * 5000, b"x" * 4999 + b"y")
    assert push(b"%s/" % os.fsencode(source), dest).literal_bytes == 5000
    assert (dest / "f").read_bytes() == b"x" * 5000


def test_what_is_sent_whole_is_sent_whole(tmp_path: Path) -> None:
    """With -W nothing is looked for at the destination."""
    source, dest = trees(tmp_path, b"x" * 5000, b"x" * 5000)
    assert push(b"%s/" % os.fsencode(source), dest, whole_file=True).literal_bytes == 5000


def test_another_name_of_the_file_keeps_its_time(tmp_path: Path) -> None:
    """A file with two names is replaced, so that the other one does not change with it."""
    source, dest = trees(tmp_path, b"x" * 5000, b"x" * 5000)
    os.link(dest / "f", tmp_path / "other")
    settle(dest / "f")
    assert push(b"%s/" % os.fsencode(source), dest).literal_bytes == 0
    assert (dest / "f").stat().st_mtime_ns == NEW_NS
    assert (tmp_path / "other").stat().st_mtime_ns == OLD_NS
    assert (tmp_path / "other").read_bytes() == (dest / "f").read_bytes()


def test_what_may_change_unseen_is_not_offered(tmp_path: Path) -> None:
    """No digest is told of a file that was written just now, is empty, too long or of another size, or is none."""
    fd = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "f").write_bytes(b"12345")
    entry = entry_at(fd, b"f")
    assert entry is not None
    assert had(fd, entry, entry) is None
    os.utime(tmp_path / "f", ns=(OLD_NS + 1, OLD_NS + 1))
    settle(tmp_path / "f")
    found = had(fd, entry, entry)
    assert found is not None
    assert found.digest == same_digest(b"12345")
    assert had(fd, entry, None) is None
    assert had(fd, entry._replace(size=4), entry) is None
    (tmp_path / "f").write_bytes(b"1234567")
    assert had(fd, entry, entry) is None
    (tmp_path / "f").unlink()
    assert had(fd, entry, entry) is None
    os.close(fd)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A receiver's ground without a root: `stay` is given its directory."""
    reporter = LocalReporter(Heard())
    return Ground(None, Settings(), Filters(()), reporter, Abilities.here(), lambda: None, to_remote=False)


def test_a_file_that_somebody_changed_meanwhile_does_not_get_the_time(tmp_path: Path, ground: Ground) -> None:
    """Its content is no longer what the sender was told; with the sender's time the difference would never be found."""
    fd = os.open(tmp_path, os.O_RDONLY)
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    entry = entry_at(fd, b"f")
    assert entry is not None
    identity = Identity.of(path.stat())
    path.write_bytes(b"54321")
    os.utime(path, ns=(OLD_NS, OLD_NS))
    with pytest.raises(OSError, match="meanwhile"):
        stay(ground, fd, Expected(b"", entry, entry, identity=identity), entry._replace(mtime_ns=NEW_NS))
    assert path.stat().st_mtime_ns == OLD_NS
    os.close(fd)


def test_a_run_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a file is a problem of its own; the rest goes on."""
    source, dest = trees(tmp_path, b"x" * 5000, b"x" * 5000)
    real = sameness.had

    def meddling(dir_fd: int, entry: Entry, current: Entry | None) -> sameness.Had | None:
        found = real(dir_fd, entry, current)
        (dest / "f").write_bytes(b"z" * 5000)
        return found

    monkeypatch.setattr("deltasync.engine.decisions.had", meddling)
    heard = Heard()
    summary = push(b"%s/" % os.fsencode(source), dest, heard=heard)
    assert summary.exit_code == ExitCode.PARTIAL
    assert [problem.path for problem in heard.problems] == [b"f"]
    assert (dest / "f").read_bytes() == b"z" * 5000


# Hostile peers ----------------------------------------------------------------------------------------------------------------------------

OPEN = hostile.hello() + hostile.setup(True, [b""]) + hostile.tree()
LISTED: list[Step] = [OPEN + hostile.entries(section(b"", Row(b"here", size=9), Row(b"new", size=9))) + hostile.entries_end(2), Await(WANT)]


def same(*numbers: int, mode: int = 0o100644, times: int | None = None) -> bytes:
    """Word that files are here already."""
    count = len(numbers)
    mtimes = struct.pack(f"<{count if times is None else times}q", *[7] * (count if times is None else times))
    return control(SAME, struct.pack(f"<{count}Q", *numbers), mtimes, struct.pack(f"<{count}I", *[mode] * count))


@pytest.mark.parametrize(
    "said",
    [same(1), same(2), same(1 << 62), same(0, 0), same(0, mode=0o40755), same(0, times=2), control(SAME, b"123", b"", b"")],
    ids=["not here", "not listed", "far beyond", "twice", "a directory", "columns", "a part of a number"],
)
def test_what_was_not_asked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """Only a file of which a digest was told can be the same, once, and as a regular file."""
    monkeypatch.chdir(tmp_path)
    arena = Arena(tmp_path)
    path = Path(os.fsdecode(arena.root)) / "here"
    path.write_bytes(b"123456789")
    os.utime(path, ns=(OLD_NS + 1, OLD_NS + 1))
    settle(path)
    assert refused(arena.serve(*LISTED, said, limits=Limits()))
    arena.check()


@pytest.mark.parametrize(
    ("indexes", "digests"),
    [(b"\1\0\0\0", b"d" * 16), (b"\0\0\0\0" * 2, b"d" * 32), (b"\0\0\0\0", b"d" * 15), (b"", b"d" * 16), (b"\0", b"")],
)
def test_digests_that_do_not_fit_are_refused(tmp_path: Path, indexes: bytes, digests: bytes) -> None:
    """Of a file that is not wanted, twice of one, or cut short."""
    (tmp_path / "f").write_bytes(b"1")
    fd = os.open(tmp_path, os.O_RDONLY)
    rows, _ = look(fd, [b"f"], lambda name, error: pytest.fail(f"{name!r}: {error}"))
    chunks = OpenChunks()
    chunks.add(Chunk((Section(b"", own_entry(fd), rows, first=True, last=True),), (None,), b"", 1, 1, 1))
    os.close(fd)
    with pytest.raises(RemoteProtocolError, match="not listed"):
        chunks.answer(Want(0, b"\0\0\0\0", had=indexes, digests=digests))
