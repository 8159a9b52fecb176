"""Filters against tables, against a slow reference, and against rsync itself on generated trees and rules."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.tree.filters import Filters
from deltasync.tree.rules import Rule
from tests.tree import reference, strategies

TREE = [
    *(b"a", b"b.o", b"dir/", b"dir/a", b"dir/b.o", b"dir/sub/", b"dir/sub/a", b"dirx/", b"dirx/a", b"x/", b"x/dir/", b"x/dir/a"),
    *(b"x/dir/sub/", b"x/dir/sub/b.o", b"foo\\bar", b"foobar", b"a*", b"[", b"x/a/", b"x/a/a"),
]


def left_out(filters: Filters, paths: Sequence[bytes]) -> set[bytes]:
    """Return the entries that a walk leaves out, with what is beneath them; directories end with a slash."""
    out: set[bytes] = set()
    for path in sorted(paths):
        parent = path.rstrip(b"/").rpartition(b"/")[0] + b"/"
        if parent in out or filters.excluded(path.rstrip(b"/"), path.endswith(b"/")):
            out.add(path)
    return out


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("- a", "a dir/a dir/sub/a dirx/a x/dir/a x/a/ x/a/a"),
        ("- /a", "a"),
        ("- a/", "x/a/ x/a/a"),
        ("- dir/", "dir/ dir/a dir/b.o dir/sub/ dir/sub/a x/dir/ x/dir/a x/dir/sub/ x/dir/sub/b.o"),
        ("- /dir/*", "dir/a dir/b.o dir/sub/ dir/sub/a"),
        ("- dir/*.o", "dir/b.o"),
        ("- dir/**.o", "dir/b.o x/dir/sub/b.o"),
        ("- /dir/**", "dir/a dir/b.o dir/sub/ dir/sub/a"),
        ("- /dir/***", "dir/ dir/a dir/b.o dir/sub/ dir/sub/a"),
        ("- /dir***", "dir/ dir/a dir/b.o dir/sub/ dir/sub/a dirx/ dirx/a"),
        ("- **/a", "a dir/a dir/sub/a dirx/a x/dir/a x/a/ x/a/a"),
        ("- /**/a", "dir/a dir/sub/a dirx/a x/dir/a x/a/ x/a/a"),
        ("- dir/a", "dir/a x/dir/a"),
        ("- dir//", ""),
        ("- /", ""),
        ("- foo\\bar", "foo\\bar"),
        ("- foo\\b?r", "foobar"),
        ("- foo\\\\b?r", "foo\\bar"),
        ("- a\\*", "a*"),
        ("- [", ""),
        ("- \\[*", "["),
        ("- dir[/]a", ""),
        ("- dir\\/[a]", "dir/a x/dir/a"),
        ("- dir[x/]**", "dirx/ dirx/a"),
        ("+ */ + *.o - *", "a dir/a dir/sub/a dirx/a x/dir/a foo\\bar foobar a* [ x/a/a"),
        ("+ /dir/ + /dir/a - *", " ".join(path.decode() for path in TREE if path not in (b"dir/", b"dir/a"))),
        ("+ a - a", ""),
        ("- a + a", "a dir/a dir/sub/a dirx/a x/dir/a x/a/ x/a/a"),
    ],
)
def test_each_form_of_pattern_matches_as_in_rsync(rules: str, expected: str) -> None:
    """The forms of the manual, and where the binary reads them otherwise than one might think, on one tree."""
    words = rules.split()
    filters = Filters.from_wire([f"{kind} {pattern}".encode() for kind, pattern in zip(words[::2], words[1::2], strict=True)])
    assert left_out(filters, TREE) == set(expected.encode().split())


def test_the_root_is_never_left_out() -> None:
    """No rule touches the root of the transfer."""
    assert not Filters.from_wire([b"- *", b"- /", b"- **", b"- ***"]).excluded(b"", is_dir=True)


def test_no_rules_are_empty_and_ask_for_no_matcher() -> None:
    """Where nothing can be left out, the caller need not ask at all."""
    for filters in (Filters(), Filters.from_wire([b"+ *"]), Filters.from_wire([b"- [a"])):
        assert filters.empty
        assert filters.for_directory(b"a/b") is None
        assert not filters.excluded(b"a/b/c", is_dir=False)


def test_a_directory_where_nothing_can_match_has_no_matcher() -> None:
    """Rules for other places cost a directory nothing."""
    filters = Filters.from_wire([b"- /a/*.o", b"+ *.c", b"- x/y"])
    assert not filters.empty
    assert filters.for_directory(b"") is None
    assert filters.for_directory(b"a/b") is None
    assert filters.for_directory(b"a") is not None
    assert filters.for_directory(b"deep/down/x") is not None


def test_more_directories_and_rules_than_are_kept_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of directories is only a help: without room for any, the answers are the same."""
    monkeypatch.setattr("deltasync.tree.filters.CACHE_BYTES", 0)
    monkeypatch.setattr("deltasync.tree.filters.MAX_MATCHERS", 1)
    rules = [b"- /%d/x" % number for number in range(10)]
    filters = Filters.from_wire(rules)
    for number in [*range(12), *range(12)]:
        assert filters.excluded(b"%d/x" % number, is_dir=False) == (number < 10)
        assert not filters.excluded(b"%d/x/%d/x" % (number, number), is_dir=False)


rule_lists = st.lists(st.tuples(st.booleans(), strategies.patterns), min_size=1, max_size=5)


@given(rule_lists, st.lists(st.tuples(strategies.paths, st.booleans()), min_size=1, max_size=20))
def test_filters_agree_with_the_reference(rules: list[tuple[bool, bytes]], entries: list[tuple[bytes, bool]]) -> None:
    """Sets, expressions and automaton decide as the slow reference does."""
    filters = Filters([Rule(*rule) for rule in rules])
    for path, is_dir in entries:
        assert filters.excluded(path, is_dir) == reference.excluded(rules, path, is_dir), (path, is_dir)


@given(rule_lists, st.lists(st.tuples(strategies.paths, st.booleans()), min_size=1, max_size=20))
def test_rules_too_large_for_expressions_decide_the_same(rules: list[tuple[bool, bytes]], entries: list[tuple[bytes, bool]]) -> None:
    """Behind a rule that is too large to be made an expression, the automaton alone decides, and as the reference does."""
    filters = Filters([Rule(True, b"?" * 3000), *(Rule(*rule) for rule in rules)])
    for path, is_dir in entries:
        assert filters.excluded(path, is_dir) == reference.excluded(rules, path, is_dir), (path, is_dir)


@given(st.integers(0, 2**32))
def test_patterns_of_many_stars_are_answered_at_once(seed: int) -> None:
    """The patterns on which a backtracking matcher takes for ever take milliseconds: in a name, in a path, and all of them together."""
    rng = random.Random(seed)
    hostile = [
        rng.choice([b"a*", b"*a", b"**a", b"?*", b"a**", b"*[ab]", b"**/a*", b"a*/"]) * rng.randrange(1, 300) + b"b" for _ in range(20)
    ]
    filters = Filters([Rule(False, pattern) for pattern in hostile])
    begin = time.process_time()
    for name in (b"a" * 255, b"ab" * 127 + b"c"):
        filters.excluded(name, is_dir=False)
        filters.excluded(b"/".join([name] * 16), is_dir=True)
    assert time.process_time() - begin < 5
