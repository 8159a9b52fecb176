"""What the index remembers of files, for whom, and for how long."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.delta.digest import leaf_bytes
from deltasync.fs.identity import Identity, look
from deltasync.fs.index import MIN_FILE_BYTES, Index, Remembered
from deltasync.fs.index_store import FILE_NAME
from tests.forked import in_child
from tests.sources import PROJECT

NOW: Final = 1_700_000_000_500_000_000
HOUR: Final = 3600 * 1_000_000_000
OLD: Final = Identity(2049, 7, MIN_FILE_BYTES, NOW - HOUR, NOW - HOUR)
"""A file that is worth a row, and old enough to vouch for its content at `NOW`."""


def sums(size: int = MIN_FILE_BYTES, seed: int = 0) -> Remembered:
    """Make up the checksums of a file."""
    leaves = -(-size // leaf_bytes(size))
    chance = random.Random(f"{size} {seed}")
    return Remembered(leaf_bytes(size), chance.randbytes(4 * leaves), chance.randbytes(32 * leaves))


def of_inode(inode: int) -> Identity:
    """Make up a file."""
    return OLD._replace(inode=inode)


@contextmanager
def opened(directory: Path, *, now_ns: int = NOW, limit_bytes: int = 1 << 28) -> Iterator[Index]:
    """Open the index at some hour."""
    with Index(str(directory), clock=lambda: now_ns, limit_bytes=limit_bytes) as index:
        yield index
        assert index.note is None


def known(directory: Path, inodes: range) -> set[int]:
    """Look which files are remembered, through a fresh opening, and that it is theirs what is remembered."""
    with opened(directory) as index:
        found = {inode: index.find(of_inode(inode)) for inode in inodes}
    assert all(row == sums(seed=inode) for inode, row in found.items() if row is not None)
    return {inode for inode, row in found.items() if row is not None}


def test_what_is_remembered_is_found_now_and_later(tmp_path: Path) -> None:
    """It is found in the same run, before and after it is written, and in the next one; until then nothing is known."""
    with opened(tmp_path) as index:
        assert index.find(OLD) is None
        assert index.remember(OLD, sums(), NOW)
        assert index.find(OLD) == sums()
        index.flush()
        assert index.find(OLD) == sums()
    with opened(tmp_path) as index:
        assert index.find(OLD) == sums()


identities = st.builds(
    Identity,
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 64) - 1),
    st.integers(MIN_FILE_BYTES, 1 << 26),
    st.integers(-1 << 63, NOW - HOUR),
    st.integers(-1 << 63, NOW - HOUR),
)


@given(st.lists(identities, min_size=1, max_size=5), st.lists(identities, max_size=5), st.booleans())
def test_any_identity_is_kept_apart_from_any_other(kept: list[Identity], others: list[Identity], flush: bool) -> None:
    """Numbers of the full range come back; of one device and inode only the last state is known, and of what was not kept nothing."""
    with tempfile.TemporaryDirectory() as directory, opened(Path(directory)) as index:
        for seed, identity in enumerate(kept):
            assert index.remember(identity, sums(identity.size, seed), NOW)
        if flush:
            index.flush()
        last = {identity[:2]: (identity, seed) for seed, identity in enumerate(kept)}
        for identity in [*kept, *others]:
            wanted, seed = last.get(identity[:2], (None, 0))
            assert index.find(identity) == (sums(identity.size, seed) if identity == wanted else None)


@pytest.mark.parametrize("field", Identity._fields)
@pytest.mark.parametrize("flushed", [False, True])
def test_a_changed_identity_is_not_found(tmp_path: Path, field: str, flushed: bool) -> None:
    """Each part of the identity counts, in memory and on disk."""
    with opened(tmp_path) as index:
        index.remember(OLD, sums(), NOW)
        if flushed:
            index.flush()
        assert index.find(OLD._replace(**{field: getattr(OLD, field) + 1})) is None


@pytest.mark.parametrize(
    "identity",
    [
        OLD._replace(size=MIN_FILE_BYTES - 1),
        OLD._replace(device=1 << 64),
        OLD._replace(inode=-1),
        OLD._replace(mtime_ns=-(1 << 63) - 1),
    ],
)
def test_what_is_not_worth_a_row_gets_none(tmp_path: Path, identity: Identity) -> None:
    """A file under 1 MiB, or one with numbers that no system gives, is neither kept nor looked for."""
    with opened(tmp_path) as index:
        assert not index.remember(identity, sums(identity.size), NOW)
        assert index.find(identity) is None
        index.forget(identity)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        sums()._replace(leaf_bytes=1 << 16),
        sums()._replace(weak=sums().weak[4:]),
        sums()._replace(digests=sums().digests + bytes(32)),
        sums(2 * MIN_FILE_BYTES),
    ],
)
def test_sums_of_another_form_are_refused(tmp_path: Path, wrong: Remembered) -> None:
    """A defect of the caller does not reach the disk."""
    with opened(tmp_path) as index, pytest.raises(ValueError, match="checksums"):
        index.remember(OLD, wrong, NOW)


def test_what_proved_wrong_is_forgotten(tmp_path: Path) -> None:
    """It is not found again, in this run or the next, before it is remembered anew; other files stay."""
    with opened(tmp_path) as index:
        for inode in range(3):
            index.remember(of_inode(inode), sums(seed=inode), NOW)
        index.flush()
        index.forget(of_inode(0))
        index.forget(of_inode(1))
        assert index.find(of_inode(0)) is None
        index.remember(of_inode(1), sums(seed=1), NOW)
        assert index.find(of_inode(1)) == sums(seed=1)
        index.remember(of_inode(5), sums(seed=5), NOW)
        index.forget(of_inode(5))
        assert index.find(of_inode(5)) is None
    assert known(tmp_path, range(6)) == {1, 2}


# The racy rule -----------------------------------------------------------------------------------------------------------------------


class CoarseFile:
    """A file on a filesystem whose clock moves in steps."""

    def __init__(self, step_ns: int) -> None:
        self.step_ns = step_ns
        self.now_ns = NOW
        self.content = 0
        self.mtime_ns = self.ctime_ns = 0
        self.write()

    def write(self) -> None:
        """Change the content, and with it the times."""
        self.content += 1
        self.mtime_ns = self.ctime_ns = self.now_ns // self.step_ns * self.step_ns

    def antedate(self) -> None:
        """Set the mtime back to what it was long ago, as `touch -d` and archivers do."""
        self.mtime_ns = (NOW - HOUR) // self.step_ns * self.step_ns
        self.ctime_ns = self.now_ns // self.step_ns * self.step_ns

    @property
    def identity(self) -> Identity:
        """What stat shows."""
        return Identity(1, 2, MIN_FILE_BYTES, self.mtime_ns, self.ctime_ns)

    def read(self, index: Index, meanwhile: Callable[[], None]) -> None:
        """Read it between two looks, and remember it if they agree."""
        at_ns, before = self.now_ns, self.identity
        content = self.content
        meanwhile()
        if self.identity == before:
            index.remember(before, sums(seed=content), at_ns)


steps = st.sampled_from([1, 1_000_000, 4_000_000, 10_000_000, 1_000_000_000, 2_000_000_000])
waits = st.one_of(st.integers(0, 1000), st.integers(0, 20_000_000), st.integers(0, 5_000_000_000))


@given(steps, st.lists(st.tuples(st.sampled_from(["write", "antedate", "read", "write while reading", "flush"]), waits), max_size=30))
def test_no_write_is_missed_however_coarse_the_clock(step_ns: int, acts: list[tuple[str, int]]) -> None:
    """Whatever is written when, the index never gives what the file no longer holds."""
    file = CoarseFile(step_ns)
    with tempfile.TemporaryDirectory() as directory, opened(Path(directory)) as index:
        for act, wait_ns in acts:
            file.now_ns += wait_ns
            match act:
                case "write":
                    file.write()
                case "antedate":
                    file.antedate()
                case "read":
                    file.read(index, lambda: None)
                case "write while reading":
                    file.read(index, file.write)
                case _:
                    index.flush()
            assert index.find(file.identity) in (None, sums(seed=file.content))


@pytest.mark.parametrize("step_ns", [4_000_000, 1_000_000_000, 2_000_000_000])
def test_two_writes_within_one_step(tmp_path: Path, step_ns: int) -> None:
    """A file read between two writes of one step of the clock has one identity for two contents, and so no row; later it has one."""
    file = CoarseFile(step_ns)
    first = file.identity
    with opened(tmp_path) as index:
        file.read(index, lambda: None)
        file.now_ns += 1000
        file.write()
        assert file.identity == first
        assert index.find(file.identity) is None
        file.now_ns += 3_000_000_000
        file.read(index, lambda: None)
        assert index.find(file.identity) == sums(seed=file.content)


def test_a_real_file_needs_a_moment(tmp_path: Path) -> None:
    """A file just written is not remembered; by a clock that is ten seconds on, it is, until it is written again."""
    path = tmp_path / "file"
    path.write_bytes(bytes(MIN_FILE_BYTES))
    fd = os.open(path, os.O_RDWR)
    with Index(str(tmp_path / "home")) as index:
        fresh = look(fd)
        assert not index.remember(fresh.identity, sums(), fresh.at_ns)
        settled = look(fd, clock=lambda: max(path.stat().st_mtime_ns, path.stat().st_ctime_ns) + 1_000_000_000_000)
        assert index.remember(settled.identity, sums(), settled.at_ns)
        assert index.find(look(fd).identity) == sums()
        os.truncate(fd, MIN_FILE_BYTES + 1)
        assert index.find(look(fd).identity) is None
    os.close(fd)


# What it costs -----------------------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_or_made_before_it_is_needed(tmp_path: Path) -> None:
    """Neither the import nor a look without anything to find loads SQLite or makes a file; remembering does, at the end."""
    code = f"""
import sys
from deltasync.fs.index import Index, Remembered
from deltasync.fs.identity import Identity
index = Index({str(tmp_path / "home")!r})
assert index.find(Identity(*{tuple(OLD)!r})) is None
index.flush()
print("sqlite3" in sys.modules)
index.remember(Identity(*{tuple(OLD)!r}), Remembered(*{tuple(sums())!r}), {NOW})
print("sqlite3" in sys.modules)
index.close()
print("sqlite3" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    assert result.stdout.split() == ["False", "False", "True"]
    with opened(tmp_path / "home") as index:
        assert index.find(OLD) == sums()


def test_a_run_that_only_finds_writes_nothing(tmp_path: Path) -> None:
    """Within the hour a use is not noted: the file stays as it is, byte by byte; after it, it is."""
    with opened(tmp_path) as index:
        index.remember(OLD, sums(), NOW)
    file = tmp_path / FILE_NAME
    before = file.read_bytes(), file.stat().st_mtime_ns
    for now_ns, same in ((NOW, True), (NOW + HOUR, True), (NOW + HOUR + 1, False), (NOW - 1, False)):
        with opened(tmp_path, now_ns=now_ns) as index:
            assert index.find(OLD) == sums()
        assert ((file.read_bytes(), file.stat().st_mtime_ns) == before) is same
        before = file.read_bytes(), file.stat().st_mtime_ns


def test_a_find_is_one_statement_that_goes_straight_to_its_row(tmp_path: Path) -> None:
    """No scan: among many rows, one indexed statement finds one, and what is missing as well."""
    with opened(tmp_path) as index:
        for inode in range(200):
            index.remember(of_inode(inode), sums(seed=inode), NOW)
        index.flush()
        connection = index._store._connection
        assert connection is not None
        ran: list[str] = []
        connection.set_trace_callback(ran.append)
        assert index.find(of_inode(150)) == sums(seed=150)
        assert index.find(of_inode(1000)) is None
        connection.set_trace_callback(None)
        assert len(ran) == 2
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {ran[0]}")]
        assert len(plan) == 2
        assert all(step.startswith("SEARCH ") for step in plan)


def test_a_long_run_writes_as_it_goes(tmp_path: Path) -> None:
    """What has gathered is written at 8 MiB, so that memory stays bounded and others can use it."""
    size = 1 << 32
    with opened(tmp_path) as index:
        for inode in range(7):
            index.remember(of_inode(inode)._replace(size=size), sums(size, inode), NOW)
        with opened(tmp_path) as other:
            found = [inode for inode in range(7) if other.find(of_inode(inode)._replace(size=size)) == sums(size, inode)]
        assert found == [0, 1, 2, 3]


# What stays --------------------------------------------------------------------------------------------------------------------------


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    """Over the limit the oldest uses are evicted; a row that is found or remembered again counts as used, and the newest stay."""
    limit = 32 * 36 * 20
    for inode in range(15):
        with opened(tmp_path, now_ns=NOW + inode * 2 * HOUR, limit_bytes=limit) as index:
            index.remember(of_inode(inode), sums(seed=inode), NOW)
    with opened(tmp_path, now_ns=NOW + 100 * HOUR, limit_bytes=limit) as index:
        assert index.find(of_inode(0)) == sums(seed=0)
        index.remember(of_inode(1), sums(seed=1), NOW)
    with opened(tmp_path, now_ns=NOW + 110 * HOUR, limit_bytes=limit) as index:
        for inode in range(15, 20):
            index.remember(of_inode(inode), sums(seed=inode), NOW)
    left = known(tmp_path, range(20))
    assert left == {0, 1, *range(20 - len(left) + 2, 20)}
    assert 12 <= len(left) <= 16


def test_the_file_does_not_grow_with_what_was_evicted(tmp_path: Path) -> None:
    """Ten times the limit, and every file in ten states, later, it takes not much more room than the limit."""
    limit = 1 << 20
    for state in range(10):
        with opened(tmp_path, now_ns=NOW + state, limit_bytes=limit) as index:
            for inode in range(40):
                size = 32 << 20
                index.remember(of_inode(inode)._replace(size=size, mtime_ns=state), sums(size, inode), NOW)
                index.flush()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2 * limit
    with opened(tmp_path) as index:
        assert index.find(of_inode(39)._replace(size=32 << 20, mtime_ns=9)) == sums(32 << 20, 39)


def test_it_is_private(tmp_path: Path) -> None:
    """Directory and files, the log too, are for this user alone, whatever the umask."""
    home = tmp_path / "home"
    before = os.umask(0)
    try:
        with opened(home) as index:
            index.remember(OLD, sums(), NOW)
            index.flush()
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    finally:
        os.umask(before)
    assert modes == {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600, f"{FILE_NAME}-shm": 0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_without_a_place_nothing_is_remembered() -> None:
    """None as directory is an index that knows nothing, keeps nothing and complains of nothing."""
    with Index(None) as index:
        assert not index.remember(OLD, sums(), NOW)
        assert index.find(OLD) is None
        index.forget(OLD)
    assert index.note is None


def test_nothing_happens_after_the_end(tmp_path: Path) -> None:
    """A closed index finds and keeps nothing; closing again does nothing."""
    with opened(tmp_path) as index:
        index.remember(OLD, sums(), NOW)
    assert index.find(OLD) is None
    assert not index.remember(OLD, sums(), NOW)
    index.close()
    assert index.note is None


def test_several_processes_at_once(tmp_path: Path) -> None:
    """Four processes that begin on nothing, and find and remember in many short runs: no error, no wrong row, hardly any lost."""
    children = []
    for part in range(4):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                inodes = range(100 * part, 100 * part + 25)
                for inode in inodes:
                    with opened(tmp_path) as index:
                        index.remember(of_inode(inode), sums(seed=inode), NOW)
                        for other in range(inode % 100, 400, 100):
                            assert index.find(of_inode(other)) in (None, sums(seed=other))
                os.write(writer, bytes([len(known(tmp_path, inodes))]))
            finally:
                os._exit(0)
        os.close(writer)
        children.append((child, reader))
    told = []
    for child, reader in children:
        told.append(os.read(reader, 1))
        os.close(reader)
        os.waitpid(child, 0)
    assert all(told), "a child failed"
    assert len(known(tmp_path, range(400))) == sum(count[0] for count in told) > 80
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_it_may_be_closed_by_another_process_than_wrote(tmp_path: Path) -> None:
    """A process that ends without closing leaves what it flushed, and nothing in the way."""

    def abandoned() -> None:
        index = Index(str(tmp_path), clock=lambda: NOW)
        index.remember(of_inode(1), sums(seed=1), NOW)
        index.flush()
        index.remember(of_inode(2), sums(seed=2), NOW)

    in_child(abandoned)
    assert known(tmp_path, range(4)) == {1}
