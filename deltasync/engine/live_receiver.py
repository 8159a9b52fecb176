"""The receiver of a live session: the tree first, then rounds of what changed, until the sender ends it."""

from __future__ import annotations

from deltasync.engine.destination import Destination
from deltasync.engine.ground import Ground, ReceiverCounts
from deltasync.engine.peer import Peer
from deltasync.engine.receiver import Receiver
from deltasync.errors import RemoteProtocolError
from deltasync.wire.messages import ReceiverDone, Round, SenderDone, Tree

__all__ = ["receive_live"]


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
        destination = destination._replace(made=False)
        ground.counts = ReceiverCounts()


def _sum(one: ReceiverDone, other: ReceiverDone) -> ReceiverDone:
    fields = ReceiverDone.__struct_fields__
    return ReceiverDone(*(getattr(one, field) + getattr(other, field) for field in fields))
