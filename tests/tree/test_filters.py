"""Filters against tables, against a slow reference, and against rsync itself on generated trees and rules."""

from __future__ import annotations

import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.cli.filtering import FilterOption, FilterOptionName, wire_rules
from deltasync.errors import UsageError
from deltasync.tree.filters import Filters
from deltasync.tree.names import join, split
from deltasync.tree.rules import Rule, Side, rules_from_wire
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


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for many small trees."""
    return tmp_path_factory.mktemp("trees")


def build(root: bytes, entries: Sequence[tuple[bytes, bool]]) -> list[bytes]:
    """Make a tree of empty files and directories; return all its paths, directories with a slash behind them."""
    kinds: dict[bytes, bool] = {}
    for path, is_dir in entries:
        parts = path.split(b"/")
        above = [b"/".join(parts[:count]) for count in range(1, len(parts))]
        if all(kinds.get(parent, True) for parent in above) and path not in kinds:
            kinds.update(dict.fromkeys(above, True))
            kinds[path] = is_dir
    for path, is_dir in sorted(kinds.items()):
        if is_dir:
            os.mkdir(os.path.join(root, path))
        else:
            os.close(os.open(os.path.join(root, path), os.O_CREAT | os.O_WRONLY))
    return [path + b"/" * is_dir for path, is_dir in kinds.items()]


class Outcome(NamedTuple):
    """What becomes of a tree, as paths; directories end with a slash."""

    sent: set[bytes]
    deleted: set[bytes]


def done_by_rsync(source: bytes, paths: Sequence[bytes], arguments: Sequence[bytes]) -> Outcome | None:
    """Return what rsync would transfer from a tree, and what it deletes of it if nothing is sent; None if it refuses the rules."""
    empty = source + b".empty/"
    os.mkdir(empty)
    shown = b""
    for words in ([b"-n", b"--out-format=%n", source + b"/", source + b".there/"], [b"--delete", empty, source + b"/"]):
        command = [b"rsync", b"-r", b"-8", *arguments, *words]
        result = subprocess.run(command, capture_output=True, check=False, timeout=30)
        if result.returncode == 1:
            return None
        # What holds a protected entry can't be removed, which rsync tries.
        assert not result.returncode or b"cannot delete non-empty directory" in result.stdout, result.stderr
        shown = shown or result.stdout
    lines = [line for line in shown.split(b"\n") if line and not line.startswith(b"created directory ")]
    sent = {re.sub(rb"\\#(\d{3})", lambda match: bytes([int(match[1], 8)]), line) for line in lines}
    return Outcome(sent - {b"./"}, {path for path in paths if not os.path.lexists(os.path.join(source, path))})


def done_by_us(paths: Sequence[bytes], options: Sequence[FilterOption]) -> Outcome | None:
    """Return what our own rules would let be transferred and deleted; None if they are not accepted."""
    try:
        wire = wire_rules(options)
    except UsageError:
        return None
    rules = [rule for rule in rules_from_wire(wire) if rule.counts_on(Side.RECEIVER)]
    at_top, beneath = Filters(rules), Filters([rule for rule in rules if not rule.perishable])
    stays = {b"/"}
    for path in sorted(paths):
        directory, name = split(path.rstrip(b"/"))
        protected = (beneath if directory else at_top).excluded(join(directory, name), path.endswith(b"/"))
        if protected or (directory and directory + b"//" in stays):
            # What is in a protected directory is not looked at, and what holds something that stays does so too.
            stays.add(path + b"/" * path.endswith(b"/"))
            stays.add(path)
            while directory:
                stays.add(directory + b"/")
                directory = split(directory)[0]
    return Outcome(set(paths) - left_out(Filters.from_wire(wire), paths), set(paths) - stays)


@pytest.mark.needs("rsync")
@hypothesis.settings(max_examples=hypothesis.settings().max_examples // 2)
@given(strategies.cases())
def test_rsync_does_the_same(workshop: Path, case: tuple[list[tuple[bytes, bool]], list[tuple[str, bytes]]]) -> None:
    """Of generated trees, under generated options and rule files, rsync and our rules transfer and delete the same entries."""
    entries, rules = case
    with tempfile.TemporaryDirectory(dir=workshop) as room:
        source = os.fsencode(room) + b"/tree"
        os.mkdir(source)
        paths = build(source, entries)
        options: list[FilterOption] = []
        for number, (option, text) in enumerate(rules):
            name, _, head = option.partition("=")
            value = os.fsdecode(text)
            if option.endswith("from") or head:
                file = f"{room}/rules-{number}"
                Path(file).write_bytes(text)
                value = head + file
            options.append(FilterOption(cast("FilterOptionName", name), value))
        theirs = done_by_rsync(source, paths, [os.fsencode(f"--{name}={value}") for name, value in options])
        assert done_by_us(paths, options) == theirs
