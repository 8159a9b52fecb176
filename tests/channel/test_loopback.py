"""The channel in memory passes what every channel must, and hands bytes over without copying where it may."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from deltasync.channel.loopback import CAPACITY_BYTES, loopback, plain_links
from deltasync.channel.stream import ByteStream, Link
from deltasync.errors import ConnectionLost, DeadlineExceeded
from tests.channel.conformance import LinkConformance, StreamConformance, Worker, receive
from tests.channel.socket_stream import socket_streams


class TestLoopback(StreamConformance):
    """Two ends in memory."""

    @contextmanager
    def connected(self) -> Generator[tuple[ByteStream, ByteStream], None, None]:
        """Give a fresh loopback."""
        yield loopback()


class TestTinyLoopback(StreamConformance):
    """Two ends in memory that hold next to nothing."""

    flood_bytes = 1 << 20

    @contextmanager
    def connected(self) -> Generator[tuple[ByteStream, ByteStream], None, None]:
        """Give a fresh loopback of a few thousand bytes."""
        yield loopback(5001)


class TestSocketpair(StreamConformance):
    """The suite itself, tried on what a kernel carries."""

    @contextmanager
    def connected(self) -> Generator[tuple[ByteStream, ByteStream], None, None]:
        """Give the two ends of a fresh pair of sockets."""
        one, other = socket_streams()
        yield one, other
        one.release()
        other.release()


class TestPlainLinks(LinkConformance):
    """Two ends inside one process."""

    @contextmanager
    def connected(self, timeout_s: float | None) -> Generator[tuple[Link, Link], None, None]:
        """Give fresh plain links."""
        one, other = plain_links()
        one.timeout_s = other.timeout_s = timeout_s
        yield one, other


def test_a_direction_holds_no_more_than_its_capacity() -> None:
    """Exactly that much is taken without a reader; the two directions don't count together."""
    one, other = loopback(1000)
    one.timeout_s = other.timeout_s = 0
    for end in (one, other):
        end.send(bytes(600))
        end.send(bytes(400))
        with pytest.raises(DeadlineExceeded):
            end.send(b"x")
    receive(other, 1)
    one.send(b"x")


def test_bytes_that_cannot_change_are_not_copied() -> None:
    """A large part, or a view of one, arrives as the very same memory; one that can change is copied."""
    one, other = plain_links()
    content = bytes(1 << 20)
    one.send([b"head", content, memoryview(content)[5:]])
    received = [other.recv() for _ in range(3)]
    assert [view and view.obj for view in received] == [b"head", content, content]
    assert received[1] is not None
    assert received[1].obj is content
    changeable = bytearray(1 << 20)
    one.send([changeable])
    copied = other.recv()
    assert copied is not None
    assert copied.obj is not changeable
    assert copied.readonly


def test_small_parts_arrive_together() -> None:
    """A header and its content wake the receiver once."""
    one, other = plain_links()
    one.send([b"head", b"body", bytearray(b"tail")])
    assert bytes(other.recv() or b"") == b"headbodytail"


def test_a_large_part_arrives_in_pieces_of_the_capacity() -> None:
    """More than the link holds is handed over as room is made."""
    one, other = plain_links()
    content = bytes(range(256)) * (CAPACITY_BYTES // 100)
    sending = Worker(lambda: one.send([content]))
    received = bytearray()
    while len(received) < len(content):
        view = other.recv()
        assert view is not None
        assert len(view) <= CAPACITY_BYTES
        received += view
    sending.result()
    assert received == content


def test_what_was_sent_before_closing_can_still_be_received() -> None:
    """A FIN too: the link finished, whatever came after."""
    one, other = plain_links()
    one.send([b"content"])
    one.finish()
    one.close()
    assert bytes(other.recv() or b"") == b"content"
    assert other.recv() is None
    with pytest.raises(ConnectionLost):
        other.send([b"x"])


def test_a_closed_link_cannot_finish() -> None:
    """A FIN after closing would prove what is not so."""
    one, other = plain_links()
    one.close()
    with pytest.raises(ConnectionLost):
        one.finish()
    with pytest.raises(ConnectionLost):
        other.recv()
    with pytest.raises(ConnectionLost):
        other.finish()
