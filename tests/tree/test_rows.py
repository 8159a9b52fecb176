"""Packed rows: what goes in comes out, and nothing malformed is taken from a peer."""

from __future__ import annotations

import random
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync._native.columns import column, packed
from deltasync.tree.entry import Entry
from deltasync.tree.rows import Rows, Section, pack_sections, unpack_sections

NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: not set(name) & {0, 47} and name not in (b".", b"..") and name[:11] != b".deltasync~"
)
KINDS = st.sampled_from([stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """Entries of one directory, in order."""
    made: list[Entry] = []
    for name in sorted(draw(st.sets(NAMES, max_size=8))):
        kind = draw(KINDS)
        made.append(
            Entry(
                name,
                kind | draw(st.integers(0, 0o7777)),
                draw(st.integers(0, 2**63 - 1)) if kind == stat.S_IFREG else 0,
                draw(st.integers(-(2**63), 2**63 - 1)),
                draw(st.integers(0, 2**32 - 1)),
                draw(st.integers(0, 2**32 - 1)),
                draw(st.binary(min_size=1, max_size=9).filter(lambda target: 0 not in target)) if kind == stat.S_IFLNK else b"",
                draw(st.integers(0, 2**64 - 1)) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0,
                draw(st.integers(0, 2**40)) if kind != stat.S_IFDIR else 0,
            )
        )
    return made


def rows_of(made: list[Entry]) -> Rows:
    """Pack entries as a scan does."""
    links = [(index, entry.link_group) for index, entry in enumerate(made) if entry.link_group]
    return Rows(
        len(made),
        b"\0".join(entry.name for entry in made),
        packed("I", [entry.mode for entry in made]),
        packed("Q", [entry.size for entry in made]),
        packed("q", [entry.mtime_ns for entry in made]),
        packed("I", [entry.uid for entry in made]),
        packed("I", [entry.gid for entry in made]),
        b"\0".join(entry.target for entry in made if stat.S_ISLNK(entry.mode)),
        packed("Q", [entry.rdev for entry in made if entry.kind in (stat.S_IFCHR, stat.S_IFBLK)]),
        packed("I", [index for index, _ in links]),
        packed("Q", [group for _, group in links]),
    )


def section_of(made: list[Entry], path: bytes = b"a/b") -> Section:
    """A section with these entries."""
    return Section(path, Entry(b"", stat.S_IFDIR | 0o755, 0, -5, 1, 2), rows_of(made))


@given(entries(), entries())
def test_entries_survive(one: list[Entry], other: list[Entry]) -> None:
    """Packed and unpacked, sections and their entries are the same."""
    sections = [section_of(one), Section(b"", Entry(b"", stat.S_IFDIR, 0, 0, 0, 0), rows_of(other), False, False, True, True)]
    back = unpack_sections(pack_sections(sections))
    assert back == sections
    assert list(back[0].rows.entries()) == one
    regular = [index for index, entry in enumerate(one) if stat.S_ISREG(entry.mode)]
    assert back[0].rows.pick(regular) == [one[index]._replace(link_group=0) for index in regular]


def test_a_path_longer_than_its_short_length_field() -> None:
    """Paths of more than 65,534 bytes travel too."""
    path = b"/".join([b"d" * 255] * 400)
    section = section_of([], path)
    assert unpack_sections(pack_sections([section])) == [section]


def test_digests_belong_to_regular_files() -> None:
    """Digests are counted for regular files alone and come back by index."""
    made = [Entry(b"a", stat.S_IFDIR | 0o755, 0, 0, 0, 0), Entry(b"b", stat.S_IFREG | 0o644, 3, 0, 0, 0)]
    section = Section(b"", Entry(b"", stat.S_IFDIR, 0, 0, 0, 0), rows_of(made)._replace(digests=b"d" * 32))
    (back,) = unpack_sections(pack_sections([section]))
    assert back.rows.digest_map() == {1: b"d" * 32}


def plain(name: bytes, mode: int = stat.S_IFREG | 0o644, size: int = 0, target: bytes = b"") -> Entry:
    """An entry with little to it."""
    return Entry(name, mode, size, 0, 0, 0, target)


BAD = {
    "unsorted": [plain(b"b"), plain(b"a")],
    "twice": [plain(b"a"), plain(b"a")],
    "empty name": [plain(b"")],
    "dot": [plain(b".")],
    "dot dot": [plain(b"..")],
    "slash": [plain(b"a/b")],
    "long": [plain(b"n" * 256)],
    "reserved": [plain(b".deltasync~x")],
    "reserved later": [plain(b".a"), plain(b".deltasync~")],
    "unknown type": [plain(b"a", 0o644)],
    "mode too large": [plain(b"a", 0o300644)],
    "size too large": [plain(b"a", size=2**63)],
    "empty target": [plain(b"a", stat.S_IFLNK | 0o777)],
    "long target": [plain(b"a", stat.S_IFLNK | 0o777, target=b"t" * 4096)],
    "directory as link": [Entry(b"a", stat.S_IFDIR, 0, 0, 0, 0, link_group=1)],
}


@pytest.mark.parametrize("made", BAD.values(), ids=BAD.keys())
def test_illegal_rows_are_refused(made: list[Entry]) -> None:
    """Whatever a peer must not say about an entry is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011
        unpack_sections(pack_sections([section_of(made)]))


@pytest.mark.parametrize("path", [b"/", b"/etc", b"a//b", b"..", b"a/../b", b"a\0b", b"a/"])
def test_illegal_directories_are_refused(path: bytes) -> None:
    """A section of a directory that is no legal relative path is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011
        unpack_sections(pack_sections([section_of([], path)]))


@given(st.binary(max_size=200))
def test_noise_is_refused_or_taken_whole(noise: bytes) -> None:
    """Any bytes are either a chunk or a ValueError."""
    try:
        sections = unpack_sections(noise)
    except ValueError:
        return
    assert pack_sections(sections) == noise or sections


@given(entries(), st.randoms(use_true_random=False))
def test_damage_is_refused_or_harmless(made: list[Entry], rng: random.Random) -> None:
    """A chunk with a few changed bytes is a ValueError, or still holds legal names only."""
    chunk = bytearray(pack_sections([section_of(made)]))
    for _ in range(rng.randrange(1, 4)):
        chunk[rng.randrange(len(chunk))] = rng.randrange(256)
    try:
        sections = unpack_sections(bytes(chunk))
    except ValueError:
        return
    for section in sections:
        for entry in section.rows.entries():
            assert entry.name
            assert b"/" not in entry.name


def test_columns_are_little_endian() -> None:
    """The bytes of a column do not depend on the machine."""
    assert packed("I", [1, 0x01020304]) == bytes([1, 0, 0, 0, 4, 3, 2, 1])
    assert list(column("q", bytes([0xFF] * 8))) == [-1]
