"""Filter rules: what a user writes in options and files, one rule as a value, and the form in which it travels. Pure.

Source: rsync(1), "FILTER RULES" and `--exclude-from`; where the manual leaves a doubt, the binary's behaviour (3.5.0) decides. Two
things are refused that rsync lets pass with a rule lost or cut short: a pattern that is too long, and a file that holds NUL bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum, Flag
from typing import Final, NamedTuple, Self, TypeVar

from deltasync.tree.names import shown
from deltasync.tree.wildmatch import SLASH, Token, literal, parse

__all__ = [
    "CLEAR",
    "MAX_PATTERN_BYTES",
    "MAX_RULES",
    "MAX_RULES_BYTES",
    "UNSIDED",
    "Clear",
    "Origin",
    "Rule",
    "Side",
    "check_amount",
    "parse_lines",
    "parse_option",
    "rule_from_wire",
    "split_lines",
    "traced",
]

MAX_RULES: Final = 65_536
MAX_PATTERN_BYTES: Final = 4095
"""Longest pattern, its slashes included; rsync's limit."""
MAX_RULES_BYTES: Final = 768 << 10
"""All rules of a run as they travel, together: they fit into one frame with room to spare."""

_WILD = re.compile(rb"[*?\[]")
_WIRE = re.compile(rb"([+-])(!?)(/?)(p?)(s?)(r?) ")


class Side(Flag):
    """Where a rule counts."""

    SENDER = 1
    """It hides entries of the source, or shows them."""
    RECEIVER = 2
    """It protects entries of the destination from deletion, or leaves them at risk."""


UNSIDED: Final = Side(0)
"""Of a rule for which nothing was said: it counts on both sides, unless `--delete-excluded` takes the receiver's away."""


class Clear(Enum):
    """The action that forgets all rules before it."""

    CLEAR = "!"


CLEAR: Final = Clear.CLEAR


class Origin(NamedTuple):
    """Where a rule was written, for those who ask.

    Attributes:
        where: An option, or a file and a line.
        text: What stands there.
    """

    where: str
    text: bytes


class _Rule(NamedTuple):
    include: bool
    pattern: bytes
    negated: bool
    perishable: bool
    side: Side
    absolute: bool
    base: bytes
    origin: Origin | None


class Rule(_Rule):
    """One rule; the first that matches an entry decides about it.

    Attributes:
        include: Whether it keeps what it matches, rather than leaves it out.
        pattern: As written, without the `+ ` or `- `; 1..`MAX_PATTERN_BYTES` bytes, none of them NUL.
        negated: Whether it is about what the pattern does not match.
        perishable: Whether it protects nothing in a directory that is itself deleted.
        side: The sides that were named, none (`UNSIDED`) for both.
        absolute: Whether it is held against the path in the filesystem rather than that in the transfer.
        base: The directory that an anchored pattern begins in, literally and without a slash around it; empty for the root. It does not
            travel.
        origin: Where it was written; None where nobody asks. It does not travel either.

    Raises:
        ValueError: The pattern is none.
    """

    __slots__ = ()

    def __new__(
        cls,
        include: bool,
        pattern: bytes,
        *,
        negated: bool = False,
        perishable: bool = False,
        side: Side = UNSIDED,
        absolute: bool = False,
        base: bytes = b"",
        origin: Origin | None = None,
    ) -> Self:
        """Make a rule, if the pattern can be one."""
        if not pattern:
            raise ValueError("a filter rule without a pattern")
        if len(pattern) > MAX_PATTERN_BYTES:
            raise ValueError(f"a filter pattern of {len(pattern)} bytes; the limit is {MAX_PATTERN_BYTES}")
        if b"\0" in pattern:
            raise ValueError("a filter pattern with a NUL byte")
        return super().__new__(cls, include, pattern, negated, perishable, side, absolute, base, origin)

    @property
    def wire(self) -> bytes:
        """The rule as it travels, and as a line of a filter file."""
        modifiers = b"!" * self.negated + b"/" * self.absolute + b"p" * self.perishable
        sides = b"s" * (Side.SENDER in self.side) + b"r" * (Side.RECEIVER in self.side)
        return (b"+" if self.include else b"-") + modifiers + sides + b" " + self.pattern

    def counts_on(self, side: Side) -> bool:
        """Tell whether it counts on one side."""
        return not self.side or side in self.side

    def on(self, side: Side) -> Rule:
        """Return the same rule for one side."""
        return self._replace(side=side)

    def within(self, base: bytes) -> Rule:
        """Return what the same rule means in a file in a directory: anchored, it begins there."""
        return self._replace(base=base) if self.anchored and not self.absolute else self

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
        if tokens is None or (by_count and tokens.count(SLASH) != body.count(b"/")):
            return None
        return (*literal(self.base + b"/"), *tokens) if self.base else tokens


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


_Action = TypeVar("_Action")


def traced(actions: Iterable[_Action], origin: Origin) -> list[_Action]:
    """Return actions, of which the rules have an origin."""
    return [action._replace(origin=origin) if isinstance(action, Rule) else action for action in actions]


def split_lines(data: bytes, *, nul: bool = False) -> list[bytes]:
    """Return the lines of a file of rules, ended by LF, CR or both; with `nul` by NUL alone."""
    return data.split(b"\0") if nul else data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def parse_lines(data: bytes, *, include: bool, nul: bool = False, file: str | None = None) -> list[Rule | Clear]:
    """Return what a file of `--include-from` or `--exclude-from` means, one line (see `split_lines`) after the other.

    With `file`, its name, the rules have an origin.

    Empty lines are nothing, and so are lines that begin with `;` or `#`. White space counts as a part of the pattern.

    Raises:
        ValueError: As `parse_option`; the text begins with the number of the line, and shows nothing of what is in the file.
    """
    actions: list[Rule | Clear] = []
    for number, line in enumerate(split_lines(data, nul=nul), 1):
        if not line.startswith((b";", b"#")):
            try:
                parsed = parse_option(line, include=include)
                actions += parsed if file is None else traced(parsed, Origin(f"{file}, line {number}", line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    return actions


def check_amount(sizes: Sequence[int]) -> None:
    """Check how many rules there are, given the length of each as it travels.

    Raises:
        ValueError: They break `MAX_RULES` or `MAX_RULES_BYTES`.
    """
    if len(sizes) > MAX_RULES:
        raise ValueError(f"{len(sizes)} filter rules; the limit is {MAX_RULES}")
    if sum(sizes) > MAX_RULES_BYTES:
        raise ValueError(f"filter rules of {sum(sizes)} bytes together; the limit is {MAX_RULES_BYTES}")


def rule_from_wire(text: bytes) -> Rule:
    """Return the rule that travelled as `Rule.wire`; the input is the peer's.

    Raises:
        ValueError: It is malformed.
    """
    head = _WIRE.match(text)
    if head is None:
        raise ValueError(f"the filter rule {shown(text[:80])!r} does not begin with '+ ' or '- ' (or modifiers !/psr between them)")
    sign, negated, absolute, perishable, sender, receiver = head.groups()
    side = (Side.SENDER if sender else UNSIDED) | (Side.RECEIVER if receiver else UNSIDED)
    pattern = text[head.end() :]
    return Rule(sign == b"+", pattern, negated=bool(negated), perishable=bool(perishable), side=side, absolute=bool(absolute))
