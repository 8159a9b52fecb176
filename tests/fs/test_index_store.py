"""What becomes of the index when something is wrong with its database: everything works on, and at most one line is said."""

from __future__ import annotations

import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.delta.digest import leaf_bytes
from deltasync.fs import index_store, index_tables, landlock
from deltasync.fs.identity import Identity
from deltasync.fs.index import MIN_FILE_BYTES, Index, Remembered
from deltasync.fs.index_store import FILE_NAME
from tests.forked import NOBODY, in_child
from tests.sources import PROJECT

NOW: Final = 1_700_000_000_500_000_000
ONE: Final = Identity(2049, 7, MIN_FILE_BYTES, NOW - (1 << 40), NOW - (1 << 40))
OTHER: Final = ONE._replace(inode=8)
SUMS: Final = Remembered(1 << 15, bytes(range(128)), random.Random(1).randbytes(32 * 32))


def fresh(directory: Path, *, limit_bytes: int = 1 << 28) -> Index:
    """Open the index."""
    return Index(str(directory), clock=lambda: NOW, limit_bytes=limit_bytes)


def fill(directory: Path) -> Path:
    """Let the index in a directory know one file; returns the database."""
    with fresh(directory) as index:
        assert index.remember(ONE, SUMS, NOW)
    return directory / FILE_NAME


def use(directory: Path, *, limit_bytes: int = 1 << 28) -> str | None:
    """Find one file and remember another, as a run does; returns what there is to say."""
    with fresh(directory, limit_bytes=limit_bytes) as index:
        found = index.find(ONE)
        index.remember(OTHER, SUMS, NOW)
        index.find(OTHER)
    assert found is None or found.fits(ONE.size)
    return index.note


def works(directory: Path) -> bool:
    """Tell whether the index now remembers from one run to the next."""
    fill(directory)
    with fresh(directory) as index:
        return index.find(ONE) == SUMS


@contextmanager
def other_program(path: Path, *statements: str) -> Iterator[sqlite3.Connection]:
    """Hold the database as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection


# Damage ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"\xff" * 100_000, b"not a database, but a text of somebody, and a long one" * 100])
def test_a_damaged_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """It is renamed, with a line that says so, and another one is begun in the same run; the next run has nothing to say."""
    path = fill(tmp_path)
    path.write_bytes(content)
    note = use(tmp_path)
    assert note is not None
    assert str(path) in note
    assert "\n" not in note
    assert (tmp_path / f"{FILE_NAME}.damaged").read_bytes() == content
    with fresh(tmp_path) as index:
        assert index.find(OTHER) == SUMS
    assert index.note is None


def test_damage_found_when_writing_loses_nothing_new(tmp_path: Path) -> None:
    """What was to be written goes into the new database."""
    fill(tmp_path).write_bytes(b"\xff" * 100_000)
    with fresh(tmp_path) as index:
        index.remember(OTHER, SUMS, NOW)
    with fresh(tmp_path) as index:
        assert index.find(OTHER) == SUMS


def test_the_log_of_a_damaged_database_does_not_outlive_it(tmp_path: Path) -> None:
    """A log that was left behind by a process that was killed is not taken for that of the new database."""
    path = fill(tmp_path)

    def killed() -> None:
        index = Index(str(tmp_path), clock=lambda: NOW + (1 << 43))
        assert index.find(ONE) == SUMS
        index.flush()

    in_child(killed)
    assert (tmp_path / f"{FILE_NAME}-wal").stat().st_size > 0
    path.write_bytes(b"\xff" * 100_000)
    note = use(tmp_path)
    assert note is not None
    assert "damaged" in note
    with fresh(tmp_path) as index:
        assert index.find(OTHER) == SUMS
        assert index.find(ONE) is None
    assert index.note is None


def test_who_still_has_the_damaged_database_open_shares_nothing_with_the_new_one(tmp_path: Path) -> None:
    """The log and its index are other files from then on."""
    path = fill(tmp_path)
    log = (tmp_path / f"{FILE_NAME}-wal", tmp_path / f"{FILE_NAME}-shm")
    with other_program(path, "SELECT count(*) FROM files"):
        before = {file.stat().st_ino for file in log}
        path.write_bytes(b"\xff" * 100_000)
        with fresh(tmp_path) as index:
            index.remember(OTHER, SUMS, NOW)
            index.flush()
            assert before.isdisjoint({file.stat().st_ino for file in log})
    with fresh(tmp_path) as index:
        assert index.find(OTHER) == SUMS
    assert index.note is None


def test_who_comes_second_to_the_damage_takes_the_new_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another process has set aside and begun anew meanwhile is not set aside again."""
    path = fill(tmp_path)
    path.write_bytes(b"\xff" * 100_000)
    mend = index_store.Store._mend

    def slowly(store: index_store.Store, error: sqlite3.Error) -> bool:
        monkeypatch.setattr(index_store.Store, "_mend", mend)
        path.rename(tmp_path / "elsewhere")
        fill(tmp_path)
        return mend(store, error)

    monkeypatch.setattr(index_store.Store, "_mend", slowly)
    with fresh(tmp_path) as index:
        assert index.find(ONE) == SUMS
    assert index.note is None
    assert not (tmp_path / f"{FILE_NAME}.damaged").exists()


def test_damage_twice_in_one_run_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new database is found damaged too, the run goes on without."""

    def damaged(*_: object) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    fill(tmp_path)
    monkeypatch.setattr(index_tables, "find", damaged)
    monkeypatch.setattr(index_tables, "change", damaged)
    note = use(tmp_path)
    assert note is not None
    assert "malformed" in note


def test_a_complaint_that_is_no_text_is_one_of_damage(tmp_path: Path) -> None:
    """SQLite quotes a name of the schema that damage has made no text, which Python can't decode."""
    path = fill(tmp_path)
    with other_program(path, "PRAGMA writable_schema = ON", "UPDATE sqlite_master SET name = CAST(x'80' AS TEXT), sql = 'x'"):
        pass
    with closing(sqlite3.connect(path)) as connection, pytest.raises(UnicodeDecodeError):
        connection.execute("SELECT count(*) FROM files")
    note = use(tmp_path)
    assert note is not None
    assert "damaged" in note
    assert works(tmp_path)


@given(st.data())
def test_bytes_changed_or_lost_anywhere_are_no_obstacle(data: st.DataObject) -> None:
    """Whatever is overwritten, cut off or added, a run neither fails nor is given sums of a wrong length; at most the index stays off."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        path = fill(directory)
        content = bytearray(path.read_bytes())
        # Half of the places lie within the header, where it hurts most.
        places = st.one_of(st.integers(0, 200), st.integers(0, len(content) - 1))
        for at in data.draw(st.lists(places, max_size=8)):
            content[at] = data.draw(st.integers(0, 255))
        content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))] + data.draw(st.binary(max_size=64))
        path.write_bytes(content)
        # Room for one file, so that the other is evicted.
        use(directory, limit_bytes=2000)
        note = use(directory, limit_bytes=2000)
        with fresh(directory) as index:
            found = index.find(OTHER)
        assert found is not None or note is not None or index.note is not None


def test_rows_of_another_form_are_not_found(tmp_path: Path) -> None:
    """Sums that are too short, too long, text, or missing, are not given out; nor do strange uses matter."""
    path = fill(tmp_path)
    for change in (
        "UPDATE sums SET weak = substr(weak, 2)",
        "UPDATE sums SET digests = zeroblob(1025)",
        "UPDATE sums SET digests = printf('%01024d', 0)",
        "UPDATE sums SET weak = printf('%0128d', 0)",
        "DELETE FROM sums",
    ):
        assert works(tmp_path)
        with other_program(path, change), fresh(tmp_path) as index:
            assert index.find(ONE) is None
    assert works(tmp_path)
    for strange in ("text", b"\xff", 1 << 62, -1.5):
        with other_program(path) as connection, fresh(tmp_path) as index:
            connection.execute("UPDATE files SET used_ns = ?", (strange,))
            assert index.find(ONE) == SUMS
        assert index.note is None


# Others ------------------------------------------------------------------------------------------------------------------------------


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """It is neither changed nor renamed, and one line says what is in the way."""
    path = tmp_path / FILE_NAME
    with other_program(path, "CREATE TABLE theirs (x)"):
        pass
    path.chmod(0o600)
    before = path.read_bytes()
    note = use(tmp_path)
    assert note is not None
    assert "another program" in note
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


def test_tables_that_are_missing_turn_it_off(tmp_path: Path) -> None:
    """A database that bears the mark and lacks a table is given up with a line, not with a trace."""
    with other_program(fill(tmp_path), "DROP TABLE sums"):
        pass
    assert use(tmp_path) is not None


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """A file that was made and not filled, by a process that ended too early, is as good as none, and a look leaves it so."""
    path = tmp_path / FILE_NAME
    path.touch(0o600)
    with fresh(tmp_path) as index:
        assert index.find(ONE) is None
    assert path.stat().st_size == 0
    assert works(tmp_path)


def test_who_writes_does_not_keep_others_from_finding(tmp_path: Path) -> None:
    """While a process writes, another finds what was there before; what it would write itself is lost without a word."""
    path = fill(tmp_path)
    with other_program(path, "BEGIN IMMEDIATE", "DELETE FROM files") as writer:
        with fresh(tmp_path) as index:
            assert index.find(ONE) == SUMS
            index.remember(OTHER, SUMS, NOW)
        assert index.note is None
        writer.execute("ROLLBACK")
    with fresh(tmp_path) as index:
        assert index.find(ONE) == SUMS
        assert index.find(OTHER) is None


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    """After a batch met another writer, it is found in this run, and written with the next batch."""
    with other_program(fill(tmp_path), "BEGIN IMMEDIATE") as writer, fresh(tmp_path) as index:
        index.remember(OTHER, SUMS, NOW)
        index.flush()
        assert index.find(OTHER) == SUMS
        writer.execute("ROLLBACK")
        index.flush()
        with fresh(tmp_path) as another:
            assert another.find(OTHER) == SUMS


def test_the_last_batch_is_tried_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs that end at the same moment do not cost one of them what it learned."""
    change = index_tables.change

    def busy(*_: object) -> None:
        monkeypatch.setattr(index_tables, "change", change)
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    monkeypatch.setattr(index_tables, "change", busy)
    with fresh(tmp_path) as index:
        index.remember(OTHER, SUMS, NOW)
    with fresh(tmp_path) as index:
        assert index.find(OTHER) == SUMS


def test_what_waits_for_others_is_bounded(tmp_path: Path) -> None:
    """While others write on and on, at most 32 MiB of sums wait in memory, the newest; and no try is made with each file."""
    size = 1 << 32
    leaves = -(-size // leaf_bytes(size))
    large = Remembered(leaf_bytes(size), bytes(4 * leaves), bytes(32 * leaves))
    with other_program(fill(tmp_path), "BEGIN IMMEDIATE"), fresh(tmp_path) as index:
        for inode in range(24):
            index.remember(ONE._replace(inode=inode, size=size), large, NOW)
        found = [inode for inode in range(24) if index.find(ONE._replace(inode=inode, size=size))]
        assert found == list(range(24 - len(found), 24))
        assert 12 <= len(found) <= 18
        assert index._store._busy <= 6


def test_a_database_that_stays_locked_is_soon_given_up(tmp_path: Path) -> None:
    """A process that holds it for itself costs a few short waits in all, not one for each file, and no word."""
    path = fill(tmp_path)
    with (
        other_program(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "UPDATE files SET used_ns = 1"),
        fresh(tmp_path) as index,
    ):
        for inode in range(100):
            assert index.find(ONE._replace(inode=inode)) is None
        assert index._store.off
        assert index._store._busy == 16
    assert index.note is None


def test_another_thread_may_close(tmp_path: Path) -> None:
    """The thread that ends a session need not be the one that began it."""
    code = f"""
import threading
from deltasync.fs.index import Index, Remembered
from deltasync.fs.identity import Identity
index = Index({str(tmp_path)!r})
one = Identity(*{tuple(ONE)!r})
index.remember(one, Remembered(*{tuple(SUMS)!r}), {NOW})
index.flush()
thread = threading.Thread(target=index.close)
thread.start()
thread.join()
print(index.note)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    assert (result.stdout, result.stderr) == ("None\n", "")


def test_an_interruption_leaves_no_transaction_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal in the midst of writing goes through, and the index can be closed, with all that it was to write."""
    fill(tmp_path)
    evict = index_tables._evict

    def interrupted(*_: object) -> None:
        monkeypatch.setattr(index_tables, "_evict", evict)
        raise KeyboardInterrupt

    monkeypatch.setattr(index_tables, "_evict", interrupted)
    with fresh(tmp_path) as index:
        index.remember(OTHER, SUMS, NOW)
        with pytest.raises(KeyboardInterrupt):
            index.flush()
    assert index.note is None
    with fresh(tmp_path) as index:
        assert index.find(OTHER) == SUMS


# The place ---------------------------------------------------------------------------------------------------------------------------


def test_unsafe_places_are_refused(tmp_path: Path) -> None:
    """A directory or database that others may write to is not used, and the line says which; the file stays as it is."""
    home = tmp_path / "home"
    path = fill(home)
    before = path.read_bytes()
    for unsafe, right, wrong in ((home, 0o700, 0o777), (path, 0o600, 0o666)):
        unsafe.chmod(wrong)
        with fresh(home) as index:
            assert index.find(ONE) is None
            assert index.find(ONE) is None
        assert index.note is not None
        assert "others may write" in index.note
        assert use(home) == index.note
        unsafe.chmod(right)
    assert path.read_bytes() == before


def test_what_belongs_to_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a directory nor a database of another user is used."""
    fill(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    note = use(tmp_path)
    assert note is not None
    assert "another user" in note


@pytest.mark.parametrize("kind", ["nfs", "smb"])
def test_a_network_filesystem_is_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """SQLite's log can't be shared between machines: the line says what to set instead."""
    monkeypatch.setattr(index_store, "filesystem", lambda fd: kind)
    note = use(tmp_path)
    assert note is not None
    assert "DELTASYNC_HOME" in note
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_database_is_not_followed(tmp_path: Path) -> None:
    """What it leads to is left alone."""
    elsewhere = fill(tmp_path / "elsewhere")
    home = tmp_path / "home"
    home.mkdir(0o700)
    (home / FILE_NAME).symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    assert use(home) is not None
    assert elsewhere.read_bytes() == before


@pytest.mark.parametrize("name", ["a b", "a%20b", "a?mode=memory", "a#b", "ü", "\udcff"])
def test_any_name_of_a_directory_will_do(tmp_path: Path, name: str) -> None:
    """Names with a meaning in addresses, and those that are no text, are names here."""
    assert works(tmp_path / name)
    assert (tmp_path / name / FILE_NAME).stat().st_size > 0


def test_what_is_said_is_one_line_that_can_be_printed(tmp_path: Path) -> None:
    """Whatever the name of the directory holds."""
    home = tmp_path / "a\nb\udcff"
    fill(home).write_bytes(b"\xff" * 1000)
    damaged = use(home)
    (home / FILE_NAME).chmod(0o666)
    unsafe = use(home)
    for note in (damaged, unsafe):
        assert note is not None
        assert note.encode().isascii()
        assert note.isprintable()


@pytest.mark.needs("root")
@pytest.mark.parametrize("filled", [False, True])
def test_a_place_that_cannot_be_written_is_done_without(tmp_path: Path, filled: bool) -> None:
    """A read-only home is one line; nothing fails."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        home.mkdir(0o700)
        if filled:
            fill(home)
        for path in (home, *home.iterdir()):
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o400 if path.is_file() else 0o500)
        Path(name).chmod(0o755)
        note = in_child(lambda: use(home), uid=NOBODY)
    assert note is not None


def test_a_full_disk_is_done_without(tmp_path: Path) -> None:
    """When no more can be written, what was there stays, one line is said, and the next run finds the database whole."""
    path = fill(tmp_path)
    size = 1 << 28
    leaves = size >> 15
    large = Remembered(1 << 15, bytes(4 * leaves), bytes(32 * leaves))

    def full() -> str | None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50_000,) * 2)
        with fresh(tmp_path) as index:
            assert index.find(ONE) == SUMS
            index.remember(OTHER._replace(size=size), large, NOW)
        return index.note

    assert in_child(full) is not None
    with fresh(tmp_path) as index:
        assert index.find(ONE) == SUMS
        assert index.find(OTHER._replace(size=size)) is None
    assert index.note is None
    assert works(tmp_path)


def test_a_python_without_sqlite_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some builds lack the module: nothing is remembered there."""
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with fresh(tmp_path) as index:
        index.remember(OTHER, SUMS, NOW)
        index.flush()
        assert index.note is not None
        assert not index._pending, "nothing waits for what will never be"


def test_a_directory_that_goes_away_is_made_again(tmp_path: Path) -> None:
    """Whoever clears the state directory between two runs loses what was remembered, and no more."""
    home = tmp_path / "home"
    path = fill(home)
    path.unlink()
    home.rmdir()
    assert use(home) is None
    assert works(home)


@pytest.mark.skipif(not landlock.abi(), reason="needs landlock")
def test_no_other_directory_is_needed(tmp_path: Path) -> None:
    """A process that may write nowhere else remembers and replaces as any other, also where SQLite would have a file of its own."""
    large, leaves = ONE._replace(size=128 << 20), 4096

    def confined() -> list[str | None]:
        fd = os.open(tmp_path, os.O_PATH)
        landlock.restrict([landlock.Rule(fd, landlock.READ | landlock.WRITE)])
        notes: list[str | None] = []
        for round_number in range(4):
            with fresh(tmp_path / "state") as index:
                index.find(large)
                index.remember(large, Remembered(1 << 15, bytes([round_number]) * 4 * leaves, bytes(32 * leaves)), NOW)
                index.flush()
                notes.append(index.note)
        return notes

    assert in_child(confined) == [None] * 4
