"""Filter rules: what a user writes in options and files, one rule as a value, and the form in which it travels. Pure.

Source: rsync(1), "FILTER RULES" and `--exclude-from`; where the manual leaves a doubt, the binary's behaviour (3.5.0) decides. Two
things are refused that rsync lets pass with a rule lost or cut short: a pattern that is too long, and a file that holds NUL bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple, Self

from deltasync.tree.names import shown
from deltasync.tree.wildmatch import SLASH, Token, literal, parse

__all__ = [
    "CLEAR",
    "MAX_PATTERN_BYTES",
    "MAX_RULES",
    "MAX_RULES_BYTES",
    "Clear",
    "Rule",
    "gathered",
    "parse_lines",
    "parse_option",
    "rules_from_wire",
]

MAX_RULES: Final = 65_536
MAX_PATTERN_BYTES: Final = 4095
"""Longest pattern, its slashes included; rsync's limit."""
MAX_RULES_BYTES: Final = 768 << 10
"""All rules of a run as they travel, together: they fit into one frame with room to spare."""

_WILD = re.compile(rb"[*?\[]")


class Clear(Enum):
    """The action that forgets all rules before it."""

    CLEAR = "!"


CLEAR: Final = Clear.CLEAR


class _Rule(NamedTuple):
    include: bool
    pattern: bytes


class Rule(_Rule):
    """One rule; the first that matches an entry decides about it.

    Attributes:
        include: Whether it keeps what it matches, rather than leaves it out.
        pattern: As written, without the `+ ` or `- `; 1..`MAX_PATTERN_BYTES` bytes, none of them NUL.

    Raises:
        ValueError: The pattern is none.
    """

    __slots__ = ()

    def __new__(cls, include: bool, pattern: bytes) -> Self:
        """Make a rule, if the pattern can be one."""
        if not pattern:
            raise ValueError("a filter rule without a pattern")
        if len(pattern) > MAX_PATTERN_BYTES:
            raise ValueError(f"a filter pattern of {len(pattern)} bytes; the limit is {MAX_PATTERN_BYTES}")
        if b"\0" in pattern:
            raise ValueError("a filter pattern with a NUL byte")
        return super().__new__(cls, include, pattern)

    @property
    def wire(self) -> bytes:
        """The rule as it travels, and as a line of a filter file."""
        return (b"+ " if self.include else b"- ") + self.pattern

    @property
    def directories_only(self) -> bool:
        """Whether it matches nothing but directories: a slash ends it."""
        return len(self.pattern) > 1 and self.pattern.endswith(b"/")

    @property
    def body(self) -> bytes:
        """The pattern without the slash that ends it."""
        return self.pattern[:-1] if self.directories_only else self.pattern

    @property
    def anchored(self) -> bool:
        """Whether it matches from the root of the transfer only: a slash begins it."""
        return self.body.startswith(b"/")

    @property
    def whole_path(self) -> bool:
        """Whether it looks at the path rather than at the last name."""
        return b"/" in self.body or b"**" in self.body

    @property
    def tokens(self) -> tuple[Token, ...] | None:
        """What is matched, without the slash that anchors; None if that can never match.

        A pattern without a wildcard is taken literally, its backslashes too.
        """
        body = self.body
        inner = body[1:] if self.anchored else body
        tokens = parse(inner) if _WILD.search(body) else literal(inner)
        # Neither anchored nor with `**`, a pattern is held against as many names as it has slashes plus one; with a slash inside a
        # class, which takes none, that is one name too many.
        by_count = not self.anchored and b"**" not in body
        return None if tokens is not None and by_count and tokens.count(SLASH) != body.count(b"/") else tokens


def parse_option(text: bytes, *, include: bool) -> list[Rule | Clear]:
    """Return what `--include TEXT` or `--exclude TEXT` means: nothing, one rule, or `CLEAR`.

    Raises:
        ValueError: There is no pattern behind `+ ` or `- `, or it breaks a limit of `Rule`.
    """
    if not text:
        return []
    if text == b"!":
        return [CLEAR]
    if text[:2] in (b"+ ", b"- "):
        include, text = text[:1] == b"+", text[2:]
    return [Rule(include, text)]


def parse_lines(data: bytes, *, include: bool) -> list[Rule | Clear]:
    """Return what a file of `--include-from` or `--exclude-from` means, one line (ended by LF, CR or both) after the other.

    Empty lines are nothing, and so are lines that begin with `;` or `#`. White space counts as a part of the pattern.

    Raises:
        ValueError: As `parse_option`; the text begins with the number of the line, and shows nothing of what is in the file.
    """
    actions: list[Rule | Clear] = []
    for number, line in enumerate(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), 1):
        if not line.startswith((b";", b"#")):
            try:
                actions += parse_option(line, include=include)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    return actions


def gathered(actions: Iterable[Rule | Clear]) -> tuple[Rule, ...]:
    """Return the rules that count, in order: those behind the last `CLEAR`.

    Raises:
        ValueError: They break `MAX_RULES` or `MAX_RULES_BYTES`.
    """
    rules: list[Rule] = []
    for action in actions:
        if isinstance(action, Rule):
            rules.append(action)
        else:
            rules.clear()
    _check_amount([len(rule.wire) for rule in rules])
    return tuple(rules)


def rules_from_wire(wire: Sequence[bytes]) -> tuple[Rule, ...]:
    """Return the rules that travelled as `Rule.wire`; the input is the peer's.

    Raises:
        ValueError: One is malformed, or they break `MAX_RULES` or `MAX_RULES_BYTES`.
    """
    _check_amount([len(text) for text in wire])
    return tuple(map(_rule_from_wire, wire))


def _check_amount(sizes: Sequence[int]) -> None:
    if len(sizes) > MAX_RULES:
        raise ValueError(f"{len(sizes)} filter rules; the limit is {MAX_RULES}")
    if sum(sizes) > MAX_RULES_BYTES:
        raise ValueError(f"filter rules of {sum(sizes)} bytes together; the limit is {MAX_RULES_BYTES}")


def _rule_from_wire(text: bytes) -> Rule:
    if text[:2] not in (b"+ ", b"- "):
        raise ValueError(f"the filter rule {shown(text[:80])!r} begins with neither '+ ' nor '- '")
    return Rule(text[:1] == b"+", text[2:])
