"""Large files that are hashed before the peer is there: what is known of them is true, and nothing is known that may not be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.delta.digest import leaf_bytes
from deltasync.delta.signature import block_digests
from deltasync.detect.directory import Terms
from deltasync.detect.scan import Scan
from deltasync.detect.sources import Sources
from deltasync.engine.hashes_ahead import MAX_FILES, MIN_BYTES, HashesAhead
from deltasync.engine.pool import SEGMENT_BYTES
from deltasync.fs.identity import Identity
from deltasync.fs.selection import Selection
from deltasync.tree.rules import Side

OLD_NS = 10**18


@pytest.fixture
def ahead(tmp_path: Path) -> Iterator[HashesAhead]:
    """Of whatever a test puts into its directory before it is used."""
    made = HashesAhead(Sources([os.fsencode(tmp_path) + b"/"]), 2)
    yield made
    made.stop()


def settle(path: Path) -> None:
    """Wait until a look at a file that was just written can be believed."""
    status = path.stat()
    while not Identity.of(status).settled(os.stat(make_probe(path)).st_mtime_ns):
        pass


def make_probe(path: Path) -> Path:
    """Touch a file beside another, so that its time is that of the filesystem's clock."""
    probe = path.with_name("probe")
    probe.touch()
    return probe


def see(ahead: HashesAhead, place: Path) -> None:
    """Scan a directory."""
    sources = Sources([os.fsencode(place) + b"/"])
    selections = [Selection.from_wire((), Side.SENDER, place) for place in sources.places]
    terms = Terms(sources, selections, selections, lambda *_: None, lambda *_: None, recursive=True, hard_links=False)
    for chunk in Scan(terms):
        ahead.see(chunk)
    sources.close()


def leaves(path: Path) -> list[bytes]:
    """The digests of all leaves of a file."""
    content = path.read_bytes()
    return block_digests(memoryview(content), leaf_bytes(len(content)))


def large(path: Path, size: int) -> Path:
    """Make a file with a hole in it, whose times can be believed."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(os.urandom(size // 3))
        file.truncate(size)
        file.seek(size - 100)
        file.write(os.urandom(100))
    os.utime(path, ns=(OLD_NS, OLD_NS + 1))
    return path


def test_what_is_hashed_is_known_from_its_start(tmp_path: Path, ahead: HashesAhead) -> None:
    """As far as it was hashed, and then no further; what is small, or no file, is left alone."""
    files = [large(tmp_path / "sub" / "one", 3 * SEGMENT_BYTES + 12345), large(tmp_path / "two", MIN_BYTES)]
    (tmp_path / "small").write_bytes(b"x" * (MIN_BYTES - 1))
    (tmp_path / "link").symlink_to("two")
    settle(files[-1])
    see(ahead, tmp_path)
    assert ahead.advance()
    known = [ahead.leaves(Identity.of(file.stat())) for file in files]
    assert sum(map(len, known)) == SEGMENT_BYTES // leaf_bytes(SEGMENT_BYTES)
    while ahead.advance():
        pass
    assert [ahead.leaves(Identity.of(file.stat())) for file in files] == [leaves(file) for file in files]
    assert ahead.leaves(Identity.of((tmp_path / "small").stat())) == []
    ahead.stop()
    assert not ahead.advance()
    assert ahead.leaves(Identity.of(files[1].stat())) == leaves(files[1])


def test_another_state_of_a_file_is_not_known(tmp_path: Path, ahead: HashesAhead) -> None:
    """Who writes to it, with whatever time, makes another identity."""
    file = large(tmp_path / "one", MIN_BYTES)
    settle(file)
    see(ahead, tmp_path)
    while ahead.advance():
        pass
    with file.open("r+b") as writing:
        writing.write(b"changed")
    os.utime(file, ns=(OLD_NS, OLD_NS + 1))
    assert ahead.leaves(Identity.of(file.stat())) == []


def test_a_file_that_was_just_written_is_left_alone(tmp_path: Path, ahead: HashesAhead) -> None:
    """A write within the same step of the clock would not show."""
    file = large(tmp_path / "one", MIN_BYTES)
    later = 4_000_000_000 * 10**9
    os.utime(file, ns=(later, later))
    see(ahead, tmp_path)
    while ahead.advance():
        pass
    assert ahead.leaves(Identity.of(file.stat())) == []


def test_many_large_files_are_left_alone(tmp_path: Path, ahead: HashesAhead) -> None:
    """Most of them are likely to stay what they are."""
    files = [large(tmp_path / f"{number}", MIN_BYTES) for number in range(MAX_FILES + 1)]
    settle(files[-1])
    see(ahead, tmp_path)
    assert not ahead.advance()
    assert not any(ahead.leaves(Identity.of(file.stat())) for file in files)


def test_what_is_gone_or_shorter_is_left_to_others(tmp_path: Path, ahead: HashesAhead) -> None:
    """Whoever wants the file tells what is wrong with it."""
    files = [large(tmp_path / name, 2 * SEGMENT_BYTES) for name in ("gone", "short", "there")]
    settle(files[-1])
    see(ahead, tmp_path)
    files[0].unlink()
    os.truncate(files[1], 10)
    settle(files[1])
    while ahead.advance():
        pass
    assert ahead.leaves(Identity.of(files[2].stat())) == leaves(files[2])
