"""Which entries of a tree the filter rules leave out. Pure.

All rules are one automaton, run over the path of a directory once; what is left of each pattern there is a pattern for a single name.
Directories in which the same is left share what is made of it.

What it costs: a byte of a directory's path some operations on integers of about as many bits as the rules have bytes; a byte of a name
the same at most, and much less while `name_matcher` takes the patterns; a directory where something new is left some ten microseconds
for each pattern. No pattern makes it worse than that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from deltasync.tree.automaton import Automaton, bits_of
from deltasync.tree.merging import items_from_wire, sure_rules
from deltasync.tree.name_matcher import Excluded, NamePattern, name_matcher
from deltasync.tree.names import join, split
from deltasync.tree.rules import Rule, Side
from deltasync.tree.wildmatch import SLASH, Star, Token

__all__ = ["Filters"]

CACHE_BYTES: Final = 16 << 20
"""About what may be kept of the states at directories."""
MAX_MATCHERS: Final = 256


class _Pattern(NamedTuple):
    """A rule made ready for the automaton.

    Attributes:
        rule: The rule.
        tokens: What is matched.
        name: The indexes of the tokens of the last name.
        directory: The indexes of those of the directory that `dir/***` matches besides its contents; none for other patterns.
        from_slash: Whether it sees a slash before the path, so that `**/name` matches at the root too.
    """

    rule: Rule
    tokens: tuple[Token, ...]
    name: range
    directory: range
    from_slash: bool


def _patterns(rules: Sequence[Rule]) -> Iterator[_Pattern]:
    """Yield the patterns of the rules, but for those that can't match."""
    for given in rules:
        rule, tokens = given, given.tokens
        if not tokens and rule.negated:
            # What a pattern that matches nothing does not match is everything.
            rule = Rule(rule.include, b"*")
            tokens = rule.tokens
        if tokens:
            directory = range(0)
            if rule.body.endswith(b"***") and tokens[-2:] == (SLASH, Star.PATH):
                directory = range(_behind_slash(tokens[:-2]), len(tokens) - 2)
            yield _Pattern(rule, tokens, range(_behind_slash(tokens), len(tokens)), directory, rule.body.startswith(b"**"))


def _behind_slash(tokens: Sequence[Token]) -> int:
    return next((index + 1 for index in reversed(range(len(tokens))) if tokens[index] == SLASH), 0)


class Filters:
    """The filter rules of a run.

    Args:
        rules: In order; the first that matches an entry decides, and what none matches stays. Their sides are not looked at.
        above: Where the root of the transfer is in the filesystem, for rules that are held against paths there; without a slash around it.

    Attributes:
        empty: Whether nothing can ever be left out, whatever the entry.
    """

    def __init__(self, rules: Sequence[Rule] = (), above: bytes = b"") -> None:
        self._patterns = patterns = tuple(_patterns(rules))
        self._automaton = automaton = Automaton([pattern.tokens for pattern in patterns])
        self.empty = all(pattern.rule.include for pattern in patterns)
        self._negated = any(pattern.rule.negated for pattern in patterns)
        self._by_name = not any(pattern.rule.whole_path for pattern in patterns)
        placed = tuple(zip(patterns, automaton.begins, strict=True))
        self._anywhere = automaton.states([begin for p, begin in placed if not p.rule.anchored and not p.from_slash])
        self._root = self._anywhere | self._begun([each for each in placed if not each[0].rule.absolute])
        self._root |= self._descended([each for each in placed if each[0].rule.absolute], above)
        self._lasting = automaton.states([begin + index for p, begin in placed for part in (p.name, p.directory) for index in part])
        self._file_ends = automaton.states([begin + p.name.stop for p, begin in placed if not p.rule.directories_only])
        self._dir_ends = automaton.states([begin + part.stop for p, begin in placed for part in (p.name, p.directory) if part])
        self._known = {b"": self._root}
        self._known_bytes = 0
        self._matchers: dict[int, Excluded | None] = {}

    @classmethod
    def from_wire(cls, wire: Sequence[bytes], side: Side = Side.SENDER) -> Filters:
        """Return the filters of the rules in `Settings.rules` that count on one side; the input is the peer's.

        Of rules that depend on where the tree is, or on files in it, and of those behind them, nothing is said: they leave nothing out.

        Raises:
            ValueError: As `items_from_wire`.
        """
        return cls(sure_rules(items_from_wire(wire, side)))

    def _begun(self, placed: Sequence[tuple[_Pattern, int]]) -> int:
        """Return the states in which patterns begin that match from the top alone."""
        automaton = self._automaton
        from_slash = automaton.run(automaton.states([begin for p, begin in placed if p.from_slash]), b"/")
        return from_slash | automaton.states([begin for p, begin in placed if p.rule.anchored])

    def _descended(self, placed: Sequence[tuple[_Pattern, int]], path: bytes) -> int:
        """Return the states in which patterns are behind a path and a slash."""
        automaton, states = self._automaton, self._begun(placed)
        anywhere = automaton.states([begin for p, begin in placed if not p.rule.anchored and not p.from_slash])
        for name in path.split(b"/") if path else ():
            states = automaton.run(states | anywhere, name + b"/")
        return states

    def excluded(self, path: bytes, is_dir: bool) -> bool:
        """Tell whether the rules leave out an entry itself, whatever becomes of the directories above it.

        Args:
            path: Its path relative to the root of the transfer; the root (`b""`) is never left out.
            is_dir: Whether it is a directory (a symlink to one is none).
        """
        parent, name = split(path)
        excluded = self.for_directory(parent) if name else None
        return excluded is not None and excluded(name, is_dir)

    def for_directory(self, path: bytes) -> Excluded | None:
        """Return what tells the names in one directory that are left out, or None if none can be.

        Args:
            path: The directory's path relative to the root of the transfer.
        """
        if self.empty:
            return None
        left = (self._root if self._by_name else self._states(path)) & self._lasting
        try:
            return self._matchers[left]
        except KeyError:
            matcher = self._matcher(left)
        if len(self._matchers) >= MAX_MATCHERS:
            self._matchers.clear()
        self._matchers[left] = matcher
        return matcher

    def _states(self, path: bytes) -> int:
        """Return the automaton's states behind a directory's path and a slash; those of the directories above it are kept."""
        missing: list[bytes] = []
        states = self._known.get(path)
        while states is None:
            path, name = split(path)
            missing.append(name)
            states = self._known.get(path)
        while missing:
            name = missing.pop()
            path = join(path, name)
            states = self._automaton.run(states, name + b"/") | self._anywhere
            self._keep(path, states)
        return states

    def _keep(self, path: bytes, states: int) -> None:
        self._known_bytes += len(path) + self._automaton.width // 8 + 256
        if self._known_bytes > CACHE_BYTES:
            self._known = {b"": self._root}
            self._known_bytes = 0
        self._known[path] = states

    def _matcher(self, left: int) -> Excluded | None:
        if self._negated:
            return self._negating_matcher(left)
        patterns = list(self._left(left))
        if not any(pattern.excludes for pattern in patterns):
            return None
        return name_matcher(patterns) or self._long_matcher(left)

    def _left(self, left: int) -> Iterator[NamePattern]:
        """Yield what is left of the patterns in these states, in the order of the rules."""
        begins = self._automaton.begins
        for index, places in groupby(bits_of(left), lambda place: bisect_right(begins, place) - 1):
            rule, tokens, name, directory, _ = self._patterns[index]
            live = {place - begins[index] for place in places}
            for part, of_files in ((directory, False), (name, not rule.directories_only)):
                for offset in _needed(tokens, [offset for offset in part if offset in live]):
                    yield NamePattern(tokens[offset : part.stop], not rule.include, of_files)

    def _long_matcher(self, left: int) -> Excluded:
        automaton, patterns, file_ends, dir_ends = self._automaton, self._patterns, self._file_ends, self._dir_ends

        def excluded(name: bytes, is_dir: bool) -> bool:
            ended = automaton.run(left, name) & (dir_ends if is_dir else file_ends)
            # The bits are in the order of the rules.
            lowest = (ended & -ended).bit_length() - 1
            return bool(ended) and not patterns[bisect_right(automaton.begins, lowest) - 1].rule.include

        return excluded

    def _negating_matcher(self, left: int) -> Excluded:
        """Return what tells left out names where a rule may be about what its pattern does not match, so that all are asked in turn."""
        automaton, file_ends, dir_ends = self._automaton, self._file_ends, self._dir_ends
        rules = [pattern.rule for pattern in self._patterns]

        def excluded(name: bytes, is_dir: bool) -> bool:
            ended = automaton.run(left, name) & (dir_ends if is_dir else file_ends)
            matched = {bisect_right(automaton.begins, place) - 1 for place in bits_of(ended)}
            return next((not rule.include for index, rule in enumerate(rules) if (index in matched) != rule.negated), False)

        return excluded


def _needed(tokens: Sequence[Token], offsets: Sequence[int]) -> list[int]:
    """Return the offsets without those at which no name matches that does not match at another of them.

    A `**` takes whatever would be matched before it, and any star takes nothing at all as well.
    """
    last_path_star = max((offset for offset in offsets if tokens[offset] is Star.PATH), default=0)
    behind_stars = {offset + 1 for offset in offsets if isinstance(tokens[offset], Star)}
    return [offset for offset in offsets if offset >= last_path_star and offset not in behind_stars]
