"""The receiver of a live session: the tree first, then rounds of what changed, until the sender ends it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from deltasync.engine.destination import Destination
from deltasync.engine.ground import Ground, ReceiverCounts
from deltasync.engine.peer import Peer
from deltasync.engine.receiver import Receiver
from deltasync.errors import RemoteProtocolError
from deltasync.fs.locks import lock_directory
from deltasync.wire.messages import ReceiverDone, Round, SenderDone, Tree

__all__ = ["PREDECESSOR_S", "receive_live"]

PREDECESSOR_S = 3.0
"""How long an earlier session of the same destination is waited for."""
_LOOK_S = 0.02


def receive_live(peer: Peer, ground: Ground, destination: Destination, tree: Tree) -> None:
    """Receive a tree and all rounds that follow.

    Args:
        peer: The session, its roles known.
        ground: Where it works.
        destination: How the tree's root maps to the destination.
        tree: The sender's first message.

    Raises:
        DeltasyncError: The session failed; what is done stays.
    """
    with _alone(ground):
        _receive_rounds(peer, ground, destination, tree)


@contextmanager
def _alone(ground: Ground) -> Iterator[None]:
    """Keep the destination to this session as far as other live ones go.

    One whose connection broke may still be doing what it was told, as deleting what has since come back: it is waited for, though not for
    long, since it may also be another watch of the same destination.
    """
    if ground.root is None:
        yield
        return
    # Of its own, since a lock lasts as long as any duplicate of the descriptor.
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=ground.root.fd)
    try:
        until = time.monotonic() + PREDECESSOR_S
        while not lock_directory(fd) and time.monotonic() < until:
            ground.check()
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(fd)


def _receive_rounds(peer: Peer, ground: Ground, destination: Destination, tree: Tree) -> None:
    totals = ReceiverDone(0, 0, 0, 0, 0, 0, 0, 0)
    number = 0
    while True:
        receiver = Receiver(peer, ground, destination, tree)
        totals = _sum(totals, receiver.run_round(number))
        message = receiver.next()
        if isinstance(message, SenderDone):
            peer.send(totals)
            return
        if not isinstance(message, Round) or message.number != number + 1:
            raise RemoteProtocolError(f"the peer sent {type(message).__name__} where the next round was due")
        number = message.number
        if ground.root is not None:
            # Between rounds anybody may move or remove a directory, and what is written by its descriptor would go with it.
            ground.root.forget(b"")
        destination = destination._replace(made=False)
        ground.counts = ReceiverCounts()


def _sum(one: ReceiverDone, other: ReceiverDone) -> ReceiverDone:
    fields = ReceiverDone.__struct_fields__
    return ReceiverDone(*(getattr(one, field) + getattr(other, field) for field in fields))
