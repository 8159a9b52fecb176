"""The grammar of `--filter` and of merged files: rule kinds, their names in full, and modifiers. Pure.

Source: rsync(1), "FILTER RULES" to "LIST-CLEARING FILTER RULE"; where the manual leaves a doubt, the binary's behaviour (3.5.0) decides.
Refused though rsync has it: the modifier `/` (absolute paths) and merge files of each directory (`:`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from deltasync.tree.names import shown
from deltasync.tree.rules import CLEAR, UNSIDED, Clear, Rule, Side

__all__ = ["CVS_PATTERNS", "PLAIN", "CvsDefaults", "Merge", "Template", "parse_filter", "parse_merged"]

CVS_PATTERNS: Final = (
    b"RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo *~ #* .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej"
    b" .del-* *.a *.olb *.o *.obj *.so *.exe *.Z *.elc *.ln core .svn/ .git/ .hg/ .bzr/"
)
"""What `-C` leaves out; rsync(1), `--cvs-exclude`."""

_WORDS: Final = {
    b"clear": b"!",
    b"exclude": b"-",
    b"hide": b"H",
    b"include": b"+",
    b"merge": b".",
    b"dir-merge": b":",
    b"protect": b"P",
    b"risk": b"R",
    b"show": b"S",
}
_WORD: Final = re.compile(rb"(%b)(?=[\s_,]|\Z)" % b"|".join(_WORDS))
_SIDED: Final = {b"H": Side.SENDER, b"S": Side.SENDER, b"P": Side.RECEIVER, b"R": Side.RECEIVER}
_SPACE: Final = b" \t\n\v\f\r"


class Template(NamedTuple):
    """What a file says of the rules in it.

    Attributes:
        include: What a line without a prefix is.
        prefixes: Whether lines have the prefixes of rules; without them each is a pattern.
        words: Whether any white space ends a rule, and there are no comments.
        clears: Whether a lone `!` clears though there are no prefixes.
        perishable, side: What all rules in it are.
    """

    include: bool = False
    prefixes: bool = True
    words: bool = False
    clears: bool = False
    perishable: bool = False
    side: Side = UNSIDED


PLAIN: Final = Template()
"""That of `--filter`."""


class Merge(NamedTuple):
    """A file whose rules stand in the place of this.

    Attributes:
        file: Its name as written.
        template: How it is read.
    """

    file: bytes
    template: Template


class CvsDefaults(NamedTuple):
    """The place of what `-C` leaves out: `CVS_PATTERNS`, the user's own and those of the environment.

    Attributes:
        template: How these are read.
    """

    template: Template


Action = Rule | Clear | Merge | CvsDefaults


class _Modifiers(NamedTuple):
    letters: frozenset[int]
    side: Side

    def has(self, letter: bytes) -> bool:
        return letter[0] in self.letters


def parse_filter(text: bytes, template: Template = PLAIN) -> list[Action]:
    """Return what one rule means.

    Args:
        text: The rule as written.
        template: Of the file that it stands in.

    Raises:
        ValueError: It is none, or one that is refused.
    """
    if not text:
        return []
    if not template.prefixes:
        if template.clears and text == b"!":
            return [CLEAR]
        return [Rule(template.include, text, perishable=template.perishable, side=template.side)]
    kind, rest = _kind(text)
    if kind == b"!":
        if rest:
            raise ValueError("a '!' rule with something behind it")
        return [CLEAR]
    modifiers, pattern = _modifiers(kind, rest)
    side = modifiers.side
    if template.side:
        if side:
            raise ValueError("a rule for one side in a file that is merged for one side")
        side = template.side
    perishable = template.perishable or modifiers.has(b"p")
    if kind == b".":
        return _merge(modifiers, pattern, perishable, side)
    if modifiers.has(b"C"):
        if pattern:
            raise ValueError("a rule with the modifier 'C' takes no pattern")
        return [CvsDefaults(Template(kind == b"+", prefixes=False, words=True, clears=True, perishable=True, side=side))]
    if not pattern:
        raise ValueError("a filter rule without a pattern")
    rule = Rule(kind in b"+SR", pattern, negated=modifiers.has(b"!"), perishable=perishable, side=side)
    # What is about extended attributes is about no entry.
    return [] if modifiers.has(b"x") else [rule]


def _merge(modifiers: _Modifiers, file: bytes, perishable: bool, side: Side) -> list[Action]:
    cvs = modifiers.has(b"C")
    if not file and not cvs:
        raise ValueError("a merge rule without a file")
    file = file or b".cvsignore"
    bare = cvs or modifiers.has(b"-") or modifiers.has(b"+")
    template = Template(modifiers.has(b"+"), not bare, cvs or modifiers.has(b"w"), cvs, perishable, side)
    itself: list[Action] = [Rule(False, file.rpartition(b"/")[2])] if modifiers.has(b"e") else []
    return [*itself, Merge(file, template)]


def _kind(text: bytes) -> tuple[bytes, bytes]:
    """Return the letter of a rule's kind and what follows it, a comma between them left out."""
    word = _WORD.match(text)
    if word:
        kind, rest = _WORDS[word[1]], text[word.end() :]
    else:
        kind, rest = text[:1], text[1:]
    if kind not in _WORDS.values():
        raise ValueError(f"{shown(text[:80])!r} is no filter rule; it begins with one of + - P R H S . ! or their names")
    if kind == b":":
        raise ValueError("merge files of each directory are not supported; write the rules on the command line, or merge one file with '.'")
    return kind, rest[1:] if rest[:1] == b"," else rest


def _modifiers(kind: bytes, rest: bytes) -> tuple[_Modifiers, bytes]:
    """Take the modifiers off what follows a kind; what is left is the pattern."""
    end = next((index for index, byte in enumerate(rest) if byte in b" _"), len(rest))
    letters, pattern = rest[:end], rest[end + 1 :]
    side = _SIDED.get(kind, UNSIDED)
    seen: set[int] = set()
    for byte in letters:
        letter = bytes([byte])
        if letter == b"/":
            raise ValueError("the modifier '/' is not supported; write the pattern from the top of the transfer")
        bare = bool(seen & set(b"+-C"))
        allowed = {b".": b"+-Cenprswx", b"+": b"!Cprsx", b"-": b"!Cprsx"}.get(kind, b"!px")
        if letter not in allowed or (letter in b"+-C" and bare):
            raise ValueError(f"{shown(letter)!r} is no modifier of this filter rule")
        if letter in b"rs":
            side |= Side.RECEIVER if letter == b"r" else Side.SENDER
        seen.add(byte)
    return _Modifiers(frozenset(seen), side), pattern


def parse_merged(data: bytes, template: Template) -> Iterator[Action]:
    """Yield what a merged file means.

    Raises:
        ValueError: As `parse_filter`; the text begins with the number of the line, and shows nothing of what is in the file.
    """
    if template.words:
        parts, unit = re.split(rb"[%b]+" % _SPACE, data), "word"
    else:
        parts, unit = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), "line"
    for number, part in enumerate(parts, 1):
        if template.words or not part.startswith((b";", b"#")):
            try:
                yield from parse_filter(part, template)
            except ValueError:
                raise ValueError(f"{unit} {number}: it is no filter rule, or one that is not supported") from None
