"""The secure channel: a Noise handshake over any byte stream, then a link of sealed records.

What the peer says before the handshake is done is not trusted: it is short, compared with what is expected, and quoted escaped. The pure
parts are `wire.preamble`, `wire.noise` and `wire.records`; here they meet a stream. Each message of the handshake travels behind its
length, two bytes big-endian; its payload is empty but in the initiator's third.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from deltasync.channel.greeting import NoAnswer, answer, greet, receive_exactly
from deltasync.channel.stream import Buffer, ByteStream
from deltasync.errors import ConnectionLost, RemoteProtocolError
from deltasync.wire.noise import Handshake, TransportKeys
from deltasync.wire.preamble import Preamble, Suite
from deltasync.wire.records import Opener, Sealer

__all__ = ["MAX_HANDSHAKE_BYTES", "Credentials", "NoAnswer", "SecureLink", "open_initiator", "open_responder"]

MAX_HANDSHAKE_BYTES = 256
"""Longest handshake message accepted; without a payload the longest there is has 96 bytes."""


class Credentials(NamedTuple):
    """How one side takes part in a handshake, and with which keys, 32 bytes each; none but `suite` is shown by `repr`.

    Attributes:
        suite: The handshake. `NN` authenticates nobody: it is for streams that are authenticated already, as SSH's.
        static: This side's private key, for `XK` and `XKPSK3`, or what finds it when it is needed.
        remote_static: The responder's public key, which an initiator of `XK` or `XKPSK3` must know.
        psk: The pre-shared key of `XKPSK3` or `NNPSK0`.
        request: What an initiator's third message carries: only the responder can read it, once it has proven its key. `NN` has none.
    """

    suite: Suite = Suite.NN
    static: bytes | Callable[[], bytes] | None = None
    remote_static: bytes | None = None
    psk: bytes | None = None
    request: bytes = b""

    def __repr__(self) -> str:
        """Name the handshake alone."""
        return f"Credentials(suite={self.suite!r})"

    def handshake(self, *, initiator: bool) -> Handshake:
        """Begin the handshake; raises `LocalProtocolError` where the keys don't fit it."""
        return Handshake(
            self.suite.pattern,
            initiator=initiator,
            prologue=Preamble(self.suite.value).prologue,
            s=self.static() if callable(self.static) else self.static,
            rs=self.remote_static,
            psks=() if self.psk is None else (self.psk,),
        )


class SecureLink:
    """Sealed records over a stream: a `Link`. Made by `open_initiator` and `open_responder`, or from the keys that they would have made.

    Args:
        stream: A stream on which the handshake is done.
        keys: What the handshake left.
        peer_key: The peer's static public key, proven by the handshake; None where it has none.
        bytes_sent: What the handshake sent.
        bytes_received: What the handshake received.
    """

    cipher: str
    bytes_sent: int
    bytes_received: int

    def __init__(
        self, stream: ByteStream, keys: TransportKeys, *, peer_key: bytes | None = None, bytes_sent: int = 0, bytes_received: int = 0
    ) -> None:
        self.cipher = "AES-256-GCM"
        self.bytes_sent = bytes_sent
        self.bytes_received = bytes_received
        self.peer_key = peer_key
        self._stream = stream
        self._sealer = Sealer(keys.send)
        self._opener = Opener(keys.receive)

    def limit(self, timeout_s: float) -> None:
        """See `Link.limit`."""
        until_now = self._stream.timeout_s
        self._stream.timeout_s = timeout_s if until_now is None else min(until_now, timeout_s)

    def send(self, parts: Sequence[Buffer]) -> None:
        """See `Link.send`. After a failure nothing more can be sent: part of a record may be on its way.

        Raises:
            LocalProtocolError: `finish` was called, or an earlier `send` failed.
        """
        for sealed in self._sealer.seal(parts):
            self._stream.send(sealed)
            self.bytes_sent += len(sealed)

    def recv(self, room: memoryview | None = None) -> memoryview | None:
        """See `Link.recv`."""
        while True:
            plain = self._opener.open(room)
            if plain is not None:
                return plain
            if self._opener.finished:
                return None
            count = self._stream.recv_into(self._opener.buffer())
            self._opener.received(count)
            self.bytes_received += count

    def finish(self) -> None:
        """See `Link.finish`. The stream's own direction stays open: some remote shells end the whole session when it closes.

        Raises:
            LocalProtocolError: It was called before, or a `send` failed.
        """
        sealed = self._sealer.finish()
        self._stream.send(sealed)
        self.bytes_sent += len(sealed)

    def close(self) -> None:
        """See `Link.close`."""
        self._stream.close()


def open_initiator(
    stream: ByteStream, credentials: Credentials | None = None, *, peer: str = "the far end", through_shell: bool = True
) -> SecureLink:
    """Do the handshake as the side that connected.

    Args:
        stream: A fresh stream.
        credentials: The handshake and its keys; None for `NN`.
        peer: What the other side is called in errors: `HOST`, `USER@HOST`.
        through_shell: Whether a login shell stands before the other side, which may print something.

    Raises:
        AuthenticationError: The peer did not prove the key expected, or somebody meddled.
        ConnectionLost: The stream broke or ended; `NoAnswer` if not one byte had come.
        DeadlineExceeded: Nothing came for the stream's `timeout_s`.
        LocalProtocolError: The credentials don't fit their suite.
        RemoteProtocolError: The peer is no deltasync of this version, offers another handshake, or something else printed into the stream.
    """
    credentials = credentials or Credentials()
    preamble = Preamble(credentials.suite.value)
    handshake = credentials.handshake(initiator=True)
    exchange = _Exchange(stream, handshake)
    try:
        exchange.write(preamble.encode())
    except ConnectionLost:
        # Who has gone may have said why, and that is still there to be read.
        greet(stream, preamble, peer, through_shell=through_shell)
        raise
    exchange.received += greet(stream, preamble, peer, through_shell=through_shell)
    return exchange.run(credentials.request)


def open_responder(stream: ByteStream, *offers: Credentials, peer: str = "the other side") -> SecureLink:
    """Do the handshake as the side that was connected to. Nothing is sent to who does not speak first, and as a deltasync.

    Args:
        stream: A fresh stream.
        offers: The handshakes that the peer may choose from, one for each suite; none at all is `NN` alone.
        peer: What the other side is called in errors.

    Raises:
        AuthenticationError: The peer does not hold the keys that it should, or somebody meddled.
        ConnectionLost: As in `open_initiator`.
        DeadlineExceeded: As in `open_initiator`.
        LocalProtocolError: As in `open_initiator`.
        RemoteProtocolError: As in `open_initiator`. Where the versions or handshakes differ, the peer is told this side's before.
    """
    offered = {credentials.suite.value: credentials for credentials in offers or (Credentials(),)}
    theirs, received = answer(stream, [Preamble(suite) for suite in offered], peer)
    handshake = offered[theirs.suite].handshake(initiator=False)
    exchange = _Exchange(stream, handshake)
    exchange.received += received
    exchange.read()
    exchange.write(theirs.encode())
    return exchange.run()


class _Exchange:
    """The messages of one handshake, as they travel."""

    def __init__(self, stream: ByteStream, handshake: Handshake) -> None:
        self._stream = stream
        self._handshake = handshake
        self.sent = 0
        self.received = 0

    def write(self, before: bytes = b"", payload: bytes = b"") -> None:
        """Send the next message with `payload` in it, and `before` ahead of it in the same piece."""
        message = self._handshake.write(payload)
        data = before + len(message).to_bytes(2) + message
        self._stream.send(data)
        self.sent += len(data)

    def read(self) -> None:
        """Wait for the next message."""
        length = int.from_bytes(receive_exactly(self._stream, 2))
        if length > MAX_HANDSHAKE_BYTES:
            raise RemoteProtocolError(f"the peer sent a handshake message of {length} bytes; the limit is {MAX_HANDSHAKE_BYTES}")
        payload = self._handshake.read(receive_exactly(self._stream, length))
        if payload:
            raise RemoteProtocolError("the peer sent a handshake message with a payload")
        self.received += 2 + length

    def run(self, request: bytes = b"") -> SecureLink:
        """Exchange what is left of the messages, `request` in the one that is still this side's, and return the link."""
        while not self._handshake.complete:
            if self._handshake.writes_next:
                self.write(payload=request)
            else:
                self.read()
        keys = self._handshake.split()
        return SecureLink(self._stream, keys, peer_key=self._handshake.remote_static, bytes_sent=self.sent, bytes_received=self.received)
