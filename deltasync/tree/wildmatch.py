"""Wildcard patterns as rsync's wildmatch reads them: text in, tokens out, and from tokens a regular expression for names. Pure.

A pattern becomes a tuple of tokens. A token is either a `Star` or the set of bytes of which it takes exactly one, as an integer
whose bit number N stands for byte N. Source of the rules: rsync(1), "PATTERN MATCHING RULES"; where the manual leaves a doubt, the
binary's behaviour (3.5.0) decides. Named classes are those of the C locale: no byte above 127 is in one.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Final

__all__ = ["ANY", "SLASH", "Star", "Token", "literal", "name_expression", "parse"]


class Star(Enum):
    """Tokens that take any number of bytes, also none."""

    NAME = "*"
    """Any byte but `/`."""
    PATH = "**"
    """Any byte."""


Token = int | Star
"""A `Star`, or a set of bytes as an integer of 256 bits."""

SLASH: Final = 1 << ord("/")
ANY: Final = (1 << 256) - 1 & ~SLASH
"""What `?` takes: any byte but `/`."""


def _set_of(members: str) -> int:
    return sum(1 << ord(member) for member in members)


_CLASSES: Final = {
    b"alnum": _set_of(string.ascii_letters + string.digits),
    b"alpha": _set_of(string.ascii_letters),
    b"blank": _set_of(" \t"),
    b"cntrl": (1 << 0x20) - 1 | 1 << 0x7F,
    b"digit": _set_of(string.digits),
    b"graph": _set_of(string.ascii_letters + string.digits + string.punctuation),
    b"lower": _set_of(string.ascii_lowercase),
    b"print": _set_of(string.ascii_letters + string.digits + string.punctuation + " "),
    b"punct": _set_of(string.punctuation),
    b"space": _set_of(" \t\n\r\v\f"),
    b"upper": _set_of(string.ascii_uppercase),
    b"xdigit": _set_of(string.hexdigits),
}


def literal(text: bytes) -> tuple[Token, ...]:
    """Return the tokens that take `text` and nothing else."""
    return tuple(1 << byte for byte in text)


def parse(pattern: bytes) -> tuple[Token, ...] | None:
    """Return the tokens of a pattern, or None if it can never match: a class without end, one of an unknown name, a last backslash."""
    tokens: list[Token] = []
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            begin = at
            while pattern[at : at + 1] == b"*":
                at += 1
            tokens.append(Star.NAME if at == begin else Star.PATH)
        elif byte == b"?":
            tokens.append(ANY)
        elif byte == b"[":
            found = _parse_class(pattern, at)
            if found is None:
                return None
            members, at = found
            tokens.append(members)
        elif byte != b"\\":
            tokens.append(1 << byte[0])
        elif at < len(pattern):
            tokens.append(1 << pattern[at])
            at += 1
        else:
            return None
    return tuple(tokens)


def _parse_class(pattern: bytes, at: int) -> tuple[int, int] | None:
    """Return the set that a class stands for and the place behind it; `at` is behind its `[`. None if it is malformed."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members = previous = 0
    begin = at
    while at < len(pattern) and (pattern[at] != ord("]") or at == begin):
        # A range begins with the single byte before the hyphen: what stands behind a range or a named class begins none.
        if pattern[at] == ord("-") and previous and pattern[at + 1 : at + 2] not in (b"", b"]"):
            at += 1 + (pattern[at + 1] == ord("\\"))
            if at >= len(pattern):
                return None
            members |= sum(1 << byte for byte in range(previous, pattern[at] + 1))
            previous = 0
        elif (name := _class_name(pattern, at)) is not None:
            if name not in _CLASSES:
                return None
            members |= _CLASSES[name]
            at += len(name) + 3
            previous = 0
        else:
            at += pattern[at] == ord("\\")
            if at >= len(pattern):
                return None
            previous = pattern[at]
            members |= 1 << previous
        at += 1
    if at >= len(pattern):
        return None
    return (ANY & ~members if negated else ANY & members), at + 1


def _class_name(pattern: bytes, at: int) -> bytes | None:
    """Return NAME if `[:NAME:]` stands there; None if what stands there is to be read byte by byte."""
    if pattern[at : at + 2] != b"[:":
        return None
    end = pattern.find(b"]", at + 2)
    name = pattern[at + 2 : end] if end >= 0 else b""
    return name[:-1] if name.endswith(b":") else None


def name_expression(tokens: Sequence[Token]) -> bytes:
    r"""Return a regular expression that matches at the start of a name (without `/`) as the tokens do, the end (`\Z`) left to the caller.

    It is meant for `re.DOTALL`, and takes at most len(name) * len(tokens) steps: what stands between two stars is searched once and
    then held (atomic groups), since a later place for it would never help.
    """
    chunks: list[list[bytes]] = [[]]
    for token in tokens:
        if isinstance(token, Star):
            chunks.append([])
        else:
            chunks[-1].append(_member_expression(token))
    first, *others = map(b"".join, chunks)
    if not others:
        return first
    held = b"".join(b"(?>.*?%b)" % chunk for chunk in others[:-1])
    return first + held + b".*" + others[-1]


@lru_cache(maxsize=1024)
def _member_expression(members: int) -> bytes:
    if members == ANY:
        return b"."
    if members.bit_count() == 1:
        return re.escape(bytes([members.bit_length() - 1]))
    if not members:
        return b"(?!)"
    ranges: list[bytes] = []
    while members:
        first = (members & -members).bit_length() - 1
        # Adding the lowest bit turns the run of ones that begins there into the one bit behind it.
        behind = (members + (1 << first)) ^ members
        last = behind.bit_length() - 2
        ranges.append(b"\\x%02x-\\x%02x" % (first, last))
        members &= -1 << (last + 1)
    return b"[%b]" % b"".join(ranges)
