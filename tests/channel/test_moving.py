"""A link that moves: nothing is lost or out of order, and nobody is led anywhere that was not agreed on."""

from __future__ import annotations

import pytest

from deltasync.channel import moving
from deltasync.channel.loopback import PlainLink, loopback, plain_links
from deltasync.channel.moving import MovingLink
from deltasync.channel.secure import SecureLink
from deltasync.errors import ConnectionLost, RemoteProtocolError
from deltasync.wire.noise import TransportKeys
from tests.channel.conformance import Worker, receive_all


def two() -> tuple[MovingLink, MovingLink, tuple[PlainLink, PlainLink]]:
    """Return two ends, and the ends of a second link."""
    one, other = plain_links()
    return MovingLink(one), MovingLink(other), plain_links()


def test_it_is_a_link_without_moving() -> None:
    """What is sent comes, is counted, and ends."""
    one, other, _ = two()
    one.send([b"a", b"b"])
    one.finish()
    assert receive_all(other) == b"ab"
    assert (one.bytes_sent, other.bytes_received, one.moved, one.cipher) == (2, 2, False, "none")


def test_each_direction_moves_by_itself() -> None:
    """What was sent before comes before, also when the other end has the second link later; both connections are counted."""
    one, other, (near, far) = two()
    one.send([b"first "])
    assert one.have(near)
    one.move()
    one.send([b"second"])
    one.finish()
    assert bytes(other.recv() or b"") == b"first "
    other.follow()
    receiving = Worker(lambda: receive_all(other))
    receiving.wait_until_in("_other")
    assert other.have(far)
    assert receiving.result() == b"second"
    assert (one.bytes_sent, other.bytes_received, one.moved, other.moved) == (12, 12, True, True)
    other.send([b"back"])
    other.finish()
    assert receive_all(one) == b"back"


@pytest.mark.parametrize("early", [True, False])
def test_silence_is_limited_in_both_places(early: bool) -> None:
    """Whether the limit is known before the second link or after."""
    streams = [loopback()[0] for _ in range(2)]
    first, second = (SecureLink(stream, TransportKeys(bytes(32), bytes(32))) for stream in streams)
    link = MovingLink(first)
    if early:
        link.limit(5.0)
    assert link.have(second)
    if not early:
        link.limit(5.0)
    assert [stream.timeout_s for stream in streams] == [5.0, 5.0]


def test_a_peer_can_not_move_twice() -> None:
    """The second word of it ends the session."""
    _, other, _ = two()
    other.follow()
    with pytest.raises(RemoteProtocolError, match="twice"):
        other.follow()


def test_nothing_comes_behind_the_last_word() -> None:
    """Whoever has moved has nothing more to say in the old place."""
    one, other, (_, far) = two()
    other.have(far)
    other.follow()
    one.send([b"more"])
    with pytest.raises(RemoteProtocolError, match="went on in this one"):
        other.recv()


@pytest.mark.parametrize("end", ["given up", "closed", "late"])
def test_a_second_link_that_never_stands_is_a_lost_connection(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for it is not left waiting."""
    one, other, (near, _) = two()
    one.have(near)
    one.move()
    other.follow()
    if end == "late":
        monkeypatch.setattr(moving, "FOLLOW_S", 0.01)
    receiving = Worker(other.recv)
    if end != "late":
        receiving.wait_until_in("_other")
        (other.give_up if end == "given up" else other.close)()
    with pytest.raises(ConnectionLost, match="does not stand"):
        receiving.result()


def test_a_second_link_that_comes_too_late_is_closed() -> None:
    """Nothing stays open behind a session that has ended."""
    one, _, (near, far) = two()
    one.close()
    assert not one.have(near)
    with pytest.raises(ConnectionLost):
        far.recv()
