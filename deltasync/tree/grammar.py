"""The grammar of `--filter` and of merged files: rule kinds, their names in full, and modifiers. Pure.

Source: rsync(1), "FILTER RULES" to "LIST-CLEARING FILTER RULE"; where the manual leaves a doubt, the binary's behaviour (3.5.0) decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from deltasync.tree.names import shown
from deltasync.tree.rules import CLEAR, UNSIDED, Clear, Origin, Rule, Side, split_lines, traced

__all__ = ["CVS_PATTERNS", "PLAIN", "Action", "CvsDefaults", "DirMerge", "Merge", "Template", "parse_filter", "parse_merged"]

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
        perishable, side, absolute: What all rules in it are.
        unsaid: The side of its rules of which none is said; none (`UNSIDED`) for both.
        git: Whether it is one of git's ignore files; then nothing but the sides counts.
    """

    include: bool = False
    prefixes: bool = True
    words: bool = False
    clears: bool = False
    perishable: bool = False
    side: Side = UNSIDED
    absolute: bool = False
    unsaid: Side = UNSIDED
    git: bool = False


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


class DirMerge(NamedTuple):
    """A file in each directory, whose rules there and beneath stand in the place of this.

    Attributes:
        file: Its name as written; with a slash, it is looked for from that directory down to the top of the transfer as well.
        template: How it is read.
        inherits: Whether the rules count in the directories beneath.
    """

    file: bytes
    template: Template
    inherits: bool = True

    @property
    def name(self) -> bytes:
        """Its name in each directory."""
        return self.file.rpartition(b"/")[2]

    @property
    def side(self) -> Side:
        """The sides that its rules are for."""
        return self.template.side

    @property
    def wire(self) -> bytes:
        """The rule as it travels."""
        read = self.template
        kind = b"g" if read.git else b"C" if read.clears else b"" if read.prefixes else b"+" if read.include else b"-"
        letters = b"n" * (not self.inherits) + b"w" * (read.words and not read.clears) + b"/" * read.absolute
        sides = b"s" * (Side.SENDER in read.side) + b"r" * (Side.RECEIVER in read.side) + b"h" * (Side.SENDER in read.unsaid)
        return b":" + kind + letters + b"p" * read.perishable + sides + b" " + self.file


class CvsDefaults(NamedTuple):
    """The place of what `-C` leaves out: `CVS_PATTERNS`, the user's own and those of the environment.

    Attributes:
        template: How these are read.
    """

    template: Template


Action: TypeAlias = Rule | Clear | Merge | DirMerge | CvsDefaults


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
        return [_rule(template, Rule(template.include, text, perishable=template.perishable, side=template.side))]
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
    if kind in b".:":
        within = template._replace(absolute=template.absolute or modifiers.has(b"/"), perishable=perishable, side=side)
        return _merge(kind, modifiers, pattern, within)
    if modifiers.has(b"C"):
        if pattern:
            raise ValueError("a rule with the modifier 'C' takes no pattern")
        return [CvsDefaults(Template(kind == b"+", prefixes=False, words=True, clears=True, perishable=True, side=side))]
    if not pattern:
        raise ValueError("a filter rule without a pattern")
    negated, absolute = modifiers.has(b"!"), modifiers.has(b"/")
    rule = Rule(kind in b"+SR", pattern, negated=negated, perishable=perishable, side=side, absolute=absolute)
    # What is about extended attributes is about no entry.
    return [] if modifiers.has(b"x") else [_rule(template, rule)]


def _rule(template: Template, rule: Rule) -> Rule:
    return rule._replace(side=rule.side or template.unsaid, absolute=template.absolute or rule.absolute)


def _merge(kind: bytes, modifiers: _Modifiers, file: bytes, within: Template) -> list[Action]:
    cvs = modifiers.has(b"C")
    if not file and not cvs:
        raise ValueError("a merge rule without a file")
    file = file or b".cvsignore"
    bare = cvs or modifiers.has(b"-") or modifiers.has(b"+")
    template = within._replace(include=modifiers.has(b"+"), prefixes=not bare, words=cvs or modifiers.has(b"w"), clears=cvs)
    actions: list[Action] = [Rule(False, file.rpartition(b"/")[2], side=within.unsaid)] if modifiers.has(b"e") else []
    if kind == b".":
        return [*actions, Merge(file, template)]
    if not file.rpartition(b"/")[2] or file.rpartition(b"/")[2] in (b".", b".."):
        raise ValueError("a dir-merge rule takes the name of a file")
    return [*actions, DirMerge(file, template, inherits=not (cvs or modifiers.has(b"n")))]


def _kind(text: bytes) -> tuple[bytes, bytes]:
    """Return the letter of a rule's kind and what follows it, a comma between them left out."""
    word = _WORD.match(text)
    if word:
        kind, rest = _WORDS[word[1]], text[word.end() :]
    else:
        kind, rest = text[:1], text[1:]
    if kind not in _WORDS.values():
        raise ValueError(f"{shown(text[:80])!r} is no filter rule; it begins with one of + - P R H S . : ! or their names")
    return kind, rest[1:] if rest[:1] == b"," else rest


def _modifiers(kind: bytes, rest: bytes) -> tuple[_Modifiers, bytes]:
    """Take the modifiers off what follows a kind; what is left is the pattern."""
    end = next((index for index, byte in enumerate(rest) if byte in b" _"), len(rest))
    letters, pattern = rest[:end], rest[end + 1 :]
    side = _SIDED.get(kind, UNSIDED)
    seen: set[int] = set()
    for byte in letters:
        letter = bytes([byte])
        bare = bool(seen & set(b"+-C"))
        allowed = {b".": b"/+-Cenprswx", b":": b"/+-Cenprswx", b"+": b"/!Cprsx", b"-": b"/!Cprsx"}.get(kind, b"/!px")
        if letter not in allowed or (letter in b"+-C" and bare):
            raise ValueError(f"{shown(letter)!r} is no modifier of this filter rule")
        if letter in b"rs":
            side |= Side.RECEIVER if letter == b"r" else Side.SENDER
        seen.add(byte)
    return _Modifiers(frozenset(seen), side), pattern


def parse_merged(data: bytes, template: Template, *, nul: bool = False, file: str | None = None) -> Iterator[Action]:
    """Yield what a merged file means, the lines of which end as in `split_lines`.

    With `file`, its name, the rules have an origin.

    Raises:
        ValueError: As `parse_filter`; the text begins with the number of the line, and shows nothing of what is in the file.
    """
    if template.words:
        parts, unit = re.split(rb"[%b]+" % _SPACE, data), "word"
    else:
        parts, unit = split_lines(data, nul=nul), "line"
    for number, part in enumerate(parts, 1):
        if template.words or not part.startswith((b";", b"#")):
            try:
                parsed = parse_filter(part, template)
                yield from parsed if file is None else traced(parsed, Origin(f"{file}, {unit} {number}", part))
            except ValueError:
                raise ValueError(f"{unit} {number}: it is no filter rule, or one that is not supported") from None
