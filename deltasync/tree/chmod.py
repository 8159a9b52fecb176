"""Changes of permissions as `--chmod` names them: the grammar of chmod(1), with `D` and `F` in front for directories or files. Pure.

    changes = item *("," item)
    item    = ["D" / "F"] (octal / *("u" / "g" / "o" / "a") ("+" / "-" / "=") (*("r" / "w" / "x" / "X" / "s" / "t") / ("u" / "g" / "o")))

The meaning of each is rsync's (rsync(1), --chmod).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import NamedTuple

__all__ = ["Chmod", "parse_chmod"]

_ITEM = re.compile(rb"(?P<kind>[DF]*)(?:(?P<octal>[0-7]{1,5})|(?P<who>[ugoa]*)(?P<deed>[-+=])(?:(?P<source>[ugo])|(?P<what>[rwxXst]*)))\Z")
_WHERE = {ord("u"): 0o100, ord("g"): 0o010, ord("o"): 0o001, ord("a"): 0o111}
_SPECIAL = {ord("u"): stat.S_ISUID, ord("g"): stat.S_ISGID, ord("o"): 0, ord("a"): stat.S_ISUID | stat.S_ISGID}
_CLEARED = {ord("u"): stat.S_ISUID, ord("g"): stat.S_ISGID, ord("o"): stat.S_ISVTX, ord("a"): 0o7000}
_SHIFT = {b"u": 6, b"g": 3, b"o": 0}
_WHAT = {ord("r"): 4, ord("w"): 2, ord("x"): 1, ord("X"): 1}
_BITS = 0o7777


class _Item(NamedTuple):
    """One change.

    Attributes:
        directories, files: What it applies to.
        keeps: The bits that stay.
        adds: The bits that are set then.
        conditional: Whether execute bits are only set where there were any, and in directories.
        source: From which class bits are copied, as a shift; None for none.
        copies: The bits that may be copied, by classes.
        deed: What is done with what is copied.
    """

    directories: bool
    files: bool
    keeps: int
    adds: int
    conditional: bool = False
    source: int | None = None
    copies: int = 0
    deed: bytes = b"="

    def applied(self, mode: int, *, executable: bool) -> int:
        """Return permission bits after this change."""
        keeps, adds = self.keeps, self.adds
        if self.source is not None:
            copied = self.copies & 0o111 * (mode >> self.source & 7)
            adds = 0 if self.deed == b"-" else copied
            keeps = keeps & ~copied if self.deed == b"-" else keeps
        if self.conditional and not executable:
            adds &= ~0o111
        return mode & keeps | adds


class Chmod(NamedTuple):
    """Changes, in their order."""

    items: tuple[_Item, ...]

    def applied(self, mode: int) -> int:
        """Return a mode (`st_mode`) after all changes; symlinks have none."""
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFLNK:
            return mode
        is_dir = kind == stat.S_IFDIR
        bits, executable = mode & _BITS, is_dir or bool(mode & 0o111)
        for item in self.items:
            if item.directories if is_dir else item.files:
                bits = item.applied(bits, executable=executable)
        return mode & ~_BITS | bits


def parse_chmod(text: bytes, umask: int) -> Chmod:
    """Read changes.

    Args:
        text: As the user wrote them.
        umask: What is left out where no class is named, as chmod(1) does.

    Raises:
        ValueError: They are malformed.
    """
    return Chmod(tuple(_parse(item, umask) for item in text.split(b",")))


def _parse(text: bytes, umask: int) -> _Item:
    match = _ITEM.match(text)
    if match is None or {*b"DF"} <= {*match["kind"]}:
        raise ValueError(f"{text.decode(errors='replace')!r} is no change of permissions; such as u+w, g=u, Fgo-x or D755")
    directories, files = b"F" not in match["kind"], b"D" not in match["kind"]
    if match["octal"] is not None:
        bits = int(match["octal"], 8)
        if bits > _BITS:
            raise ValueError(f"{text.decode()!r}: permissions are at most 7777")
        return _Item(directories, files, 0, bits)
    who, deed = match["who"], match["deed"]
    where = _union(_WHERE[letter] for letter in who)
    reach = where * 7 if where else 0o777 & ~umask
    if match["source"] is not None:
        keeps = _BITS & ~((where or 0o111) * 7) & ~_union(_CLEARED[letter] for letter in who or b"a") if deed == b"=" else _BITS
        return _Item(directories, files, keeps, 0, source=_SHIFT[match["source"]], copies=reach, deed=deed)
    what = match["what"]
    special = _union(_SPECIAL[letter] for letter in who)
    top = _top(what, special)
    bits = reach & 0o111 * _union(_WHAT.get(letter, 0) for letter in what)
    if deed == b"-":
        return _Item(directories, files, _BITS & ~bits & ~top, 0)
    keeps = _BITS if deed == b"+" else _BITS & ~((where or 0o111) * 7) & ~(special if top else 0)
    return _Item(directories, files, keeps, bits | top, conditional=b"X" in what)


def _top(what: bytes, special: int) -> int:
    """Return the special bits that letters stand for; where no class is named, `s` undoes a `t` before it, as it does in rsync."""
    top = 0
    for letter in what:
        if letter == ord("t"):
            top |= stat.S_ISVTX
        elif letter == ord("s"):
            top = top | special if special else stat.S_ISUID
    return top


def _union(bits: Iterable[int]) -> int:
    return reduce(or_, bits, 0)
