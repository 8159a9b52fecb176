"""Filter rules as options, as lines of files and as they travel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.tree.rules import (
    CLEAR,
    MAX_PATTERN_BYTES,
    MAX_RULES,
    MAX_RULES_BYTES,
    UNSIDED,
    Clear,
    Rule,
    Side,
    check_amount,
    parse_lines,
    parse_option,
    rule_from_wire,
)
from tests.tree import strategies


def keep(pattern: bytes) -> Rule:
    """Return an include rule."""
    return Rule(include=True, pattern=pattern)


def drop(pattern: bytes) -> Rule:
    """Return an exclude rule."""
    return Rule(include=False, pattern=pattern)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a", [drop(b"a")]),
        (b"- a", [drop(b"a")]),
        (b"+ a", [keep(b"a")]),
        (b"-  a", [drop(b" a")]),
        (b"-a", [drop(b"-a")]),
        (b"-\ta", [drop(b"-\ta")]),
        (b"-", [drop(b"-")]),
        (b" a ", [drop(b" a ")]),
        (b"#a", [drop(b"#a")]),
        (b"", []),
        (b"!", [CLEAR]),
        (b"! ", [drop(b"! ")]),
        (b"!a", [drop(b"!a")]),
        (b"- !", [drop(b"!")]),
    ],
)
def test_an_option_is_read_as_rsync_reads_it(text: bytes, expected: list[Rule | Clear]) -> None:
    """A sign and a space override, an exclamation mark alone clears, and everything else is a pattern to the last space."""
    assert parse_option(text, include=False) == expected


def test_an_include_without_sign_keeps() -> None:
    """The option says what a pattern without sign is."""
    assert parse_option(b"a", include=True) == [keep(b"a")]
    assert parse_option(b"- a", include=True) == [drop(b"a")]


@pytest.mark.parametrize("text", [b"- ", b"+ ", b"a" * (MAX_PATTERN_BYTES + 1), b"- " + b"a" * (MAX_PATTERN_BYTES + 1), b"a\0b"])
def test_what_is_no_pattern_is_refused(text: bytes) -> None:
    """A sign without pattern, a pattern that is too long, a NUL byte."""
    with pytest.raises(ValueError, match=r"filter (rule|pattern)"):
        parse_option(text, include=False)


def test_lines_end_as_on_any_system_and_comments_are_skipped() -> None:
    """LF, CR and both end a line; `;` and `#` count at its very beginning only; white space belongs to the pattern."""
    data = b"a\r\nb\rc\n\n; no\n#no\n ;yes\nd \n+ e\n!\n- ;f"
    expected = [drop(b"a"), drop(b"b"), drop(b"c"), drop(b" ;yes"), drop(b"d "), keep(b"e"), CLEAR, drop(b";f")]
    assert parse_lines(data, include=False) == expected


def test_a_bad_line_is_named_but_not_shown() -> None:
    """The error says which line; what the file holds is nobody else's business."""
    with pytest.raises(ValueError, match=r"^line 3: ") as caught:
        parse_lines(b"a\n# b\nsecret\0\n", include=False)
    assert "secret" not in str(caught.value)


SIDES = st.sampled_from([UNSIDED, Side.SENDER, Side.RECEIVER, Side.SENDER | Side.RECEIVER])


BOOLS = st.booleans()
RULES = st.builds(
    Rule, BOOLS, strategies.patterns, negated=BOOLS, perishable=BOOLS, side=SIDES, absolute=BOOLS, base=st.just(b""), origin=st.none()
)


@given(st.lists(RULES))
def test_rules_travel(sent: list[Rule]) -> None:
    """What is received is what was sent."""
    assert [rule_from_wire(rule.wire) for rule in sent] == sent


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-",
        b"- ",
        b"+ ",
        b"a",
        b"! ",
        b"-a",
        b"P a",
        b"-x a",
        b"-rs a",
        b"-ss a",
        b"-s",
        b"- a\0",
        b"- " + b"a" * (MAX_PATTERN_BYTES + 1),
    ],
)
def test_a_malformed_rule_of_the_peer_is_refused(text: bytes) -> None:
    """Nothing but the two signs and a pattern is accepted from the peer."""
    with pytest.raises(ValueError, match="filter"):
        rule_from_wire(text)


def test_the_number_and_size_of_rules_are_limited() -> None:
    """A peer can't send more than is stated, and neither can the user."""
    check_amount([3] * MAX_RULES)
    with pytest.raises(ValueError, match="65537 filter rules"):
        check_amount([3] * (MAX_RULES + 1))
    check_amount([MAX_RULES_BYTES])
    with pytest.raises(ValueError, match="together"):
        check_amount([MAX_RULES_BYTES, 1])
