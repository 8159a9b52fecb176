"""Which entries of a tree the filter rules leave out. Pure.

All rules are one automaton, run over the path of a directory once; what is left of each pattern there is a pattern for a single name.
Directories in which the same is left share what is made of it.

What it costs: a byte of a directory's path a few operations on integers of as many bits as the rules have bytes, and a name what
`name_matcher` says, or the same per byte as a path where that would grow too large. No pattern makes it worse than that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from deltasync.tree.automaton import Automaton, bits_of
from deltasync.tree.name_matcher import Excluded, NamePattern, name_matcher
from deltasync.tree.names import join, split
from deltasync.tree.rules import Rule, rules_from_wire
from deltasync.tree.wildmatch import SLASH, Star, Token

__all__ = ["Filters"]

CACHE_BYTES: Final = 16 << 20
"""About what the states that are kept for directories may take."""
MAX_MATCHERS: Final = 256


class _Pattern(NamedTuple):
    """A rule made ready for the automaton.

    Attributes:
        rule: The rule.
        tokens: What is matched; a set that takes no byte for a rule that never matches.
        name: The indexes of the tokens of the last name, as far as a slash among the tokens tells.
        directory: The same for the directory that `dir/***` matches besides its contents; empty for other patterns.
    """

    rule: Rule
    tokens: tuple[Token, ...]
    name: range
    directory: range

    @classmethod
    def of(cls, rule: Rule) -> _Pattern:
        tokens = rule.tokens
        if not tokens:
            tokens = (0,)
        name = range(_behind_slash(tokens), len(tokens))
        directory = range(0)
        if rule.body.endswith(b"***") and tokens[-2:] == (SLASH, Star.PATH):
            directory = range(_behind_slash(tokens[:-2]), len(tokens) - 2)
        return cls(rule, tokens, name, directory)

    @property
    def from_slash(self) -> bool:
        """Whether it sees a slash before the path, so that `**/name` matches at the root too."""
        return self.rule.body.startswith(b"**")


def _behind_slash(tokens: Sequence[Token]) -> int:
    return next((index + 1 for index in reversed(range(len(tokens))) if tokens[index] == SLASH), 0)


class Filters:
    """The filter rules of a run.

    Args:
        rules: In order; the first that matches an entry decides, and one that none matches stays.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._patterns = patterns = tuple(map(_Pattern.of, rules))
        self._automaton = automaton = Automaton([pattern.tokens for pattern in patterns])
        self._by_name = not any(rule.whole_path for rule in rules)
        placed = tuple(zip(patterns, automaton.begins, strict=True))
        self._anywhere = automaton.states([begin for p, begin in placed if not p.rule.anchored and not p.from_slash])
        from_slash = automaton.run(automaton.states([begin for p, begin in placed if p.from_slash]), b"/")
        self._root = self._anywhere | from_slash | automaton.states([begin for p, begin in placed if p.rule.anchored])
        self._lasting = automaton.states([begin + index for p, begin in placed for part in (p.name, p.directory) for index in part])
        self._ends = automaton.states([begin + len(p.tokens) for p, begin in placed if not p.rule.directories_only])
        self._directory_ends = automaton.states(
            [begin + end for p, begin in placed for end in (len(p.tokens), p.directory.stop) if end]
        )
        self._known = {b"": self._root}
        self._known_bytes = 0
        self._matchers: dict[int, Excluded | None] = {0: None}

    @classmethod
    def from_wire(cls, wire: Sequence[bytes]) -> Filters:
        """Return the filters of the rules in `Settings.rules`; the input is the peer's.

        Raises:
            ValueError: As `rules_from_wire`.
        """
        return cls(rules_from_wire(wire))

    @property
    def empty(self) -> bool:
        """Whether there are no rules, so that nothing is ever left out."""
        return not self._patterns

    def excluded(self, path: bytes, is_dir: bool) -> bool:
        """Tell whether the rules leave out an entry itself, whatever becomes of the directories above it.

        Args:
            path: Its path relative to the root of the transfer; the root (`b""`) is never left out.
            is_dir: Whether it is a directory (a symlink to one is none).
        """
        parent, name = split(path)
        matcher = self.for_directory(parent)
        return matcher is not None and bool(name) and matcher(name, is_dir)

    def for_directory(self, path: bytes) -> Excluded | None:
        """Return what tells the names in one directory that are left out, or None if none can be.

        Args:
            path: The directory's path relative to the root of the transfer.
        """
        left = (self._root if self._by_name else self._states(path)) & self._lasting
        if left not in self._matchers:
            if len(self._matchers) > MAX_MATCHERS:
                self._matchers = {0: None}
            matcher = name_matcher(self._left(left), self._slow_matcher(left))
            self._matchers[left] = matcher
            return matcher
        return self._matchers[left]
