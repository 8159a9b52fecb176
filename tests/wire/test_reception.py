"""The listener's half of the handshake: it answers only who knows its key, asks for no byte too many, and learns who came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.errors import AuthenticationError, DeltasyncError, RemoteProtocolError
from deltasync.wire.noise import Handshake, public_key
from deltasync.wire.preamble import PREAMBLE_BYTES, Preamble, Suite
from deltasync.wire.reception import FIRST_MESSAGE_BYTES, MAX_MESSAGE_BYTES, Arrival, OtherVersion, Reception

CLIENT, LISTENER, TOKEN = b"\1" * 32, b"\2" * 32, b"\3" * 32


class Client:
    """The other half, as far as it has come."""

    def __init__(self, suite: Suite = Suite.XK, *, listener: bytes = LISTENER, token: bytes = TOKEN, static: bytes = CLIENT) -> None:
        self.preamble = Preamble(suite.value)
        self.noise = Handshake(
            suite.pattern,
            initiator=True,
            prologue=self.preamble.prologue,
            s=static,
            rs=public_key(listener),
            psks=(token,) if suite is Suite.XKPSK3 else (),
        )

    def first(self, payload: bytes = b"") -> bytes:
        """Return preamble and first message."""
        return self.preamble.encode() + framed(self.noise.write(payload))

    def third(self, answer: bytes, request: bytes = b"photos") -> bytes:
        """Take the answer and return the third message."""
        assert answer[:PREAMBLE_BYTES] == self.preamble.encode()
        assert self.noise.read(answer[PREAMBLE_BYTES + 2 :]) == b""
        return framed(self.noise.write(request))


def framed(message: bytes) -> bytes:
    """Put a message behind its length."""
    return len(message).to_bytes(2) + message


def feed(reception: Reception, data: bytes, at_most: int = 1 << 16) -> bytes:
    """Feed all of it, never more than is wanted, and return what is answered."""
    answer = b""
    while data:
        assert reception.wanted, "there is more than the handshake"
        piece = data[: min(reception.wanted, at_most)]
        answer += reception.feed(piece)
        data = data[len(piece) :]
    return answer


@pytest.mark.parametrize("suite", [Suite.XK, Suite.XKPSK3])
@given(at_most=st.integers(1, 100))
def test_a_client_is_received_in_pieces_of_any_length(suite: Suite, at_most: int) -> None:
    """It is known by its key and its request; both sides have the same keys, and nothing is read beyond the end."""
    client, reception = Client(suite), Reception(LISTENER, TOKEN)
    answer = feed(reception, client.first(), at_most)
    assert reception.proven
    assert feed(reception, client.third(answer), at_most) == b""
    assert reception.wanted == 0
    assert isinstance(reception.arrival, Arrival)
    assert (reception.arrival.suite, reception.arrival.key, reception.arrival.request) == (suite, public_key(CLIENT), b"photos")
    keys = client.noise.split()
    assert (reception.arrival.keys.send, reception.arrival.keys.receive) == (keys.receive, keys.send)


@pytest.mark.parametrize(
    ("client", "token"),
    [
        (Client(listener=b"\7" * 32), TOKEN),
        (Client(Suite.XKPSK3, listener=b"\7" * 32), TOKEN),
        (Client(Suite.XKPSK3), None),
    ],
)
def test_who_does_not_know_the_key_hears_nothing(client: Client, token: bytes | None) -> None:
    """Neither does who wants to pair while nothing is open."""
    reception = Reception(LISTENER, token)
    with pytest.raises(AuthenticationError):
        feed(reception, client.first())
    assert not reception.proven


def test_a_wrong_token_ends_at_the_third_message() -> None:
    """What was said by then gives nothing away."""
    client, reception = Client(Suite.XKPSK3, token=b"\7" * 32), Reception(LISTENER, TOKEN)
    answer = feed(reception, client.first())
    with pytest.raises(AuthenticationError):
        feed(reception, client.third(answer))
    assert reception.arrival is None


@pytest.mark.parametrize("preamble", [Preamble(1), Preamble(9), Preamble(2, 2), Preamble(2, 0)])
def test_another_version_is_told_ours(preamble: Preamble) -> None:
    """And nothing else."""
    with pytest.raises(OtherVersion) as caught:
        Reception(LISTENER).feed(preamble.encode())
    assert caught.value.answer == Preamble(Suite.XK.value).encode()


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1", b"\0deltasynk\0xxx", b"S", b"\x16\x03\x01"])
def test_noise_ends_at_its_first_wrong_byte(noise: bytes) -> None:
    """There is nobody to answer."""
    with pytest.raises(RemoteProtocolError, match="no deltasync"):
        Reception(LISTENER).feed(noise)


@pytest.mark.parametrize("length", [0, 1, FIRST_MESSAGE_BYTES - 1, FIRST_MESSAGE_BYTES + 1, 65535])
def test_a_first_message_has_one_length(length: int) -> None:
    """Whatever else is claimed is refused before a byte of it is held; a payload is too."""
    reception = Reception(LISTENER)
    with pytest.raises(RemoteProtocolError, match=f"message of {length} bytes"):
        feed(reception, Preamble(2).encode() + length.to_bytes(2))
    with pytest.raises(RemoteProtocolError):
        feed(Reception(LISTENER), Client().first(b"x"))


@pytest.mark.parametrize("length", [0, FIRST_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1, 65535])
def test_a_third_message_has_a_limit(length: int) -> None:
    """No client makes the listener hold more."""
    reception = Reception(LISTENER)
    feed(reception, Client().first())
    with pytest.raises(RemoteProtocolError, match=f"message of {length} bytes"):
        feed(reception, length.to_bytes(2))


@pytest.mark.parametrize("point", [0, 1, (1 << 255) - 20])
def test_a_key_of_small_order_is_refused(point: int) -> None:
    """As ephemeral key of the first message."""
    message = point.to_bytes(32, "little") + bytes(16)
    with pytest.raises(DeltasyncError):
        feed(Reception(LISTENER), Preamble(2).encode() + framed(message))


def spoiled(reception: Reception, data: bytes, at: int, bit: int) -> bytes:
    """Feed data with one bit changed, as long as something is wanted; returns what is answered."""
    changed = bytearray(data)
    changed[at % len(changed)] ^= 1 << bit
    answer = b""
    while changed and reception.wanted:
        piece = bytes(changed[: reception.wanted])
        del changed[: len(piece)]
        answer += reception.feed(piece)
    return answer


@given(at=st.integers(0, PREAMBLE_BYTES + 2 + FIRST_MESSAGE_BYTES - 1), bit=st.integers(0, 7))
def test_a_changed_first_message_is_not_answered(at: int, bit: int) -> None:
    """Any bit of it, the preamble's included, which is bound into the handshake."""
    reception = Reception(LISTENER, TOKEN)
    with pytest.raises(DeltasyncError):
        spoiled(reception, Client().first(), at, bit)
    assert not reception.proven


@given(at=st.integers(0, 1000), bit=st.integers(0, 7))
def test_a_changed_third_message_brings_nobody_in(at: int, bit: int) -> None:
    """Nor is it answered, also where the length is changed, so that more is waited for."""
    client, reception = Client(), Reception(LISTENER)
    third = client.third(feed(reception, client.first()))
    try:
        assert spoiled(reception, third, at, bit) == b""
    except DeltasyncError:
        assert reception.proven
    assert reception.arrival is None


def test_a_replayed_handshake_brings_nobody_in() -> None:
    """What one listener's run was told means nothing to the next."""
    client, reception = Client(), Reception(LISTENER)
    first = client.first()
    third = client.third(feed(reception, first))
    feed(reception, third)
    again = Reception(LISTENER)
    feed(again, first)
    with pytest.raises(AuthenticationError):
        feed(again, third)
    assert again.arrival is None
