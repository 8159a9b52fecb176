"""Filter options to rules: texts and files in the order in which they were given."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar

from deltasync.cli.failures import LocalFileError
from deltasync.errors import UsageError
from deltasync.tree.grammar import CVS_PATTERNS, Action, CvsDefaults, DirMerge, Merge, Template, parse_filter, parse_merged
from deltasync.tree.merging import gathered
from deltasync.tree.names import shown
from deltasync.tree.rules import Clear, Origin, Rule, Side, parse_lines, parse_option, traced

__all__ = ["FilterOption", "FilterOptionName", "read_file", "wire_rules", "written_rules"]

FilterOptionName = Literal["exclude", "include", "exclude-from", "include-from", "filter", "gitignore"]

_MAX_MERGES: Final = 16
"""How deep files may merge files."""


class FilterOption(NamedTuple):
    """One filter option as given.

    Attributes:
        name: Its long name without the dashes.
        value: A pattern, a rule or a file (`-` is standard input); nothing for `gitignore`.
    """

    name: FilterOptionName
    value: str


def wire_rules(options: Iterable[FilterOption], *, delete_excluded: bool = False, nul: bool = False) -> tuple[bytes, ...]:
    """Return the rules as `Settings.rules` takes them; reads the files that are named.

    Args:
        options: In the order given.
        delete_excluded: Whether rules of which no side is said protect nothing at the destination.
        nul: Whether NUL bytes end the rules in files, rather than line ends.

    Raises:
        UsageError: A rule is none, or there are too many.
        LocalFileError: A file can't be read.
    """
    return tuple(rule.wire for rule in written_rules(options, delete_excluded=delete_excluded, nul=nul))


def written_rules(
    options: Iterable[FilterOption], *, delete_excluded: bool = False, nul: bool = False, traces: bool = False
) -> tuple[Rule | DirMerge, ...]:
    """Return the rules that options stand for.

    Args:
        options: In the order given.
        delete_excluded: Whether rules of which no side is said protect nothing at the destination.
        nul: Whether NUL bytes end the rules in files, rather than line ends.
        traces: Whether rules have an origin.

    Raises:
        UsageError: A rule is none, or there are too many.
        LocalFileError: A file can't be read.
    """
    actions: list[Rule | DirMerge | Clear] = []
    for name, value in options:
        include = name.startswith("include")
        try:
            if name == "filter":
                parsed = parse_filter(os.fsencode(value))
                actions += _expanded(_of_option(parsed, name, value) if traces else parsed, 0, nul=nul, traces=traces)
            elif name == "gitignore":
                actions.append(DirMerge(b".gitignore", Template(git=True)))
            elif name.endswith("-from"):
                actions += parse_lines(read_file(f"--{name}", value), include=include, nul=nul, file=shown(value) if traces else None)
            else:
                chosen = parse_option(os.fsencode(value), include=include)
                actions += _of_option(chosen, name, value) if traces else chosen
        except ValueError as error:
            raise UsageError(f"--{name} {shown(value)}: {error}") from error
    try:
        rules = gathered(actions)
        if delete_excluded:
            rules = gathered(map(_for_sender, rules))
    except ValueError as error:
        raise UsageError(f"too many filters: {error}") from error
    return rules


_Any = TypeVar("_Any")


def _of_option(actions: Iterable[_Any], name: str, value: str) -> list[_Any]:
    return traced(actions, Origin(f"--{name}", os.fsencode(value)))


def _for_sender(rule: Rule | DirMerge) -> Rule | DirMerge:
    """Return a rule as it is with `--delete-excluded`."""
    if isinstance(rule, DirMerge):
        return rule._replace(template=rule.template._replace(unsaid=Side.SENDER))
    return rule if rule.side else rule.on(Side.SENDER)


def _expanded(actions: Iterable[Action], depth: int, *, nul: bool, traces: bool) -> Iterator[Rule | DirMerge | Clear]:
    """Yield the actions, with the content of files in the place of what merges them."""
    for action in actions:
        if isinstance(action, CvsDefaults):
            yield from _of_cvs(action, traces=traces)
        elif not isinstance(action, Merge):
            yield action
        elif depth >= _MAX_MERGES:
            raise ValueError(f"files that merge files, more than {_MAX_MERGES} deep")
        else:
            file = os.fsdecode(action.file)
            try:
                merged = parse_merged(read_file("--filter", file), action.template, nul=nul, file=shown(file) if traces else None)
                yield from _expanded(merged, depth + 1, nul=nul, traces=traces)
            except ValueError as error:
                raise ValueError(f"{shown(file)}: {error}") from None


def _of_cvs(defaults: CvsDefaults, *, traces: bool) -> Iterator[Rule | Clear]:
    """Yield what `-C` leaves out: what is built in, and the user's and the environment's additions; a `!` in these clears those alone."""
    try:
        own = Path("~/.cvsignore").expanduser().read_bytes()
    except (OSError, RuntimeError):
        # Most users have none; rsync passes over it as well.
        own = b""
    words = b" ".join((CVS_PATTERNS, own, os.fsencode(os.environ.get("CVSIGNORE", ""))))
    rules: list[Rule | Clear] = []
    for action in parse_merged(words, defaults.template, file="--cvs-exclude" if traces else None):
        if isinstance(action, Clear):
            rules.clear()
        elif isinstance(action, Rule):
            rules.append(action)
    yield from rules


def read_file(name: str, file: str) -> bytes:
    """Return what is in a file that an option names; `-` is standard input.

    Raises:
        LocalFileError: It can't be read.
    """
    try:
        if file == "-":
            return sys.stdin.buffer.read() if sys.stdin is not None else b""
        with open(file, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise LocalFileError(f"{shown(file)}: the file of {name} can't be read: {error.strerror}") from error
