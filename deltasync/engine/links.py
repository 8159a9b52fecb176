"""Hard links at the destination: one name of a group is made like any entry, the others are linked to it when all contents are there.

The name that leads is rsync's choice: the first that stands here as a regular file already, so that no content is sent that may be here
under another name; where there is none, the last. Groups of symlinks and specials are led by their first name.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from deltasync.engine.comparison import Identity, Opposite
from deltasync.engine.deletions import Deletions
from deltasync.engine.ground import Ground
from deltasync.engine.spool import Spool
from deltasync.fs.listing import entry_at
from deltasync.patch.make import make_link
from deltasync.tree.entry import Entry
from deltasync.tree.names import join, shown, split
from deltasync.tree.plan import Change, Deed, Policy, Step, decide, is_of_size

__all__ = ["Links", "Postponed"]

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(tuple[bytes, bytes, Entry]).decode

MAX_POSTPONED = 16_384
"""Most names that are put off in a run, since the sender remembers each to the end: some 8 MiB. Behind them the first name leads."""


class Postponed(NamedTuple):
    """A name, not here as a regular file, of a group that none leads yet.

    Attributes:
        directory: Its directory.
        file_id: Its number.
        entry: The sender's, localised.
        blocked: Whether a directory stands in its place that can go only when deletions are done.
    """

    directory: bytes
    file_id: int
    entry: Entry
    blocked: bool


class Links:
    """The groups of hard links of a run.

    Attributes:
        spared_files, spared_bytes: Names that were put off and turned out to need no content, and their sizes.
    """

    def __init__(self, ground: Ground, deletions: Deletions) -> None:
        self.spared_files = self.spared_bytes = 0
        self._ground = ground
        self._deletions = deletions
        self._leaders: dict[int, tuple[bytes, Identity | None]] = {}
        self._awaited: set[int] = set()
        self._followers = Spool()
        self._postponed: dict[int, list[Postponed]] = {}
        self._may_postpone = MAX_POSTPONED

    def waits(self, entry: Entry, step: Step) -> bool:
        """Tell whether a name that follows no other is for `postpone`, since a later name of its group may be here already."""
        return bool(entry.link_group and step.deed is Deed.CONTENT and step.change & Change.NEW and self._may_postpone)

    def postpone(self, name: Postponed) -> None:
        """Put a name off until another one leads its group, or `elect` chooses."""
        self._postponed.setdefault(name.entry.link_group, []).append(name)
        self._may_postpone -= 1

    def elect(self) -> Iterator[Postponed]:
        """Now that all names are known, yield for each group that is not here the name that leads it: the last one whose place is free."""
        for group in list(self._postponed):
            names = self._postponed[group]
            leader = names.pop(max(range(len(names)), key=lambda at: (not names[at].blocked, at)))
            self._follow_me(leader.directory, leader.entry, None)
            yield leader

    def _follow_me(self, directory: bytes, entry: Entry, identity: Identity | None) -> None:
        """Have an entry lead its group, also those of it that were put off; what it stands for is here already, or awaited."""
        group, path = entry.link_group, join(directory, entry.name)
        dry_run = self._ground.settings.dry_run
        self._leaders[group] = (path, identity)
        if identity is None and not dry_run:
            self._awaited.add(group)
        for name in self._postponed.pop(group, ()):
            self._followers.append(_ENCODE((name.directory, path, name.entry)))
            if not dry_run:
                self.spared_files += 1
                self.spared_bytes += name.entry.size

    def lead(self, directory: bytes, opposite: Opposite, step: Step) -> None:
        """Take note of what becomes of an entry that follows no other: unless it is skipped, the others of its group follow it."""
        entry = opposite.entry
        if step.deed is Deed.SKIP:
            return
        self._follow_me(directory, entry, opposite.identity if step.deed in (Deed.KEEP, Deed.ATTRIBUTES) else None)

    def stands(self, entry: Entry) -> None:
        """Take note that an entry has come to its place, so that others may be linked to it."""
        self._awaited.discard(entry.link_group)

    def leads(self, entry: Entry) -> bool:
        """Tell whether an entry belongs to a group that another name leads, so that it is for `follow`."""
        return entry.link_group in self._leaders

    def follow(self, directory: bytes, opposite: Opposite, policy: Policy) -> bool:
        """Have an entry linked later to the one that leads its group; False if it needs nothing, or an option forbids it."""
        entry, current = opposite.entry, opposite.current
        leader, identity = self._leaders[entry.link_group]
        skipped = (policy.existing and current is None) or (policy.ignore_existing and current is not None)
        skipped = skipped or (entry.kind == stat.S_IFREG and not is_of_size(entry, policy))
        if skipped or (identity is not None and identity == opposite.identity):
            return False
        self._followers.append(_ENCODE((directory, leader, entry)))
        return True

    def __len__(self) -> int:
        return len(self._followers)

    def settle(self, policy: Policy) -> None:
        """Link every follower to its leader."""
        for record in self._followers:
            self._ground.check()
            directory, leader, entry = _DECODE(record)
            if entry.link_group in self._awaited:
                text = f"its other name, {shown(leader)}, could not be put in place; run again"
                self._ground.reporter.problem(join(directory, entry.name), text)
                continue
            try:
                self._link(directory, leader, entry, policy)
            except OSError as error:
                self._ground.failed(directory, entry.name, error, "it can't be linked to its other name")
        self._followers = Spool()

    def _link(self, directory: bytes, leader: bytes, entry: Entry, policy: Policy) -> None:
        ground = self._ground
        root = ground.root
        current = None
        try:
            if root is not None:
                with root.dir(directory) as lease:
                    current = entry_at(lease.fd, entry.name)
                    if current is not None and current.kind == stat.S_IFDIR and not self._cleared(directory, lease.fd, entry.name):
                        return
        except OSError as error:
            if not ground.settings.dry_run or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
        # Only the attributes are compared: nothing is sent, and a name is linked even where it is newer than the sender's.
        attributes_only = policy._replace(checksum=False, update=False, existing=False, ignore_existing=False)
        step = decide(entry, current, attributes_only, lambda: True)
        same_type = current is not None and current.kind == entry.kind
        told = Step(Deed.MAKE, step.change & ~Change.CONTENT if same_type else Change.NEW)
        if not ground.settings.dry_run:
            assert root is not None
            leader_directory, leader_name = split(leader)
            with root.dir(leader_directory) as from_lease, root.dir(directory) as lease:
                ground.save(directory, lease.fd, entry.name)
                make_link(from_lease.fd, leader_name, lease.fd, entry.name)
        ground.counts.entries_changed += 1
        ground.item(join(directory, entry.name), entry, told, leader=leader)

    def _cleared(self, directory: bytes, dir_fd: int, name: bytes) -> bool:
        """Clear a directory away that stands in the place of a follower; False if it stays, which has been said."""
        deletions = self._deletions
        if deletions.make_way(directory, dir_fd, name):
            return True
        return self._ground.settings.delete and deletions.replace(join(directory, name))
