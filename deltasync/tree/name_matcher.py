"""What tells the names in one directory that are left out: sets and regular expressions, made of patterns for single names. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from deltasync.tree.wildmatch import Token, name_expression

__all__ = ["MAX_EXPRESSION_BYTES", "MAX_EXPRESSION_TOKENS", "Excluded", "NamePattern", "name_matcher"]

Excluded = Callable[[bytes, bool], bool]
"""Tells of a name in one directory, and whether it is a directory itself, if it is left out."""

MAX_EXPRESSION_TOKENS: Final = 2048
MAX_EXPRESSION_BYTES: Final = 16 << 10
"""Largest expressions that are made for a directory: they are tried one after the other, and are made in about a microsecond per byte."""


class NamePattern(NamedTuple):
    """What is left of a rule in a directory.

    Attributes:
        tokens: What a name must match, at least one token.
        excludes: Whether a name that matches is left out, rather than kept.
        of_files: Whether it matches what is no directory, too.
    """

    tokens: Sequence[Token]
    excludes: bool
    of_files: bool


class _Run(NamedTuple):
    """Patterns in a row that say the same."""

    names: frozenset[bytes]
    expression: bytes
    excludes: bool


def name_matcher(patterns: Sequence[NamePattern]) -> Excluded | None:
    """Return what decides about names by the first pattern that matches, or None if that would take too large expressions.

    A name costs one look into a set and at most len(name) * `MAX_EXPRESSION_TOKENS` steps.
    """
    wild_tokens = sum(len(pattern.tokens) for pattern in patterns if _plain(pattern.tokens) is None)
    if wild_tokens > MAX_EXPRESSION_TOKENS:
        return None
    of_directories = _runs(patterns)
    of_files = _runs([pattern for pattern in patterns if pattern.of_files])
    if sum(len(run.expression) for run in of_directories) > MAX_EXPRESSION_BYTES:
        return None
    directory_steps = _steps(of_directories)
    file_steps = directory_steps if of_files == of_directories else _steps(of_files)

    def excluded(name: bytes, is_dir: bool) -> bool:
        for names, match, excludes in directory_steps if is_dir else file_steps:
            if name in names or (match is not None and match(name)):
                return excludes
        return False

    return excluded


def _plain(tokens: Sequence[Token]) -> bytes | None:
    """Return the only name that the tokens match, or None if there is not just one."""
    if all(isinstance(token, int) and token.bit_count() == 1 for token in tokens):
        return bytes(token.bit_length() - 1 for token in tokens if isinstance(token, int))
    return None


def _runs(patterns: Sequence[NamePattern]) -> list[_Run]:
    runs = [_run(list(group), excludes) for excludes, group in groupby(patterns, key=lambda pattern: pattern.excludes)]
    # Whatever only keeps names at the end decides nothing.
    return runs[:-1] if runs and not runs[-1].excludes else runs


def _run(patterns: Sequence[NamePattern], excludes: bool) -> _Run:
    names = frozenset(name for pattern in patterns if (name := _plain(pattern.tokens)) is not None)
    wild = dict.fromkeys(name_expression(pattern.tokens) for pattern in patterns if _plain(pattern.tokens) is None)
    return _Run(names, b"|".join(wild), excludes)


def _steps(runs: Sequence[_Run]) -> tuple[tuple[frozenset[bytes], Callable[[bytes], object] | None, bool], ...]:
    return tuple((run.names, _match(run.expression), run.excludes) for run in runs)


def _match(expression: bytes) -> Callable[[bytes], object] | None:
    return re.compile(rb"(?:%b)\Z" % expression, re.DOTALL).match if expression else None
