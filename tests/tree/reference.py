"""rsync's matching once more, as literally as the manual has it and with no thought of speed: what the real one is compared with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

__all__ = ["excluded", "matches", "rule_matches"]

CLASSES = {
    b"alnum": rb"[0-9A-Za-z]",
    b"alpha": rb"[A-Za-z]",
    b"blank": rb"[ \t]",
    b"cntrl": rb"[\x00-\x1f\x7f]",
    b"digit": rb"[0-9]",
    b"graph": rb"[!-~]",
    b"lower": rb"[a-z]",
    b"print": rb"[ -~]",
    b"punct": rb"[!-/:-@\[-`{-~]",
    b"space": rb"[ \t\n\r\v\f]",
    b"upper": rb"[A-Z]",
    b"xdigit": rb"[0-9A-Fa-f]",
}


def _in_class(pattern: bytes, byte: int) -> tuple[bool, bytes] | None:
    """Tell whether a byte is in the class whose `[` has just been read, with the pattern behind it; None if it is malformed."""
    negated = pattern[:1] in (b"!", b"^")
    pattern = pattern[negated:]
    found = False
    previous = -1
    first = True
    while first or not pattern.startswith(b"]"):
        first = False
        named = re.match(rb"\[:([^]]*):\]", pattern)
        if named:
            if named[1] not in CLASSES:
                return None
            found = found or re.match(CLASSES[named[1]], bytes([byte])) is not None
            pattern, previous = pattern[named.end() :], -1
            continue
        spanned = re.match(rb"-\\?([^]]|(?<=\\)\])", pattern, re.DOTALL) if previous >= 0 else None
        if spanned and spanned[0] != b"-\\":
            found = found or previous <= byte <= spanned[1][0]
            pattern, previous = pattern[spanned.end() :], -1
            continue
        single = re.match(rb"\\?(.)", pattern, re.DOTALL)
        if not single or single[0] == b"\\":
            return None
        found = found or byte == single[1][0]
        pattern, previous = pattern[single.end() :], single[1][0]
    return found != negated, pattern[1:]


def matches(pattern: bytes, text: bytes) -> bool:
    """Tell whether a pattern with wildcards matches all of a text."""

    @cache
    def holds(rest: bytes, text: bytes) -> bool:
        if not rest:
            return not text
        if rest.startswith(b"*"):
            behind = rest.lstrip(b"*")
            any_byte = len(rest) - len(behind) > 1
            return holds(behind, text) or (text != b"" and (any_byte or text[:1] != b"/") and holds(rest, text[1:]))
        if not text:
            return False
        if rest.startswith(b"?"):
            return text[:1] != b"/" and holds(rest[1:], text[1:])
        if rest.startswith(b"["):
            found = _in_class(rest[1:], text[0])
            return found is not None and found[0] and text[:1] != b"/" and holds(found[1], text[1:])
        wanted = rest[1:2] if rest.startswith(b"\\") else rest[:1]
        return text[:1] == wanted and holds(rest[len(wanted) + rest.startswith(b"\\") :], text[1:])

    return holds(pattern, text)


def rule_matches(pattern: bytes, path: bytes, is_dir: bool) -> bool:
    """Tell whether a rule with this pattern matches an entry."""
    if len(pattern) > 1 and pattern.endswith(b"/"):
        if not is_dir:
            return False
        pattern = pattern[:-1]
    wild = re.search(rb"[*?\[]", pattern) is not None
    slashes = pattern.count(b"/")
    text = path if slashes or b"**" in pattern else path.rpartition(b"/")[2]
    if pattern.startswith(b"**"):
        text = b"/" + text
    if pattern.endswith(b"***") and is_dir:
        text += b"/"
    if pattern.startswith(b"/"):
        return matches(pattern[1:], text) if wild else text == pattern[1:]
    if not wild:
        return text == pattern or text.endswith(b"/" + pattern)
    if pattern.startswith(b"**") or not (slashes or b"**" in pattern):
        return matches(pattern, text)
    if b"**" in pattern:
        return any(matches(pattern, text[at:]) for at in range(len(text)) if not at or text[at - 1 : at] == b"/")
    names = text.split(b"/")
    return len(names) > slashes and matches(pattern, b"/".join(names[-slashes - 1 :]))


def excluded(rules: Sequence[tuple[bool, bytes]], path: bytes, is_dir: bool) -> bool:
    """Tell whether the first of the rules (include, pattern) that matches an entry leaves it out."""
    return next((not include for include, pattern in rules if rule_matches(pattern, path, is_dir)), False)
