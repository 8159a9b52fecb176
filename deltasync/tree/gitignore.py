"""git's ignore files as filter rules: lines in, rules out, the last line first since there the last match decides. Pure.

Source: gitignore(5), "PATTERN FORMAT"; where it leaves a doubt, `git check-ignore` decides. A pattern in which `/**/` stands for no or any
directories becomes two rules, so that rules need no alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Final

from deltasync.tree.rules import MAX_PATTERN_BYTES, UNSIDED, Origin, Rule, Side, traced

__all__ = ["git_rules"]

_BOM: Final = b"\xef\xbb\xbf"
_TRAILING_SPACES: Final = re.compile(rb"(?<!\\)((?:\\\\)*) +\Z")
_PIECES: Final = re.compile(rb"\[(?:!|\^)?\]?(?:\[:[a-z]*:\]|\\.|[^\]\\])*\]|\\.|\*+|.", re.DOTALL)
_WILD: Final = re.compile(rb"[*?\[]")
_MAX_GAPS: Final = 6
"""A pattern with more `/**/` than this is passed over: it would become more than 64 rules."""


def git_rules(data: bytes, side: Side = UNSIDED, *, file: str | None = None) -> list[Rule]:
    """Return what an ignore file means in its directory, the rule that decides first in front.

    Args:
        data: The content of the file.
        side: The sides on which it counts.
        file: Its name, for the origins of the rules; None for none.
    """
    rules: list[Rule] = []
    for number, line in enumerate(data.removeprefix(_BOM).split(b"\n"), 1):
        if not line.startswith(b"#"):
            parsed = _rules(line.removesuffix(b"\r"), side)
            rules += parsed if file is None else traced(parsed, Origin(f"{file}, line {number}", line))
    return rules[::-1]


def _rules(line: bytes, side: Side) -> Iterator[Rule]:
    pattern = _TRAILING_SPACES.sub(rb"\1", line)
    include = pattern.startswith(b"!")
    pattern = pattern[include:]
    only = pattern.endswith(b"/")
    pattern = pattern.removesuffix(b"/")
    anchored = b"/" in pattern
    pattern = pattern.removeprefix(b"/")
    if not pattern:
        return
    for text in [b"/" + variant for variant in _variants(pattern)] if anchored else [_name_pattern(pattern)]:
        if 0 < len(text) <= MAX_PATTERN_BYTES - 1 and b"\0" not in text and text not in (b"/", b"//"):
            yield Rule(include, _literal_if_plain(text) + b"/" * only, side=side)


def _pieces(pattern: bytes) -> list[bytes]:
    return [b"**" if piece.startswith(b"**") else piece for piece in _PIECES.findall(pattern)]


def _name_pattern(pattern: bytes) -> bytes:
    return b"".join(b"*" if piece == b"**" else piece for piece in _pieces(pattern))


def _variants(pattern: bytes) -> Iterator[bytes]:
    """Yield the patterns that one with `**` stands for: it is any path between slashes, and elsewhere a star.

    git compares what stands before the first wildcard by itself, so that a `**` there has nothing before it.
    """
    pieces = _pieces(pattern)
    choices: list[tuple[bytes, ...]] = []
    gaps = 0
    at = 0
    while at < len(pieces):
        piece = pieces[at]
        begins = at == 0 or pieces[at - 1] == b"/" or not any(b"\\" in before or _WILD.match(before) for before in pieces[:at])
        follows = pieces[at + 1] if at + 1 < len(pieces) else b""
        if piece == b"**" and begins and follows == b"/":
            choices.append((b"", b"**/"))
            gaps += 1
            at += 2
            continue
        choices.append((b"*",) if piece == b"**" and not (begins and not follows) else (piece,))
        at += 1
    if gaps <= _MAX_GAPS:
        yield from (b"".join(parts) for parts in product(*choices))


def _literal_if_plain(pattern: bytes) -> bytes:
    """Return a pattern as rules read it: without any wildcard a backslash is a backslash there."""
    pieces = _PIECES.findall(pattern)
    if any(_WILD.match(piece) and piece != b"[" for piece in pieces):
        return pattern
    if any(piece == b"[" for piece in pieces):
        # A class without an end matches nothing, in either.
        return pattern
    plain = b"".join(piece[1:] if len(piece) == 2 and piece.startswith(b"\\") else piece for piece in pieces)
    return pattern if _WILD.search(plain) else plain
