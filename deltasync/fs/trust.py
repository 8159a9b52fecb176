"""Whom this installation trusts: `authorized_peers` says which clients may do what here, `known_daemons` which listener has which key.

Both are lines that people may edit: blank ones and comments (`#`) stay where they are. What is malformed grants nothing.

    authorized_peers   KEY ALLOW [NAME]      ALLOW is `*`, or root names with commas between them, each `NAME` or `NAME:ro`
    known_daemons      HOST:PORT KEY
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from deltasync.errors import StateError
from deltasync.fs.line_file import LineFile, Stamp
from deltasync.tree.names import ROOT_NAME, shown
from deltasync.wire.keys import decode_public, encode

__all__ = ["ALL", "Daemon", "Listed", "Peer", "authorized_peers", "known_daemons", "parse_allow"]

ALL = "*"
_READ_ONLY = ":ro"


@dataclass(frozen=True, slots=True)
class Peer:
    """A client that may do something here.

    Attributes:
        key: Its public key, 32 bytes.
        allow: Root names, and whether they are read-only to this client; `ALL` stands for every root as it is shared.
        name: What it is called in lists and logs; may be empty.
    """

    key: bytes
    allow: MappingProxyType[str, bool]
    name: str = ""

    def access(self, root: str) -> bool | None:
        """Tell whether a root is read-only to this client; None if it may not use it."""
        return self.allow.get(root, self.allow.get(ALL))

    @property
    def allow_text(self) -> str:
        """The grants as they are written."""
        return ",".join(f"{root}{_READ_ONLY if read_only else ''}" for root, read_only in self.allow.items())

    @property
    def handle(self) -> str:
        """What the line is about."""
        return encode(self.key)

    def line(self) -> str:
        """Return the line that stands for it."""
        return " ".join(filter(None, (self.handle, self.allow_text, self.name)))


@dataclass(frozen=True, slots=True)
class Daemon:
    """A listener whose key is known.

    Attributes:
        address: `HOST:PORT` as the user writes it.
        key: Its public key, 32 bytes.
    """

    address: str
    key: bytes

    @property
    def handle(self) -> str:
        """What the line is about."""
        return self.address

    def line(self) -> str:
        """Return the line that stands for it."""
        return f"{self.address} {encode(self.key)}"


_Entry = TypeVar("_Entry", Peer, Daemon)


def parse_allow(words: list[str]) -> MappingProxyType[str, bool]:
    """Return grants as written, one a word.

    Raises:
        ValueError: There are none, or one is not `*`, `NAME` or `NAME:ro`, or stands there twice.
    """
    allow: dict[str, bool] = {}
    for word in words:
        root = word.removesuffix(_READ_ONLY)
        if (word != ALL and ROOT_NAME.fullmatch(root) is None) or root in allow:
            raise ValueError(f"{shown(word) or repr('')} is no grant: write NAME, NAME:ro or '*', each once")
        allow[root] = word != root
    if not allow:
        raise ValueError("nothing is granted")
    return MappingProxyType(allow)


class Listed(Generic[_Entry]):
    """The entries of one of the files, each about another key or address.

    Args:
        file: The file.
        parse: Returns the entry of a line that is neither blank nor a comment; raises `ValueError`.
    """

    def __init__(self, file: LineFile, parse: Callable[[str], _Entry]) -> None:
        self._file = file
        self._parse: Callable[[str], _Entry] = parse

    @property
    def path(self) -> str:
        """Where the file is."""
        return self._file.path

    def stamp(self) -> Stamp | None:
        """See `LineFile.stamp`."""
        return self._file.stamp()

    def read(self) -> tuple[list[_Entry], list[int]]:
        """Return the entries in order, and the numbers of the lines that are none or are about what stood there before.

        Raises:
            StateError: The file can't be used.
        """
        entries: dict[str, _Entry] = {}
        bad: list[int] = []
        for number, line in enumerate(self._file.read(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                entry = self._parse(line)
            except ValueError:
                bad.append(number)
                continue
            if entry.handle in entries:
                bad.append(number)
            else:
                entries[entry.handle] = entry
        return list(entries.values()), bad

    def entries(self) -> list[_Entry]:
        """Return the entries, all of whose lines are well-formed.

        Raises:
            StateError: The file can't be used, or one of its lines means nothing.
        """
        entries, bad = self.read()
        if bad:
            raise StateError(
                f"{shown(self.path)}, line {bad[0]}: this is no entry, or is about what stands there before; mend or remove it"
            )
        return entries

    def add(self, entry: _Entry) -> None:
        """Put an entry in the place of the one about the same, or at the end.

        Raises:
            StateError: The file can't be used or written.
        """

        def change(lines: list[str]) -> list[str]:
            places = [at for at, line in enumerate(lines) if self._handle(line) == entry.handle]
            kept: list[str] = [line for at, line in enumerate(lines) if at not in places[1:]]
            if not places:
                return [*kept, entry.line()]
            kept[places[0]] = entry.line()
            return kept

        self._file.update(change)

    def remove(self, handle: str) -> bool:
        """Remove what is said about a key or address; tell whether there was anything.

        Raises:
            StateError: The file can't be used or written.
        """
        found = False

        def change(lines: list[str]) -> list[str]:
            nonlocal found
            found = any(self._handle(line) == handle for line in lines)
            return [line for line in lines if self._handle(line) != handle]

        self._file.update(change)
        return found

    def _handle(self, line: str) -> str | None:
        """Return what a line is about, also where the rest of it is malformed; None for a comment."""
        words = line.split()
        return words[0] if words and not words[0].startswith("#") else None


def authorized_peers(directory: str) -> Listed[Peer]:
    """Return the clients that may do something here."""
    return Listed(LineFile(directory, "authorized_peers"), _peer)


def known_daemons(directory: str) -> Listed[Daemon]:
    """Return the listeners whose keys are known."""
    return Listed(LineFile(directory, "known_daemons"), _daemon)


def _peer(line: str) -> Peer:
    key, allow, *name = line.split(None, 2)
    return Peer(decode_public(key), parse_allow(allow.split(",")), name[0].strip() if name else "")


def _daemon(line: str) -> Daemon:
    address, key = line.split()
    return Daemon(address, decode_public(key))
