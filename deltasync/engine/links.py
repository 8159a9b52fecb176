"""Hard links at the destination: the first of a group is made like any entry, the others are linked to it when all contents are there."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from deltasync.engine.comparison import Identity, Opposite
from deltasync.engine.ground import Ground
from deltasync.engine.spool import Spool
from deltasync.fs.listing import entry_at
from deltasync.patch.make import make_link
from deltasync.tree.entry import Entry
from deltasync.tree.names import join, split
from deltasync.tree.plan import Change, Deed, Policy, Step, decide

__all__ = ["Links"]

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(tuple[bytes, bytes, Entry]).decode


class Links:
    """The groups of hard links of a run."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._leaders: dict[int, tuple[bytes, Identity | None]] = {}
        self._followers = Spool()

    def follows(self, directory: bytes, opposite: Opposite, policy: Policy) -> bool:
        """Tell whether an entry is linked later to another; False for the first of its group, which is treated like any entry.

        One that needs nothing, since it is already another name of its unchanged leader, is forgotten at once.
        """
        entry, current = opposite.entry, opposite.current
        known = self._leaders.get(entry.link_group)
        if known is None:
            step = decide(entry, current, policy, lambda: True)
            stays = step.deed in (Deed.KEEP, Deed.ATTRIBUTES, Deed.SKIP)
            self._leaders[entry.link_group] = (join(directory, entry.name), opposite.identity if stays else None)
            return False
        leader, identity = known
        skipped = (policy.existing and current is None) or (policy.ignore_existing and current is not None)
        if not skipped and (identity is None or identity != opposite.identity):
            self._followers.append(_ENCODE((directory, leader, entry)))
        return True

    def __len__(self) -> int:
        return len(self._followers)

    def settle(self, policy: Policy) -> None:
        """Link every follower to its leader."""
        for record in self._followers:
            directory, leader, entry = _DECODE(record)
            try:
                self._link(directory, leader, entry, policy)
            except OSError as error:
                self._ground.failed(directory, entry.name, error, "it can't be linked to its other name")
        self._followers = Spool()

    def _link(self, directory: bytes, leader: bytes, entry: Entry, policy: Policy) -> None:
        ground = self._ground
        root = ground.root
        current = None
        if root is not None:
            with suppress(FileNotFoundError, NotADirectoryError), root.dir(directory) as lease:
                current = entry_at(lease.fd, entry.name)
        step = decide(entry, current, policy, lambda: True)
        same_type = current is not None and current.kind == entry.kind
        shown = Step(Deed.MAKE, step.change & ~Change.CONTENT if same_type else Change.NEW)
        if not ground.settings.dry_run:
            assert root is not None
            leader_directory, leader_name = split(leader)
            with root.dir(leader_directory) as from_lease, root.dir(directory) as lease:
                make_link(from_lease.fd, leader_name, lease.fd, entry.name)
        ground.counts.entries_changed += 1
        ground.item(join(directory, entry.name), entry, shown, leader=leader)
