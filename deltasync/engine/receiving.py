"""The ground under a receiver's feet: the destination opened, and what is held open besides, for as long as the run takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from deltasync.engine.destination import Destination, open_destination
from deltasync.engine.ground import Abilities, Ground
from deltasync.engine.peer import Peer
from deltasync.engine.reporter import Reporter
from deltasync.fs.root import Root
from deltasync.fs.selection import place_of
from deltasync.tree.filters import Filters
from deltasync.wire.messages import Tree
from deltasync.wire.settings import Settings

__all__ = ["receiving"]


@contextmanager
def receiving(
    peer: Peer, tree: Tree, dest: bytes, settings: Settings, filters: Filters, reporter: Reporter, *, to_remote: bool, beneath: Root | None
) -> Iterator[tuple[Ground, Destination]]:
    """Give a receiver its ground and its destination, and let go of both at the end.

    Args:
        peer: The session.
        tree: What is coming.
        dest: The destination as written.
        settings: The options.
        filters: The rules among them.
        reporter: Hears of items and problems.
        to_remote: Whether the user sees this side as the remote one.
        beneath: The only directory that may be written in, or None for no limit.

    Raises:
        DestinationError: It can't be opened or made, or backups have no place.
    """
    destination = open_destination(dest, tree, settings, beneath=beneath)
    try:
        abilities = Abilities.here()
        written = os.path.expanduser(dest) if beneath is None and dest.startswith(b"~") else dest
        place = place_of(destination.root, written, whole=tree.whole, beneath=beneath)
        ground = Ground(destination.root, settings, filters, reporter, abilities, peer.check, to_remote, place)
        if settings.backup:
            from deltasync.engine.backing import open_backups

            ground.backups = open_backups(destination, ground, beneath)
        if settings.fsync and destination.root is not None and not settings.dry_run:
            from deltasync.engine.durable import Durable

            ground.durable = Durable(destination.root)
            if ground.backups is not None:
                ground.durable.saw(ground.backups.fd)
        try:
            yield ground, destination
        finally:
            if ground.durable is not None:
                ground.durable.close()
            if ground.backups is not None:
                ground.backups.close()
    finally:
        if destination.root is not None:
            destination.root.close()
