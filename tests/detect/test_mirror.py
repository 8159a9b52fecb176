"""What the sender remembers of the peer."""

from __future__ import annotations

import stat

import pytest

from deltasync.detect.mirror import Mirror, rows_of, same_file
from deltasync.tree.entry import Entry
from deltasync.tree.rows import Rows, Section

OWN = Entry(b"", stat.S_IFDIR | 0o755, 0, 0, 0, 0)


def entry(name: bytes, *, kind: int = stat.S_IFREG, size: int = 3) -> Entry:
    """An entry of some type."""
    return Entry(name, kind | 0o644, size, 5, 0, 0)


@pytest.fixture
def mirror() -> Mirror:
    """A peer that holds `d/f` and `g`."""
    made = Mirror()
    made.record(Section(b"", OWN, Rows.of([entry(b"d", kind=stat.S_IFDIR), entry(b"g")])), [1, 2])
    made.record(Section(b"d", OWN, Rows.of([entry(b"f")])), [3])
    return made


def test_an_entry_in_anothers_place_is_told_by_its_inode() -> None:
    """Rows of equal attributes differ by the inode, and only those of one inode are of one file."""
    rows = Rows.of([entry(b"a")])
    [(_, one)], [(_, other)] = rows_of(rows, [7]), rows_of(rows, [8])
    [(_, grown)] = rows_of(Rows.of([entry(b"a", size=9)]), [7])
    assert one != other
    assert not same_file(one, other)
    assert one != grown
    assert same_file(one, grown)


def test_a_renamed_directory_takes_along_what_is_in_it(mirror: Mirror) -> None:
    """A rename moves all that is beneath; one that the peer can't do changes nothing."""
    assert mirror.rename(b"d", b"e/d")
    assert {*mirror.paths()} == {b"e/d/f", b"e/d", b"g", b"e"}
    assert not mirror.rename(b"e", b"e/d/e")
    assert not mirror.rename(b"absent", b"x")


def test_doubt_has_an_entry_differ_from_whatever_is_found(mirror: Mirror) -> None:
    """What is doubted is still known to be there, as what it was, and equals nothing."""
    before = mirror.row(b"g")
    assert before is not None
    mirror.doubt(b"g")
    doubted = mirror.row(b"g")
    assert doubted is not None
    assert doubted != before
    assert not same_file(doubted, before)
    assert mirror.kind(b"g") == stat.S_IFREG


def test_what_was_sent_in_a_session_that_broke_off_is_not_forgotten(mirror: Mirror) -> None:
    """What the peer may have by one of several sessions, and the source has no more, is lost; by whichever name it may have it."""
    broken = Mirror()
    broken.record(Section(b"", OWN, Rows.of([entry(b"h")])), [4])
    broken.rename(b"h", b"i")
    mirror.owe(broken)
    now = Mirror()
    now.record(Section(b"", OWN, Rows.of([entry(b"g")])), [2])
    assert mirror.lost(now) == [b"d/f", b"d", b"h", b"i"]


def test_a_file_that_was_read_as_another_than_was_listed_is_doubted(mirror: Mirror) -> None:
    """By size, time or inode, or because it could not be read; as it was listed it is not."""
    row = mirror.row(b"g")
    mirror.saw(b"g", 3, 5, 2)
    mirror.saw(b"g", 3, 5, None)
    mirror.saw(b"absent", 3, 5, 2)
    assert mirror.row(b"g") == row
    for size, mtime_ns, inode in ((4, 5, 2), (3, 6, 2), (3, 5, 9), (-1, 0, None)):
        made = Mirror()
        made.record(Section(b"", OWN, Rows.of([entry(b"g")])), [2])
        made.saw(b"g", size, mtime_ns, inode)
        assert made.row(b"g") != row
        assert made.kind(b"g") == stat.S_IFREG


def test_a_directory_is_known_as_it_was_told(mirror: Mirror) -> None:
    """Its own attributes, of the root too."""
    assert mirror.has_own(b"", OWN)
    assert mirror.has_own(b"d", OWN)
    assert not mirror.has_own(b"d", OWN._replace(mtime_ns=1))
    assert not mirror.has_own(b"absent", OWN)


def test_the_names_of_a_file_are_known_by_each_of_them(mirror: Mirror) -> None:
    """Also by one that is gone; and what was listed or forgotten of such files is told once."""
    mirror.link(b"d/f", 3)
    mirror.link(b"other", 3)
    assert mirror.met() == {b"d/f", b"other"}
    assert mirror.met() == set()
    mirror.forget(b"d")
    assert mirror.met() == {b"d/f", b"other"}
    assert mirror.names_with(b"d/f") == {b"d/f", b"other"}
    assert mirror.names_with(b"g") == set()


def test_a_directory_that_is_gone_is_not_known_by_what_is_listed_of_it(mirror: Mirror) -> None:
    """It was still open when it was listed; a rename into its place makes it anew, and then it is known."""
    mirror.forget(b"d")
    mirror.record(Section(b"d", OWN, Rows.of([]), partial=True), [])
    mirror.record(Section(b"g", OWN, Rows.of([entry(b"f")]), partial=True), [4])
    assert mirror.directory(b"d") is None
    assert mirror.directory(b"g") is None
    assert mirror.rename(b"g", b"d/g")
    assert mirror.kind(b"d") == stat.S_IFDIR
    assert mirror.forget(b"d") == [b"d/g", b"d"]
