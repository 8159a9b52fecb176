"""The first words of a session: both sides greet, the one that connected says what it wants, the other that it can."""

from __future__ import annotations

import threading
from collections.abc import Callable

from deltasync import __version__
from deltasync._native import engine_name
from deltasync.channel.stream import Link
from deltasync.engine.data_move import DATA_TCP, Near
from deltasync.engine.peer import Peer
from deltasync.errors import RemoteProtocolError
from deltasync.tree.names import check_name
from deltasync.tree.sources import CONTENTS
from deltasync.wire.messages import Hello, Message, Note, Ready, Setup, Tree
from deltasync.wire.session import Speaker

__all__ = ["FEATURES", "ROUNDS", "accept", "ask", "opening", "ready"]

ROUNDS = "rounds"
"""The feature of live sessions: rounds may follow the tree."""
FEATURES: tuple[str, ...] = (ROUNDS,)
"""Optional features of this side; those that both sides name are in force."""

PING_SHARE = 3
"""A sign of life goes out after this fraction of the timeout."""


def _ping_s(timeout_s: float) -> float:
    return min(timeout_s / PING_SHARE, 15.0) if timeout_s else 15.0


def ask(link: Link, setup: Setup, stop: threading.Event, meanwhile: Callable[[], bool], data: Callable[[Peer], Near] | None = None) -> Peer:
    """Start a session on a link that this side connected.

    Args:
        link: The open link; it belongs to the peer that is returned.
        setup: What is wanted.
        stop: Ends the session from outside.
        meanwhile: Called again and again while the answer is awaited, as long as it says that there is more to do.
        data: Makes what looks after a data connection; None where none is wanted.

    Raises:
        DeltasyncError: The link failed, or the peer refused.
    """
    near: list[Near] = []

    def beside(made: Peer) -> Near:
        assert data is not None
        near.append(data(made))
        return near[0]

    peer = Peer(link, Speaker.INITIATOR, stop, ping_s=_ping_s(setup.settings.timeout_s), beside=None if data is None else beside)
    try:
        # Before anything is said: the answer may be there before the next line runs.
        peer.take_role(sends=setup.sends)
        peer.send(Hello(__version__, FEATURES if data is None else (*FEATURES, DATA_TCP)))
        peer.send(setup)
        for expected in (Hello, Ready):
            message = _awaited(peer, meanwhile)
            while isinstance(message, Note):
                message = _awaited(peer, meanwhile)
            if isinstance(message, Hello):
                peer.features = frozenset(FEATURES) & frozenset(message.features)
                peer.software = message.software
            if isinstance(message, Ready):
                peer.engine = message.engine
            if not isinstance(message, expected):
                raise RemoteProtocolError(f"the peer sent {type(message).__name__} where {expected.__name__} was due")
            if near and isinstance(message, Hello) and DATA_TCP in message.features:
                near[0].ask()
    except BaseException:
        peer.close()
        raise
    return peer


def _awaited(peer: Peer, meanwhile: Callable[[], bool]) -> Message:
    more = True
    while more:
        message = peer.receive(wait=False)
        if message is not None:
            return message
        more = meanwhile()
    answer = peer.receive()
    assert answer is not None
    return answer


def accept(peer: Peer, *, data: bool = False) -> Setup:
    """Take the first words of whoever connected; `Ready` is left to the caller, who knows whether it can be done.

    With `data`, a data connection is offered.

    Raises:
        DeltasyncError: The link failed, or the peer does not follow the protocol.
    """
    peer.send(Hello(__version__, (*FEATURES, DATA_TCP) if data else FEATURES))
    greeting = peer.receive()
    if not isinstance(greeting, Hello):
        raise RemoteProtocolError(f"the peer sent {type(greeting).__name__} where Hello was due")
    peer.features = frozenset(FEATURES) & frozenset(greeting.features)
    message = peer.receive()
    if not isinstance(message, Setup):
        raise RemoteProtocolError(f"the peer sent {type(message).__name__} where Setup was due")
    if message.sends and len(message.places) != 1:
        raise RemoteProtocolError("the peer named more than one destination")
    peer.take_role(sends=not message.sends)
    peer.keep_alive(_ping_s(message.settings.timeout_s))
    if message.settings.timeout_s:
        # Or else the half of a connection that is gone would keep what it had in hand locked, and out of the next run's reach.
        peer.link.limit(message.settings.timeout_s)
    return message


def ready(peer: Peer) -> None:
    """Say that what was asked for can be done."""
    peer.send(Ready(engine_name()))


def opening(peer: Peer, take: Callable[[Message], bool]) -> Tree:
    """Return the first message of the side that sends a tree.

    Args:
        peer: The session.
        take: Takes what the peer reports before it; False for a message that is no report.

    Raises:
        DeltasyncError: The link failed, or the peer sent something else, or a tree that can't be.
    """
    message = peer.receive()
    while message is not None and take(message):
        message = peer.receive()
    if not isinstance(message, Tree):
        raise RemoteProtocolError(f"the peer sent {type(message).__name__} where Tree was due")
    try:
        for top in message.tops:
            if top != CONTENTS:
                check_name(top)
    except ValueError as error:
        raise RemoteProtocolError(f"the peer sends a tree of an {error}") from error
    if message.live and ROUNDS not in peer.features:
        raise RemoteProtocolError("the peer begins a live session without having said that it can")
    # A lone entry may take another name and so another root: that of contents would then be a directory that was never named.
    if message.whole is not (CONTENTS in message.tops) or (message.lone and (message.whole or len(message.tops) != 1)):
        raise RemoteProtocolError("the peer sends a tree that can't be")
    return message
