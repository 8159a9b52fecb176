"""Filter rules as they are written behind `--filter`; that they mean what rsync means is tested with the filters."""

from __future__ import annotations

import pytest

from deltasync.tree.grammar import PLAIN, Action, CvsDefaults, DirMerge, Merge, Template, parse_filter, parse_merged
from deltasync.tree.rules import CLEAR, UNSIDED, Rule, Side

BOTH = Side.SENDER | Side.RECEIVER


def rule(kind: bytes, pattern: bytes = b"a", *, negated: bool = False, perishable: bool = False, side: Side = UNSIDED) -> Rule:
    """Return a rule that keeps or leaves out."""
    return Rule(kind == b"+", pattern, negated=negated, perishable=perishable, side=side)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"- a", [rule(b"-")]),
        (b"-_a", [rule(b"-")]),
        (b"+  a ", [rule(b"+", b" a ")]),
        (b"exclude a", [rule(b"-")]),
        (b"include,!p a", [rule(b"+", negated=True, perishable=True)]),
        (b"-,s a", [rule(b"-", side=Side.SENDER)]),
        (b"-rs a", [rule(b"-", side=BOTH)]),
        (b"H a", [rule(b"-", side=Side.SENDER)]),
        (b"show a", [rule(b"+", side=Side.SENDER)]),
        (b"protect a", [rule(b"-", side=Side.RECEIVER)]),
        (b"R a", [rule(b"+", side=Side.RECEIVER)]),
        (b"-x a", []),
        (b"!", [CLEAR]),
        (b"clear", [CLEAR]),
        (b"clear,", [CLEAR]),
        (b". f", [Merge(b"f", PLAIN)]),
        (b"merge,-ps f", [Merge(b"f", Template(prefixes=False, perishable=True, side=Side.SENDER))]),
        (b".+ f", [Merge(b"f", Template(include=True, prefixes=False))]),
        (b".C", [Merge(b".cvsignore", Template(prefixes=False, words=True, clears=True))]),
        (b".we d/f", [rule(b"-", b"f"), Merge(b"d/f", Template(words=True))]),
        (b"-/ a", [rule(b"-")._replace(absolute=True)]),
        (b"dir-merge f", [DirMerge(b"f", PLAIN)]),
        (b":n-/r d/f", [DirMerge(b"d/f", Template(prefixes=False, absolute=True, side=Side.RECEIVER), inherits=False)]),
        (b":e f", [rule(b"-", b"f"), DirMerge(b"f", PLAIN)]),
        (b":C", [DirMerge(b".cvsignore", Template(prefixes=False, words=True, clears=True), inherits=False)]),
        (b"-C", [CvsDefaults(Template(prefixes=False, words=True, clears=True, perishable=True))]),
    ],
)
def test_a_rule_is_read_as_rsync_reads_it(text: bytes, expected: list[Rule | Action]) -> None:
    """Letters and names, a comma or none, modifiers, and one space or underscore before the pattern."""
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"a",
            b"-",
            b"- ",
            b"exclude",
            b"excludes a",
            b"-\ta",
            b"-q a",
            b"-sr,p a",
            b"Hs a",
            b"HC",
            b"-e a",
            b"-w a",
            b"-C a",
            b"! a",
            b"!a",
        ),
        *(
            b"clear a",
            b".",
            b". ",
            b".! f",
            b".-C f",
            b".C- f",
            b".+- f",
            b":",
            b": ",
            b": d/",
            b":! f",
            b":+- f",
            b": ..",
            b"- a\0",
            b"-! ",
            b"! a",
            b"!a",
        ),
    ],
)
def test_what_is_no_rule_is_refused(text: bytes) -> None:
    """Nothing is ignored that may have been meant."""
    with pytest.raises(ValueError, match=r"rule|pattern|modifier|supported"):
        parse_filter(text)


def test_a_merged_file_says_what_its_rules_are() -> None:
    """The side and the perishability of the file are those of its rules, and a rule in it can't name another side."""
    assert list(parse_merged(b"- a\r\n# no\n+ b", Template(perishable=True, side=Side.RECEIVER))) == [
        rule(b"-", perishable=True, side=Side.RECEIVER),
        rule(b"+", b"b", perishable=True, side=Side.RECEIVER),
    ]
    with pytest.raises(ValueError, match=r"^line 2: ") as caught:
        list(parse_merged(b"- a\nH secret", Template(side=Side.RECEIVER)))
    assert "secret" not in str(caught.value)
