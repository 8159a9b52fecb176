"""Names and paths: what is legal, and how they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.tree.names import check_name, check_path, is_reserved, join, shown, split
from deltasync.tree.sources import CONTENTS, SourcePlace, source_place, top_names


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b", b"n" * 256])
def test_illegal_names(name: bytes) -> None:
    """What is not one component is refused."""
    with pytest.raises(ValueError, match="illegal name"):
        check_name(name)


@given(st.binary(min_size=1, max_size=255).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b"..")))
def test_legal_names(name: bytes) -> None:
    """Everything that Linux allows is allowed, and joins and splits."""
    assert check_name(name) == name
    path = check_path(join(b"a/b", name))
    assert split(path) == (b"a/b", name)
    assert join(b"", name) == name


def test_a_path_has_a_limit() -> None:
    """A path beyond the limit is refused before its parts are looked at."""
    with pytest.raises(ValueError, match="limit"):
        check_path(b"a/" * (1 << 17) + b"a/a")


def test_reserved() -> None:
    """Only names that begin with the prefix are the receiver's own."""
    assert is_reserved(b".deltasync~s1")
    assert not is_reserved(b"x.deltasync~")


@given(st.binary(max_size=60))
def test_shown_is_one_harmless_line(path: bytes) -> None:
    """Nothing that moves a cursor or breaks a line comes through."""
    text = shown(path)
    assert text.isprintable() or all(character.isprintable() or ord(character) > 0x9F for character in text)
    assert "\n" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (b"src", SourcePlace(b".", b"src")),
        (b"src/", SourcePlace(b"src/", CONTENTS)),
        (b"a/src", SourcePlace(b"a", b"src")),
        (b"a/src/.", SourcePlace(b"a/src/.", CONTENTS)),
        (b"/", SourcePlace(b"/", CONTENTS)),
        (b"/etc", SourcePlace(b"/", b"etc")),
        (b".", SourcePlace(b".", CONTENTS)),
        (b"a/..", SourcePlace(b"a/..", CONTENTS)),
        (b"", SourcePlace(b".", CONTENTS)),
        (b"~", SourcePlace(b"~", CONTENTS)),
        (b"~/x", SourcePlace(b"~", b"x")),
    ],
)
def test_sources(path: bytes, place: SourcePlace) -> None:
    """A trailing slash means the contents, as in rsync."""
    assert source_place(path) == place


def test_top_names_are_told_once() -> None:
    """Several sources of one name are one name."""
    assert top_names((b"a/x", b"b/x", b"c/")) == (b"x", CONTENTS)
