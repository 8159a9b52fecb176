"""What is agreed on about a data connection: each word when it is due, once, by whom it is due from."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from deltasync.channel.loopback import plain_links
from deltasync.channel.moving import MovingLink
from deltasync.channel.stream import Link
from deltasync.engine.data_move import Far, Near
from deltasync.engine.peer import Peer
from deltasync.errors import RemoteProtocolError, TransportError
from deltasync.wire.messages import DataAt, DataKey, Hello, Message, Moved
from deltasync.wire.session import Outbound, Speaker


class Quiet:
    """A session that keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.moved = threading.Event()

    def send(self, message: Message) -> None:
        """Keep it."""
        self.sent.append(message)

    def move(self, link: MovingLink) -> None:
        """Note that it moves."""
        link.move()
        self.moved.set()


def near_side(link: Link | None = None) -> tuple[Near, Quiet, list[bytes]]:
    """Return the side that connected, what it says, and the keys with which it connects."""
    quiet, keys = Quiet(), list[bytes]()

    def reach(port: int, key: bytes, given_up: object) -> Link:
        del given_up
        keys.append(key)
        if link is None:
            raise TransportError(f"nobody at {port}")
        return link

    return Near(cast("Peer", quiet), MovingLink(plain_links()[0]), reach, ports=(5, 6)), quiet, keys


def far_side() -> tuple[Far, Quiet, MovingLink]:
    """Return the side that serves, what it says, and its link."""
    quiet, link = Quiet(), MovingLink(plain_links()[0])
    return Far(cast("Peer", quiet), link), quiet, link


def test_the_key_is_fresh_and_moves_the_session() -> None:
    """Each session has its own; where the port is reached, this side speaks there from then on."""
    other, _ = plain_links()
    near, quiet, keys = near_side(other)
    near.ask()
    near.take(DataAt(7))
    assert quiet.moved.wait(10)
    (asked,) = quiet.sent
    assert isinstance(asked, DataKey)
    assert ([asked.key], asked.first_port, asked.last_port, asked.everywhere) == (keys, 5, 6, False)
    again, heard, _ = near_side(other)
    again.ask()
    assert isinstance(heard.sent[0], DataKey)
    assert heard.sent[0].key != asked.key
    assert asked.key.hex() not in repr(asked)
    near.close()


def test_what_is_not_due_ends_the_session() -> None:
    """From either side, before it was asked for, or once more."""
    near, _, _ = near_side()
    for message in (DataAt(7), Moved(), DataKey(bytes(32), 0, 0, False)):
        with pytest.raises(RemoteProtocolError):
            near.take(message)
    near.ask()
    near.take(DataAt(0))
    near.take(DataAt(7))
    with pytest.raises(RemoteProtocolError, match="second"):
        near.take(DataAt(7))
    near.close()
    far, _, _ = far_side()
    for late in (DataAt(7), Moved()):
        with pytest.raises(RemoteProtocolError):
            far.take(late)
    far.take(DataKey(bytes(32), 0, 0, False))
    with pytest.raises(RemoteProtocolError, match="second"):
        far.take(DataKey(bytes(32), 0, 0, False))
    far.close()


def test_a_port_that_can_not_be_reached_changes_nothing() -> None:
    """The session stays, and so does whoever would have been moved."""
    near, quiet, _ = near_side()
    near.ask()
    near.take(DataAt(7))
    near.close()
    assert not quiet.moved.is_set()


def test_the_far_side_closes_its_port_with_the_session() -> None:
    """Nobody listens behind a session that is over."""
    far, quiet, _ = far_side()
    far.take(DataKey(bytes(32), 0, 0, False))
    far.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "deltasync-data"]
    assert all(isinstance(message, DataAt) for message in quiet.sent)
    assert not quiet.moved.is_set()


def test_a_session_that_has_no_such_feature_refuses() -> None:
    """As those with a listener, or within one process."""
    one, other = plain_links()
    peer = Peer(one, Speaker.INITIATOR, threading.Event())
    outbound = Outbound(Speaker.RESPONDER)
    for message in (Hello("x"), DataAt(7)):
        other.send(outbound.send(message))
    assert isinstance(peer.receive(), Hello)
    with pytest.raises(RemoteProtocolError, match="not in force"):
        peer.receive()
    peer.close()
