"""One directory of the destination beside the sender's: sections in, the entries that differ out.

Both sides are in the order of their names, so that a section is compared with the run of names that stands opposite. Equal columns
are equal directories: the usual case costs no work per entry.
"""

from __future__ import annotations

import stat
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

from deltasync.engine.ground import Ground
from deltasync.engine.reading import digest_at
from deltasync.fs.listing import Files, list_names, look, own_entry
from deltasync.fs.root import Dir
from deltasync.tree.entry import Entry
from deltasync.tree.plan import Policy
from deltasync.tree.rows import NO_DIGEST, Rows, Section

__all__ = ["Beside", "Identity", "Opposite"]


class Identity(NamedTuple):
    """Which file it is, whatever its names."""

    device: int
    inode: int


class Opposite(NamedTuple):
    """An entry of the sender and what stands opposite.

    Attributes:
        at: Its place in the section.
        entry: The sender's, localised.
        current: Ours; None for nothing.
        identity: Which file ours is; None for nothing.
        digest: The sender's digest of a regular file, empty unless `--checksum`.
        same: Whether both are known to be equal in everything that counts.
    """

    at: int
    entry: Entry
    current: Entry | None
    identity: Identity | None
    digest: bytes
    same: bool


class Beside:
    """A directory of the destination while its sections arrive.

    Args:
        ground: The receiver's ground.
        path: The directory.
        lease: The open directory; None if it does not exist (dry run). It belongs to this object until `close`.
        saw: Told of the directory and of entries that stand in it.
        partial: Whether only some of its names are of interest, so that it need not be listed.

    Attributes:
        fd: Its descriptor, or -1.
        own: Its own entry as it was found; None if it does not exist.
        extras: Names that the sender does not have.
        reserved: Names of ours (staged files) found in it.
        policy: What decides about its entries.
        occupied: Whether anything but reserved names stood in it.
    """

    def __init__(
        self, ground: Ground, path: bytes, lease: Dir | None, saw: Callable[[bytes, Rows], None], *, partial: bool = False
    ) -> None:
        self.path = path
        self.fd = lease.fd if lease is not None else -1
        self.own: Entry | None = None
        self.extras: list[bytes] = []
        self.reserved: list[bytes] = []
        self.policy: Policy = ground.policy(self.fd)
        self.touched = False
        self._ground = ground
        self._saw = saw
        self._lease = lease
        self._names: list[bytes] = []
        self._at = 0
        if lease is not None:
            self.own = own_entry(lease.fd)
            if not partial:
                self._names, self.reserved = list_names(lease.fd)
        self.occupied = bool(self._names)

    def close(self) -> None:
        """Let go of the directory."""
        if self._lease is not None:
            self._lease.release()

    def differing(self, section: Section) -> Iterator[Opposite]:
        """Yield the entries of a section that differ, or that belong to a group of hard links; note what the sender does not have."""
        rows = section.rows
        names = rows.name_list()
        opposite = (names if self.fd >= 0 else []) if section.partial else self._beside(section, names)
        ours, files = look(self.fd, opposite, self._missed) if opposite else (Rows(0, b"", b"", b"", b"", b"", b""), Files([], [], []))
        self._saw(self.path, ours)
        policy = self.policy = self.policy._replace(ignore_times=True) if section.written else self.policy
        if ours.entry_count == rows.entry_count and not policy.ignore_times and not policy.checksum and self._equal(rows, ours):
            if rows.link_indexes:
                entries = list(rows.entries())
                for index, entry in enumerate(entries):
                    if entry.link_group:
                        identity = Identity(files.devices[index], files.inodes[index])
                        yield Opposite(index, self._ground.localised(entry), entry, identity, b"", same=True)
            return
        digests = rows.digest_map()
        current = {entry.name: (entry, at) for at, entry in enumerate(ours.entries())}
        forced = policy.ignore_times or policy.checksum
        for index, sent in enumerate(rows.entries()):
            entry = self._ground.localised(sent)
            known = current.get(entry.name)
            if known is None:
                yield Opposite(index, entry, None, None, digests.get(index, b""), same=False)
                continue
            mine, at = known
            same = not forced and entry[:8] == mine[:8]
            if not same or entry.link_group:
                yield Opposite(index, entry, mine, Identity(files.devices[at], files.inodes[at]), digests.get(index, b""), same)

    def _beside(self, section: Section, names: list[bytes]) -> list[bytes]:
        """Return which of the names of a section stand here too, and note those that stand here alone."""
        end = len(self._names) if section.last else bisect_right(self._names, names[-1], self._at) if names else self._at
        opposite = self._names[self._at : end]
        self._at = end
        if opposite == names:
            return names
        self._note_extras(names, opposite)
        have = set(opposite)
        return [name for name in names if name in have]

    def _equal(self, theirs: Rows, ours: Rows) -> bool:
        ground = self._ground
        # Columns of numbers that are not kept at this destination need not agree; numbers with another meaning here must be translated.
        if not ground.as_sent:
            return False
        return (
            theirs.names == ours.names
            and theirs.modes == ours.modes
            and theirs.sizes == ours.sizes
            and theirs.mtimes_ns == ours.mtimes_ns
            and (theirs.uids == ours.uids or not ground.keeps_owner)
            and (theirs.gids == ours.gids or not ground.settings.group)
            and theirs.targets == ours.targets
            and theirs.rdevs == ours.rdevs
        )

    def _note_extras(self, names: list[bytes], opposite: list[bytes]) -> None:
        theirs = set(names)
        self.extras += [name for name in opposite if name not in theirs]

    def _missed(self, name: bytes, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._ground.failed(self.path, name, error, "it can't be looked at")

    def same_content(self, opposite: Opposite) -> Callable[[], bool]:
        """Return what compares the digests of a regular file, when it is asked."""

        def compare() -> bool:
            if opposite.digest == NO_DIGEST or not stat.S_ISREG(opposite.entry.mode):
                return False
            try:
                return digest_at(self.fd, opposite.entry.name, opposite.entry.size, self._ground.check) == opposite.digest
            except (OSError, ValueError):
                # A file of ours that can't be read is replaced; if that fails too, the failure is reported there.
                return False

        return compare
