"""The secure channel passes what every link must, and opens for nobody but the right peer with the right words."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.channel.loopback import LoopbackStream, loopback
from deltasync.channel.secure import MAX_HANDSHAKE_BYTES, Credentials, NoAnswer, SecureLink, open_initiator, open_responder
from deltasync.channel.stream import Buffer, ByteStream, Link
from deltasync.errors import AuthenticationError, ConnectionLost, DeadlineExceeded, DeltasyncError, LocalProtocolError, RemoteProtocolError
from deltasync.wire.noise import Handshake, public_key
from deltasync.wire.preamble import PREAMBLE_BYTES, Preamble, Suite
from deltasync.wire.records import OVERHEAD_BYTES
from tests.channel.conformance import PATIENCE_S, LinkConformance, Worker, receive, receive_all
from tests.channel.socket_stream import socket_streams

CLIENT = bytes(range(32))
LISTENER = bytes(range(1, 33))
TOKEN = bytes(range(2, 34))

INITIATORS = {
    Suite.NN: Credentials(),
    Suite.XK: Credentials(Suite.XK, static=CLIENT, remote_static=public_key(LISTENER)),
    Suite.XKPSK3: Credentials(Suite.XKPSK3, static=CLIENT, remote_static=public_key(LISTENER), psk=TOKEN),
    Suite.NNPSK0: Credentials(Suite.NNPSK0, psk=TOKEN),
}
RESPONDERS = {
    Suite.NN: Credentials(),
    Suite.XK: Credentials(Suite.XK, static=LISTENER),
    Suite.XKPSK3: Credentials(Suite.XKPSK3, static=LISTENER, psk=TOKEN),
    Suite.NNPSK0: Credentials(Suite.NNPSK0, psk=TOKEN),
}


class Tap:
    """A stream that keeps what is sent through it, and may change it or give it out in small pieces.

    Attributes:
        sent: Each piece handed to `send`.
        change: Applied to each piece before it goes on.
        at_most: Most bytes that one `recv_into` gives.
    """

    timeout_s: float | None

    def __init__(self, inner: LoopbackStream) -> None:
        self.timeout_s = PATIENCE_S
        self.inner = inner
        self.sent: list[bytes] = []
        self.change: Callable[[bytes], bytes] = bytes
        self.at_most = 1 << 20

    def send(self, data: Buffer) -> None:
        """Keep, change, and hand on."""
        self.inner.timeout_s = self.timeout_s
        self.sent.append(bytes(data))
        self.inner.send(self.change(bytes(data)))

    def recv_into(self, buffer: memoryview) -> int:
        """Receive no more than `at_most` bytes."""
        self.inner.timeout_s = self.timeout_s
        return self.inner.recv_into(buffer[: self.at_most])

    def close_send(self) -> None:
        """Hand on."""
        self.inner.close_send()

    def close(self) -> None:
        """Hand on."""
        self.inner.close()


def taps() -> tuple[Tap, Tap]:
    """Give two ends of a fresh stream, tapped."""
    one, other = loopback()
    return Tap(one), Tap(other)


def opened(one: ByteStream, other: ByteStream, suite: Suite = Suite.NN) -> tuple[SecureLink, SecureLink]:
    """Do the handshake on both ends."""
    responding = Worker(lambda: open_responder(other, *RESPONDERS.values()))
    initiator = open_initiator(one, INITIATORS[suite])
    responder = responding.result()
    assert isinstance(responder, SecureLink)
    return initiator, responder


class TestOverLoopback(LinkConformance):
    """The secure channel in memory."""

    @contextmanager
    def connected(self, timeout_s: float | None) -> Generator[tuple[Link, Link], None, None]:
        """Give fresh links."""
        one, other = loopback()
        links = opened(one, other)
        one.timeout_s = other.timeout_s = timeout_s
        yield links


class TestOverSocketpair(LinkConformance):
    """The secure channel on what a kernel carries."""

    @contextmanager
    def connected(self, timeout_s: float | None) -> Generator[tuple[Link, Link], None, None]:
        """Give fresh links."""
        one, other = socket_streams()
        links = opened(one, other)
        one.timeout_s = other.timeout_s = timeout_s
        yield links
        one.release()
        other.release()


class TestOverDribble(LinkConformance):
    """The secure channel where bytes come in small pieces."""

    flood_bytes = 8 << 20

    def connected(self, timeout_s: float | None) -> AbstractContextManager[tuple[Link, Link]]:
        """Give fresh links."""

        @contextmanager
        def make() -> Generator[tuple[Link, Link], None, None]:
            one, other = taps()
            one.at_most = other.at_most = 1
            links = opened(one, other)
            one.at_most = other.at_most = 997
            one.timeout_s = other.timeout_s = timeout_s
            yield links

        return make()


@pytest.mark.parametrize("suite", Suite)
def test_each_suite_opens(suite: Suite) -> None:
    """Bytes go both ways; who has a static key is known by it afterwards."""
    initiator, responder = opened(*taps(), suite)
    initiator.send([b"to the responder"])
    responder.send([b"to the initiator"])
    assert bytes(responder.recv() or b"") == b"to the responder"
    assert bytes(initiator.recv() or b"") == b"to the initiator"
    assert initiator.peer_key == (None if suite in (Suite.NN, Suite.NNPSK0) else public_key(LISTENER))
    assert responder.peer_key == (None if suite in (Suite.NN, Suite.NNPSK0) else public_key(CLIENT))


@pytest.mark.parametrize("suite", Suite)
def test_every_byte_is_counted(suite: Suite) -> None:
    """What the links count is what went over the stream, handshake and FIN included."""
    one, other = taps()
    initiator, responder = opened(one, other, suite)
    initiator.send([b"x" * 100_000])
    initiator.finish()
    responder.finish()
    assert receive_all(responder) == b"x" * 100_000
    assert initiator.recv() is None
    assert initiator.bytes_sent == responder.bytes_received == sum(map(len, one.sent))
    assert responder.bytes_sent == initiator.bytes_received == sum(map(len, other.sent))


def test_the_handshake_over_ssh_is_one_piece_each_way() -> None:
    """The initiator speaks first and at once, preamble and first message together; no round trip is spent on anything else."""
    one, other = taps()
    opened(one, other)
    assert [len(piece) for piece in one.sent] == [PREAMBLE_BYTES + 2 + 32]
    assert [len(piece) for piece in other.sent] == [PREAMBLE_BYTES + 2 + 32 + 16]
    assert one.sent[0].startswith(b"\0deltasync\0\0\1\1\0\x20")


def test_nothing_is_readable_on_the_stream() -> None:
    """Neither what was sent nor a part of it stands in the bytes of the stream, and the same content looks different each time."""
    one, other = taps()
    initiator, _ = opened(one, other)
    for _ in range(2):
        initiator.send([b"secret", b"content" * 100])
    first, second = one.sent[-2:]
    assert b"secret" not in first + second
    assert b"content" not in first + second
    assert first != second
    assert len(first) == 706 + OVERHEAD_BYTES


def test_keys_are_not_shown() -> None:
    """Credentials that end up in a log hold no key."""
    assert repr(INITIATORS[Suite.XKPSK3]) == "Credentials(suite=<Suite.XKPSK3: 3>)"


NOISE = [
    (b"Welcome to the machine!\n", "Welcome to the machine!"),
    (b"\n\n  hi  \r\nmore\n", "hi"),
    (b"\x1b[1mLOUD\x1b[0m\n", r"\x1b[1mLOUD\x1b[0m"),
    (b"\xff\xfe odd \n", r"\xff\xfe odd"),
    (b"no newline", "no newline"),
    (b"\0del no magic\n", r"\x00del no magic"),
    (b"x" * 5000, "x" * 200),
    (b"\n", r"\x0a"),
]


@pytest.mark.parametrize(("noise", "quoted"), NOISE, ids=range(len(NOISE)))
@pytest.mark.parametrize("at_most", [1, 1 << 20])
@pytest.mark.parametrize("ends", [True, False])
def test_noise_of_a_login_shell_is_quoted(noise: bytes, quoted: str, at_most: int, *, ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first line, escaped, the host, and what to do: whether the stream ends then or the real peer's words follow."""
    monkeypatch.setattr("deltasync.channel.greeting._REST_OF_LINE_S", 0.02 if b"\n" not in noise else 5.0)
    one, other = taps()
    one.at_most = at_most
    other.send(noise)
    if ends:
        other.close_send()
    elif len(noise) < 200:
        other.send(Preamble(Suite.NN.value).encode())
    with pytest.raises(RemoteProtocolError) as caught:
        open_initiator(one, peer="me@{host}")
    assert str(caught.value) == f'the login shell of me@{{host}} printed "{quoted}": make it silent for non-interactive sessions'
    assert one.timeout_s == PATIENCE_S


def test_what_was_said_before_the_end_is_heard_though_nothing_can_be_sent_any_more() -> None:
    """A far end that prints something and ends at once may be gone before our first word."""
    one, other = loopback()
    other.send(b"hello\n")
    other.close_send()

    def broken(_: bytes) -> bytes:
        raise ConnectionLost("Broken pipe")

    tap = Tap(one)
    tap.change = broken
    with pytest.raises(RemoteProtocolError, match='"hello"'):
        open_initiator(tap, INITIATORS[Suite.NN], peer="host")


def test_a_peer_that_ends_without_a_word_is_told_apart() -> None:
    """Not one byte: most likely nothing is installed there, which whoever started it can find out."""
    one, other = taps()
    other.close_send()
    with pytest.raises(NoAnswer, match=r"^host closed the connection without an answer$"):
        open_initiator(one, peer="host")
    one, other = taps()
    other.send(Preamble(Suite.NN.value).encode()[:5])
    other.close_send()
    with pytest.raises(ConnectionLost) as caught:
        open_initiator(one)
    assert not isinstance(caught.value, NoAnswer)


@pytest.mark.parametrize("length", range(PREAMBLE_BYTES, PREAMBLE_BYTES + 50))
def test_an_end_within_the_handshake_is_a_lost_connection(length: int) -> None:
    """Wherever the responder's answer is cut."""
    one, other = taps()
    responding = Worker(lambda: open_responder(other))
    other.change = lambda data: data[:length]
    initiating = Worker(lambda: open_initiator(one))
    responding.result()
    other.close_send()
    with pytest.raises(ConnectionLost, match="during the handshake"):
        initiating.result()


def test_a_silent_peer_is_not_waited_for() -> None:
    """The stream's timeout counts in the handshake too."""
    for attempt in (open_initiator, open_responder):
        one, _ = taps()
        one.timeout_s = 0.01
        with pytest.raises(DeadlineExceeded):
            attempt(one)


@pytest.mark.parametrize(
    ("theirs", "where"), [(2, "update deltasync here"), (0, "update deltasync at host"), (65535, "update deltasync here")]
)
def test_another_version_is_named(theirs: int, where: str) -> None:
    """The initiator hears which versions meet and which side to update, whatever follows the preamble."""
    one, other = taps()
    other.send(Preamble(1, theirs).encode() + b"whatever a later version says")
    with pytest.raises(RemoteProtocolError, match=f"^host speaks protocol version {theirs}, and this side version 1: {where}$"):
        open_initiator(one, peer="host")


def test_a_responder_tells_its_version() -> None:
    """To an initiator of another version it sends its own preamble, and nothing else."""
    one, other = taps()
    one.send(Preamble(1, 7).encode())
    with pytest.raises(RemoteProtocolError, match=r"^host speaks protocol version 7, and this side version 1: update deltasync here$"):
        open_responder(other, peer="host")
    assert other.sent == [Preamble(1).encode()]


def test_a_responder_whose_peer_is_gone_says_what_was_wrong() -> None:
    """That its version can't be told any more changes nothing about the error."""
    one, other = taps()
    one.send(Preamble(1, 7).encode())
    one.close()
    with pytest.raises(RemoteProtocolError, match="version 7"):
        open_responder(other)


def test_a_handshake_that_is_not_offered_is_refused_by_both() -> None:
    """Who asks for NN where a key must be proven is told so, and so is the responder's log; there is no way down to less."""
    one, other = taps()
    responding = Worker(lambda: open_responder(other, RESPONDERS[Suite.XK], RESPONDERS[Suite.XKPSK3]))
    with pytest.raises(RemoteProtocolError, match=r"^host wants the handshake XK, and this side NN$"):
        open_initiator(one, peer="host")
    with pytest.raises(RemoteProtocolError, match=r"^the other side wants the handshake NN, and this side XK or XKpsk3$"):
        responding.result()


def test_a_handshake_of_an_unknown_number_is_refused() -> None:
    """It is named by its number."""
    one, other = taps()
    one.send(Preamble(200).encode())
    with pytest.raises(RemoteProtocolError, match="wants the handshake 200"):
        open_responder(other)


@given(st.binary(min_size=1, max_size=100))
def test_a_stranger_gets_no_answer(junk: bytes) -> None:
    """To who does not begin as a deltasync does, a responder says nothing."""
    one, other = taps()
    one.send(junk)
    one.close_send()
    with pytest.raises((RemoteProtocolError, ConnectionLost)):
        open_responder(other)
    assert other.sent == []


def test_a_stranger_is_quoted_escaped() -> None:
    """As far as it was received: a responder does not wait for more of it."""
    one, other = taps()
    other.timeout_s = None
    one.send(b"GET /\x1b")
    with pytest.raises(RemoteProtocolError, match=r'^the other side is no deltasync: it began with "GET /\\x1b"$'):
        open_responder(other)


def answered(message: bytes) -> type[DeltasyncError]:
    """Answer an initiator with a good preamble and these bytes, and tell what it raises."""
    one, other = taps()
    other.send(Preamble(1).encode() + message)
    other.close_send()
    with pytest.raises(DeltasyncError) as caught:
        open_initiator(one)
    return caught.type


def test_a_bad_handshake_message_is_refused() -> None:
    """Too long before it is waited for, too short, and not authentic."""
    assert answered((MAX_HANDSHAKE_BYTES + 1).to_bytes(2)) is RemoteProtocolError
    assert answered(b"\0\0") is RemoteProtocolError
    assert answered(b"\0\x2f" + bytes(range(47))) is RemoteProtocolError
    assert answered(b"\0\x30" + bytes(range(48))) is AuthenticationError
    assert answered(b"\0\x30" + bytes(48)) is RemoteProtocolError


def test_a_payload_in_the_handshake_is_refused() -> None:
    """This version says nothing before the channel is open."""
    one, other = taps()
    message = Handshake("NN", initiator=True, prologue=Preamble(1).prologue).write(b"payload")
    one.send(Preamble(1).encode() + len(message).to_bytes(2) + message)
    with pytest.raises(RemoteProtocolError, match="payload"):
        open_responder(other)


def test_a_listener_of_another_key_is_not_spoken_to() -> None:
    """With the wrong key pinned the first message opens nothing: the listener answers nothing, and the client hears only the end."""
    one, other = taps()
    wrong = Credentials(Suite.XK, static=CLIENT, remote_static=public_key(TOKEN))
    responding = Worker(lambda: open_responder(other, RESPONDERS[Suite.XK]))
    initiating = Worker(lambda: open_initiator(one, wrong))
    with pytest.raises(AuthenticationError):
        responding.result()
    other.close()
    with pytest.raises(NoAnswer):
        initiating.result()
    assert other.sent == []


def test_a_wrong_pairing_token_is_found_out_by_the_listener() -> None:
    """The third message is not authentic, and nothing is sent after the second."""
    one, other = taps()
    wrong = Credentials(Suite.XKPSK3, static=CLIENT, remote_static=public_key(LISTENER), psk=bytes(32))
    responding = Worker(lambda: open_responder(other, RESPONDERS[Suite.XKPSK3]))
    open_initiator(one, wrong)
    with pytest.raises(AuthenticationError):
        responding.result()
    assert len(other.sent) == 1


def test_credentials_must_fit_their_suite() -> None:
    """A missing key is a defect that is told before anything is sent."""
    one, _ = taps()
    with pytest.raises(LocalProtocolError, match="remote static key missing"):
        open_initiator(one, Credentials(Suite.XK, static=CLIENT))
    assert one.sent == []


@given(chance=st.randoms(use_true_random=False), suite=st.sampled_from(Suite))
def test_meddling_with_the_handshake_is_found_out(chance: random.Random, suite: Suite) -> None:
    """One bit flipped in any piece of either side: at least one side fails, and neither accepts a byte of content from the other."""
    one, other = taps()
    victim = chance.choice([one, other])
    target = 0 if suite in (Suite.NN, Suite.NNPSK0) or victim is other else chance.randrange(2)
    # Drawn now: whether the piece is ever sent may depend on time.
    place, bit = chance.randrange(1 << 16), 1 << chance.randrange(8)

    def flip(data: bytes) -> bytes:
        if len(victim.sent) - 1 != target:
            return data
        changed = bytearray(data)
        changed[place % len(changed)] ^= bit
        return bytes(changed)

    victim.change = flip
    one.timeout_s = other.timeout_s = 0.02  # A changed length may make both wait.
    failed = 0

    def side(make: Callable[[], SecureLink], stream: Tap) -> None:
        nonlocal failed
        try:
            link = make()
            link.send([b"content"])
            assert link.recv() is None
        except DeltasyncError:
            failed += 1
        stream.close()

    responding = Worker(lambda: side(lambda: open_responder(other, *RESPONDERS.values()), other))
    side(lambda: open_initiator(one, INITIATORS[suite]), one)
    responding.result()
    assert failed == 2


@given(chance=st.randoms(use_true_random=False))
def test_meddling_with_records_is_found_out(chance: random.Random) -> None:
    """One bit flipped in one record: what came before it comes out, nothing of it or after it does."""
    one, other = taps()
    initiator, responder = opened(one, other)
    messages = [chance.randbytes(chance.randrange(1, 100)) for _ in range(6)]
    victim = chance.randrange(len(messages))
    for number, message in enumerate(messages):
        one.change = flip_one_bit(chance) if number == victim else bytes
        initiator.send([message])
    one.change = bytes
    initiator.finish()
    one.close_send()
    for message in messages[:victim]:
        assert bytes(responder.recv() or b"") == message
    with pytest.raises((RemoteProtocolError, ConnectionLost)):
        responder.recv()
    with pytest.raises(RemoteProtocolError):
        responder.recv()


def flip_one_bit(chance: random.Random) -> Callable[[bytes], bytes]:
    """Make a change of one bit."""

    def flip(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return bytes(changed)

    return flip


def test_after_a_failed_send_nothing_more_is_sent() -> None:
    """Half a record may be on its way: whatever followed would be read as its rest."""
    one, other = taps()
    initiator, _ = opened(one, other)
    one.timeout_s = 0
    with pytest.raises(DeadlineExceeded):
        initiator.send([bytes(16 << 20)])
    pieces = len(one.sent)
    calls: list[Callable[[], object]] = [lambda: initiator.send([b"x"]), initiator.finish]
    for call in calls:
        with pytest.raises(LocalProtocolError, match="after a failure"):
            call()
    assert len(one.sent) == pieces


def test_large_content_is_handed_over_in_large_pieces() -> None:
    """The transport gets about a mebibyte at a time, not a record."""
    one, other = loopback(64 << 20)
    tap = Tap(one)
    initiator, _ = opened(tap, other)
    initiator.send([bytes(8 << 20)])
    pieces = [len(piece) for piece in tap.sent[1:]]
    assert len(pieces) == 8
    assert min(pieces) > 1 << 20
    assert len(receive(other, 1000)) == 1000
