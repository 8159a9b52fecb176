"""Whose files become whose: pairs read and matched."""

from __future__ import annotations

import pytest

from deltasync.tree.owner_map import MAX_PAIRS, find, parse_owner_map


@pytest.mark.parametrize(
    ("number", "name", "to"),
    [
        (5, b"", b"low"),
        (99, b"usr", b"low"),
        (100, b"wayne", b"admin"),
        (100, b"www-d", b"web"),
        (100, b"", b"nobody"),
        (100, b"x", None),
    ],
)
def test_the_first_pair_that_matches_counts(number: int, name: bytes, to: bytes | None) -> None:
    """Numbers by number, names by name or pattern, the empty one for what has no name."""
    assert find(parse_owner_map(b"0-99:low,wayne:admin,www*:web,:nobody"), number, name) == to


def test_a_star_matches_everything() -> None:
    """Also what has no name."""
    pairs = parse_owner_map(b"*:1")
    assert {find(pairs, 7, name) for name in (b"", b"a", b"a b")} == {b"1"}


@pytest.mark.parametrize("text", ["a", "a:", "9-1:x", "1x:y", "1-:y", "a:b:c", "99999999999:x", "[:x", "a:b,"])
def test_what_is_no_map(text: str) -> None:
    """It is named."""
    with pytest.raises(ValueError, match=r".+"):
        parse_owner_map(text.encode())


def test_there_is_an_end_to_it() -> None:
    """A map from a peer is bounded."""
    with pytest.raises(ValueError, match="more than"):
        parse_owner_map(b",".join([b"1:2"] * (MAX_PAIRS + 1)))
    assert parse_owner_map(b"") == ()
