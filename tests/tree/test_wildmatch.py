"""Wildcards: tables of what rsync's matcher does, and automaton and expressions against the slow reference."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.tree.automaton import Automaton, bits_of
from deltasync.tree.wildmatch import literal, name_expression, parse
from tests.tree import reference, strategies

ALL = bytes(byte for byte in range(1, 256) if byte != ord("/"))


def holds(pattern: bytes, text: bytes) -> bool:
    """Match by the automaton, and make sure that the expression agrees where it may be asked."""
    tokens = parse(pattern)
    if tokens is None:
        return False
    automaton = Automaton([tokens])
    found = automaton.run(automaton.states([0]), text) >> len(tokens) & 1 == 1
    if b"/" not in text:
        assert (re.match(rb"(?:%b)\Z" % name_expression(tokens), text, re.DOTALL) is not None) == found
    return found


def members(pattern: bytes) -> bytes:
    """Return all single bytes that a pattern matches."""
    return bytes(byte for byte in range(1, 256) if holds(pattern, bytes([byte])))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"[a-c]", b"abc"),
        (b"[!a-c]", bytes(set(ALL) - set(b"abc"))),
        (b"[^a-c]", bytes(set(ALL) - set(b"abc"))),
        (b"[]a]", b"]a"),
        (b"[]-a]", b"]^_`a"),
        (b"[!]a]", bytes(set(ALL) - set(b"]a"))),
        (b"[a-]", b"-a"),
        (b"[-a]", b"-a"),
        (b"[a-c-e]", b"-abce"),
        (b"[c-a]", b"c"),
        (b"[a--]", b"a"),
        (b"[+--]", b"+,-"),
        (b"[--0]", b"-.0"),
        (b"[\\]a]", b"]a"),
        (b"[\\a-\\c]", b"abc"),
        (b"[a\\-z]", b"-az"),
        (b"[[:digit:]-a]", b"-a0123456789"),
        (b"[a[:digit:]b]", b"ab0123456789"),
        (b"[[:alpha:][:digit:]]", b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
        (b"[[:xdigit:]]", b"0123456789abcdefABCDEF"),
        (b"[[:space:]]", b" \t\n\r\v\f"),
        (b"[[:blank:]]", b" \t"),
        (b"[[:cntrl:]]", bytes([*range(1, 32), 127])),
        (b"[[:punct:]]", b"!\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~"),
        (b"[[:print:]]", bytes(set(range(32, 127)) - {47})),
        (b"[[:graph:]]", bytes(set(range(33, 127)) - {47})),
        (b"[[:lower:]]", b"abcdefghijklmnopqrstuvwxyz"),
        (b"[[:upper:]]", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        (b"[[:a]", b":[a"),
        (b"[[:]", b":["),
        (b"[[-a]", b"[\\]^_`a"),
        (b"[^^]", bytes(set(ALL) - set(b"^"))),
        (b"[!!]", bytes(set(ALL) - set(b"!"))),
        (b"[a^]", b"^a"),
        (b"[\x80-\xff]", bytes(range(128, 256))),
        (b"[\x01-\xff]", ALL),
        (b"[!\x01-\xff]", b""),
        (b"[/]", b""),
        (b"[*]", b"*"),
        (b"?", ALL),
        (b"*", ALL),
        (b"**", ALL + b"/"),
        (b"\\*", b"*"),
        (b"\\a", b"a"),
    ],
)
def test_what_a_pattern_for_one_byte_matches(pattern: bytes, expected: bytes) -> None:
    """Each kind of class, as it was tried with the binary for every byte."""
    assert set(members(pattern)) == set(expected)


@pytest.mark.parametrize(
    "pattern",
    [
        *(b"[a", b"[", b"[]", b"[!", b"[!]", b"[\\", b"[a\\", b"[a\\]", b"[a-\\", b"a\\"),
        *(b"[[:foo:]]", b"[[:ALPHA:]]", b"[[::]]", b"[[:alpha:]", b"[[:[:alpha:]]"),
    ],
)
def test_a_malformed_pattern_never_matches(pattern: bytes) -> None:
    """A class without end or of an unknown name, or a backslash at the end: rsync lets such a pattern match nothing."""
    assert parse(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (b"", b"", True),
        (b"*", b"", True),
        (b"a*c", b"abbc", True),
        (b"a*c", b"ab/c", False),
        (b"a**c", b"ab/c", True),
        (b"a***c", b"ab/c", True),
        (b"*b*", b"abc", True),
        (b"*/b", b"a/b", True),
        (b"*/b", b"a/a/b", False),
        (b"**/b", b"a/a/b", True),
        (b"**/b", b"b", False),
        (b"a?b", b"a/b", False),
        (b"a[!x]b", b"a/b", False),
        (b"a*b*c", b"abxbc", True),
        (b"a*b*c", b"a/bc", False),
        (b"*ab*ab", b"abab", True),
        (b"*ab*ab", b"abb", False),
        (b"a\\?", b"a?", True),
        (b"a\\?", b"ab", False),
        (b"[[:]]", b"[]", True),
        (b"[[:alpha]]", b"a]", True),
        (b"[a-[:digit:]]", b"a]", True),
    ],
)
def test_what_a_pattern_for_more_matches(pattern: bytes, text: bytes, expected: bool) -> None:
    """Stars within names and across them, and classes that end before one might think."""
    assert holds(pattern, text) == expected


@given(strategies.patterns, strategies.paths)
def test_automaton_and_expression_agree_with_the_reference(pattern: bytes, text: bytes) -> None:
    """Whatever the pattern, the fast ways decide as the slow reference."""
    assert holds(pattern, text) == reference.matches(pattern, text)


@given(
    st.binary(min_size=1, max_size=12).map(lambda data: data.replace(b"\0", b"*")),
    st.binary(max_size=8).map(lambda data: data.replace(b"\0", b"]")),
)
def test_bytes_of_any_kind_agree_with_the_reference(pattern: bytes, text: bytes) -> None:
    """No byte is special but those that the manual names."""
    assert holds(pattern, text) == reference.matches(pattern, text)
    assert holds(b"*[%b]*" % pattern, text) == reference.matches(b"*[%b]*" % pattern, text)


@given(st.lists(strategies.patterns, max_size=6), strategies.paths)
def test_patterns_matched_together_do_not_touch_each_other(patterns: list[bytes], text: bytes) -> None:
    """One run over a text tells which of many patterns match."""
    parsed = [tokens for pattern in patterns if (tokens := parse(pattern)) is not None]
    automaton = Automaton(parsed)
    ended = set(bits_of(automaton.run(automaton.states(automaton.begins), text)))
    found = [begin + len(tokens) in ended for begin, tokens in zip(automaton.begins, parsed, strict=True)]
    assert found == [reference.matches(pattern, text) for pattern in patterns if parse(pattern) is not None]


@given(st.binary())
def test_literal_tokens_take_their_text_alone(text: bytes) -> None:
    """Nothing in a literal is a wildcard."""
    tokens = literal(text)
    automaton = Automaton([tokens])
    assert automaton.run(automaton.states([0]), text) >> len(tokens) & 1
    assert not automaton.run(automaton.states([0]), text + b"x") >> len(tokens) & 1


@given(st.sets(st.integers(0, 300)))
def test_bits_are_yielded_in_order(places: set[int]) -> None:
    """The lowest bit comes first, and each once."""
    assert list(bits_of(sum(1 << place for place in places))) == sorted(places)
