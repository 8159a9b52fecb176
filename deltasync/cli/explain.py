"""`deltasync explain PATH [OPTIONS]`: which rule decides about a path, where it is written, and on which side it counts."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from typing import Final, NamedTuple

from deltasync.cli.failures import LocalFileError
from deltasync.cli.filtering import written_rules
from deltasync.cli.git import git_excludes
from deltasync.cli.job import filter_options
from deltasync.cli.jsonout import event, path_fields
from deltasync.cli.options import parse
from deltasync.cli.streams import print_text
from deltasync.errors import ExitCode, UsageError
from deltasync.fs.merge_file import RulesError
from deltasync.fs.root import Root
from deltasync.fs.selection import Selection, place_of
from deltasync.tree.grammar import DirMerge
from deltasync.tree.merging import Slot
from deltasync.tree.names import join, shown
from deltasync.tree.rules import Rule, Side
from deltasync.tree.sources import SourcePlace, relative_place

__all__ = ["explain"]

HELP = """\
Usage: deltasync explain PATH [OPTIONS]

Say which filter rule decides about PATH: at the source whether it is sent, and at the destination whether --delete may delete it. Nothing
is sent, and PATH need not be there; with a slash at its end it is a directory.

The top of the transfer is the current directory, or what stands before /./ in PATH:

  deltasync explain project/./src/main.o -F --exclude-from rules

OPTIONS are those of push; all but those for rules change nothing. With --json there is an object a side. What merge files say at the
destination is taken from those at the source, as if they had arrived.
"""

_NAMES: Final = {Side.SENDER: "source", Side.RECEIVER: "destination"}
_WORDS: Final = {
    (Side.SENDER, True): "left out",
    (Side.SENDER, False): "sent",
    (Side.RECEIVER, True): "kept",
    (Side.RECEIVER, False): "deleted by --delete if the source does not have it",
}


class _Answer(NamedTuple):
    """What a side does with a path.

    Attributes:
        excluded: Whether it is left out, or kept.
        path: What the rule matches: the path, or a directory above it.
        rule: The rule; None if none matches.
    """

    excluded: bool
    path: bytes
    rule: Rule | None


def explain(words: list[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        DeltasyncError: Wrong usage, or rules or the top of the transfer can't be read.
    """
    if "--help" in words:
        print_text(HELP)
        return ExitCode.OK
    given = parse("push", words)
    if given is None or len(given.places) != 1:
        raise UsageError("explain needs one path; see deltasync explain --help")
    values = given.values
    rules = written_rules(filter_options(given), delete_excluded=values["delete_excluded"], nul=values["from0"], traces=True)
    everywhere = git_excludes() if values["gitignore"] else b""
    place = _place(given.places[0])
    try:
        with closing(Root.open(place.directory)) as root:
            is_dir = _is_directory(root, place)
            for side in Side:
                items = tuple(Slot(rule) if isinstance(rule, DirMerge) else rule for rule in rules if not rule.side or side in rule.side)
                where = place_of(root, place.directory, whole=True, beneath=None)
                answer = _answer(Selection(items, side, where, everywhere, traces=True), place.top, is_dir=is_dir)
                print_text((_json(side, place.top, answer) if values["json"] else _line(side, place.top, answer)) + "\n")
    except RulesError as error:
        raise LocalFileError(f"the rules are not known: {error.strerror}") from error
    except OSError as error:
        raise LocalFileError(f"{shown(place.directory)}: the top of the transfer can't be read: {error.strerror}") from error
    return ExitCode.OK


def _place(path: str) -> SourcePlace:
    try:
        place = relative_place(os.fsencode(path))
    except ValueError as error:
        raise UsageError(f"{shown(path)}: {error}") from error
    if not place.top:
        raise UsageError(f"{shown(path)} is the top of the transfer itself, which no rule leaves out")
    return place


def _is_directory(root: Root, place: SourcePlace) -> bool:
    directory, _, name = place.top.rpartition(b"/")
    try:
        with root.dir(directory) as lease:
            return stat.S_ISDIR(os.stat(name, dir_fd=lease.fd, follow_symlinks=False).st_mode)
    except OSError:
        # It need not be there.
        return place.slash


def _answer(selection: Selection, path: bytes, *, is_dir: bool) -> _Answer:
    above = b""
    rule: Rule | None = None
    for name in path.split(b"/"):
        above = join(above, name)
        rule = selection.deciding(above, is_dir or above != path)
        if rule is not None and not rule.include:
            return _Answer(True, above, rule)
    return _Answer(False, path, rule)


def _line(side: Side, path: bytes, answer: _Answer) -> str:
    word = _WORDS[side, answer.excluded]
    if answer.rule is None:
        return f"{_NAMES[side]}: {word}: no rule matches"
    with_it = f" with {shown(answer.path)}/" if answer.path != path else ""
    return f"{_NAMES[side]}: {word}{with_it}: {shown(_text(answer.rule))} ({_where(answer.rule)})"


def _json(side: Side, path: bytes, answer: _Answer) -> str:
    rule = answer.rule
    return event(
        "rule",
        side=_NAMES[side],
        **path_fields(path),
        excluded=answer.excluded,
        matched=None if rule is None else shown(answer.path),
        rule=None if rule is None else shown(_text(rule)),
        where=None if rule is None else _where(rule),
    )


def _text(rule: Rule) -> bytes:
    return rule.wire if rule.origin is None else rule.origin.text


def _where(rule: Rule) -> str:
    return "" if rule.origin is None else rule.origin.where
