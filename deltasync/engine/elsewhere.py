"""Bases from elsewhere: what a large file that is new under its name may be made from, anywhere in the destination.

Such files wait until everything is listed, since only then it is known what was renamed. Nothing is concluded from names, sizes and times:
they only decide what is tried as a base, and the delta shows what it is worth.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from deltasync._native.columns import column
from deltasync.engine.ground import Ground
from deltasync.engine.spool import Spool
from deltasync.engine.streams import Expected
from deltasync.fs.listing import list_names
from deltasync.fs.root import Root
from deltasync.patch.leftovers import partial_name
from deltasync.tree.entry import Entry
from deltasync.tree.names import is_reserved, join
from deltasync.tree.rows import Rows

__all__ = ["MIN_BYTES", "Candidate", "Elsewhere", "Found"]

MIN_BYTES = 1 << 20
"""A shorter file is sent as fast as a base for it is found."""
MAX_CANDIDATES = 1 << 16
"""How many large files of the destination are remembered: some 20 MiB."""
MAX_WAITING = 1 << 15
"""How many files may wait, since the sender remembers each of them; more than that are asked for at once, without a base."""
MAX_LOOKED = 1 << 18
"""How many entries are looked at in directories that the sender does not have."""
MAX_COMPARED = 256
"""How many names a name is compared with."""
SIMILAR = 0.5
"""How similar names must be (difflib's ratio) for one to stand for an earlier version of the other."""

_GOES, _STAYS = b"-", b"+"

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(tuple[int, Expected]).decode


class Candidate(NamedTuple):
    """A large file of the destination.

    Attributes:
        directory, name: Where it is.
        size, mtime_ns: What it was when it was seen.
        extra: Whether the sender does not have it.
        goes: Whether the deletions of this run will remove it, if nothing holds them back.
    """

    directory: bytes
    name: bytes
    size: int
    mtime_ns: int
    extra: bool
    goes: bool = False

    @property
    def partial(self) -> bool:
        """Whether it is what an interrupted run left of the wanted file."""
        return is_reserved(self.name)


class Found(NamedTuple):
    """A file that waited, and what may be its base: None for nothing."""

    file_id: int
    expected: Expected
    candidate: Candidate | None


class Elsewhere:
    """Remembers large files of the destination, and which new ones wait for them.

    Args:
        ground: Where the receiver works.
        made: Whether the destination was made by this run, so that nothing is in it.
    """

    def __init__(self, ground: Ground, *, made: bool) -> None:
        self._ground = ground
        self._active = not made and not ground.settings.dry_run and not ground.settings.whole_file
        self._extras = Spool()
        self._waiting = Spool()
        self._candidates: list[Candidate] = []

    def saw(self, directory: bytes, rows: Rows) -> None:
        """Take note of entries that stand in the destination."""
        if not self._active or len(self._candidates) >= MAX_CANDIDATES:
            return
        sizes = column("Q", rows.sizes)
        if not sizes or max(sizes) < MIN_BYTES:
            return
        for entry in rows.pick([index for index, size in enumerate(sizes) if size >= MIN_BYTES]):
            self._candidates.append(Candidate(directory, entry.name, entry.size, entry.mtime_ns, extra=False))

    def left(self, directory: bytes, names: list[bytes], *, goes: bool) -> None:
        """Take note of names in a directory that the sender does not have, and whether they are to be deleted."""
        if self._active:
            self._extras.append(b"\0".join([_GOES if goes else _STAYS, directory, *names]))

    def wants(self, entry: Entry, current: Entry | None) -> bool:
        """Tell whether a file without a base of its name should wait for one from elsewhere."""
        return self._active and current is None and entry.size >= MIN_BYTES and len(self._waiting) < MAX_WAITING

    def wait(self, file_id: int, expected: Expected) -> None:
        """Have a file wait."""
        self._waiting.append(_ENCODE((file_id, expected)))

    def left_of(self, expected: Expected, reserved: list[bytes]) -> Candidate | None:
        """Return what an interrupted run left of a file that is there too, if it is the better base: half as long at least.

        Args:
            expected: The file.
            reserved: The names of ours that stand in its directory.
        """
        entry, current, root = expected.entry, expected.current, self._ground.root
        if not self._active or current is None or root is None or self._ground.settings.update_mode in ("clone", "inplace"):
            return None
        if entry.size < MIN_BYTES or partial_name(entry.name) not in reserved:
            return None
        partial = self._partial(root, expected)
        return partial if partial is not None and 2 * partial.size >= min(entry.size, current.size) else None

    def found(self) -> Iterator[Found]:
        """Now that all is listed, yield the files that waited, each with the best base that there is."""
        root = self._ground.root
        if not len(self._waiting) or root is None:
            return
        choice = _Choice([*self._candidates, *self._left_over(root)])
        for record in self._waiting:
            file_id, expected = _DECODE(record)
            yield Found(file_id, expected, self._partial(root, expected) or choice.best(expected))
        self._waiting = Spool()

    def _partial(self, root: Root, expected: Expected) -> Candidate | None:
        """Return what an interrupted run left of this file."""
        name = partial_name(expected.entry.name)
        try:
            with root.dir(expected.directory) as lease:
                status = os.stat(name, dir_fd=lease.fd, follow_symlinks=False)
        except OSError:
            # There is none, or none that can be used; the usual case.
            return None
        return Candidate(expected.directory, name, status.st_size, 0, extra=False) if stat.S_ISREG(status.st_mode) else None

    def _left_over(self, root: Root) -> Iterator[Candidate]:
        """Find large files among what the sender does not have."""
        looked = 0
        for record in self._extras:
            fate, directory, *names = record.split(b"\0")
            open_directories = [(directory, names)]
            while open_directories and looked < MAX_LOOKED:
                directory, names = open_directories.pop()
                looked += len(names)
                self._ground.check()
                try:
                    for candidate in self._looked_at(root, directory, names, open_directories):
                        yield candidate._replace(goes=fate == _GOES)
                except OSError:
                    # What can't be looked at is no base; if it has to be deleted, that tells.
                    continue

    def _looked_at(self, root: Root, directory: bytes, names: list[bytes], further: list[tuple[bytes, list[bytes]]]) -> Iterator[Candidate]:
        """Look at names in a directory, all of them if none are given; what the rules exclude is never signed for the sender."""
        with root.dir(directory) as lease:
            for name in names or list_names(lease.fd)[0]:
                status = os.stat(name, dir_fd=lease.fd, follow_symlinks=False)
                path = join(directory, name)
                is_dir = stat.S_ISDIR(status.st_mode)
                if self._ground.filters.excluded(path, is_dir) or self._ground.protected(path, is_dir):
                    continue
                if is_dir:
                    further.append((path, []))
                elif stat.S_ISREG(status.st_mode) and status.st_size >= MIN_BYTES:
                    yield Candidate(directory, name, status.st_size, status.st_mtime_ns, extra=True)


class _Choice:
    """Finds for a file the candidate that is likeliest to be an earlier place or version of it."""

    def __init__(self, candidates: list[Candidate]) -> None:
        self._by_size: dict[int, list[Candidate]] = {}
        self._by_name: dict[bytes, list[Candidate]] = {}
        self._by_directory: dict[bytes, list[Candidate]] = {}
        self._taken: set[Candidate] = set()
        for candidate in candidates[:MAX_CANDIDATES]:
            self._by_size.setdefault(candidate.size, []).append(candidate)
            self._by_name.setdefault(candidate.name, []).append(candidate)
            self._by_directory.setdefault(candidate.directory, []).append(candidate)

    def best(self, expected: Expected) -> Candidate | None:
        """Return the best candidate: of the same size and time, of the same name, of the same size, or of a similar name beside it.

        One that the sender does not have any more is taken by one file only, and before any other.
        """
        entry = expected.entry
        same_size = [candidate for candidate in self._by_size.get(entry.size, ()) if candidate not in self._taken]
        same_name = [candidate for candidate in self._by_name.get(entry.name, ()) if candidate not in self._taken]
        beside = [candidate for candidate in self._by_directory.get(expected.directory, ()) if candidate not in self._taken]
        chosen = (
            _first(candidate for candidate in same_size if candidate.mtime_ns == entry.mtime_ns)
            or _first(candidate for candidate in same_name if _comparable(candidate.size, entry.size))
            or _first(same_size)
            or _most_similar(entry, beside)
        )
        if chosen is not None and chosen.extra:
            self._taken.add(chosen)
        return chosen


def _first(candidates: Iterator[Candidate] | list[Candidate]) -> Candidate | None:
    return min(candidates, key=lambda candidate: not candidate.extra, default=None)


def _comparable(one: int, other: int) -> bool:
    return one <= 4 * other and other <= 4 * one


def _most_similar(entry: Entry, candidates: list[Candidate]) -> Candidate | None:
    from difflib import SequenceMatcher

    best, most = None, SIMILAR
    for candidate in candidates[:MAX_COMPARED]:
        if not _comparable(candidate.size, entry.size):
            continue
        ratio = SequenceMatcher(None, candidate.name.decode("latin-1"), entry.name.decode("latin-1"), autojunk=False).ratio()
        if ratio > most:
            best, most = candidate, ratio
    return best
