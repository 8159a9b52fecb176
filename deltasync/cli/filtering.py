"""Filter options to rules: texts and files in the order in which they were given."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Literal, NamedTuple

from deltasync.cli.failures import LocalFileError
from deltasync.errors import UsageError
from deltasync.tree.names import shown
from deltasync.tree.rules import Clear, Rule, gathered, parse_lines, parse_option

__all__ = ["FilterOption", "FilterOptionName", "wire_rules"]

FilterOptionName = Literal["exclude", "include", "exclude-from", "include-from"]


class FilterOption(NamedTuple):
    """One filter option as given.

    Attributes:
        name: Its long name without the dashes.
        value: A pattern, or a file (`-` is standard input).
    """

    name: FilterOptionName
    value: str


def wire_rules(options: Iterable[FilterOption]) -> tuple[bytes, ...]:
    """Return the rules as `Settings.rules` takes them; reads the files that are named.

    Raises:
        UsageError: A pattern is none, or there are too many.
        LocalFileError: A file can't be read.
    """
    actions: list[Rule | Clear] = []
    for name, value in options:
        include = name.startswith("include")
        try:
            if name.endswith("-from"):
                actions += parse_lines(_read(name, value), include=include)
            else:
                actions += parse_option(os.fsencode(value), include=include)
        except ValueError as error:
            raise UsageError(f"--{name} {shown(value)}: {error}") from error
    try:
        return tuple(rule.wire for rule in gathered(actions))
    except ValueError as error:
        raise UsageError(f"too many filters: {error}") from error


def _read(name: str, file: str) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read() if sys.stdin is not None else b""
        with open(file, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise LocalFileError(f"{shown(file)}: the file of --{name} can't be read: {error.strerror}") from error
