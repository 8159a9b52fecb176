"""The listener's side of the handshake as a machine without I/O: bytes in, bytes to answer, and at the end who came. Pure.

Nothing is answered before the first message has proven that the client knows this listener's key, but to a deltasync of another version,
which is told ours. No byte is asked for beyond the handshake, so that what follows it is left to whoever goes on with the session.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from deltasync.errors import AuthenticationError, RemoteProtocolError
from deltasync.wire.noise import Handshake, TransportKeys
from deltasync.wire.preamble import MAGIC, PREAMBLE_BYTES, Preamble, Suite
from deltasync.wire.version import PROTOCOL_VERSION

__all__ = ["MAX_MESSAGE_BYTES", "Arrival", "OtherVersion", "Reception"]

FIRST_MESSAGE_BYTES = 48
"""An ephemeral key, and the tag of an empty payload."""
MAX_MESSAGE_BYTES = 256
_LENGTH_BYTES = 2
_OFFERED = (Suite.XK, Suite.XKPSK3)


class OtherVersion(RemoteProtocolError):
    """The client is a deltasync that wants another version or handshake; `answer` is what it is told before the connection ends."""

    def __init__(self, text: str, answer: bytes) -> None:
        super().__init__(text)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Arrival:
    """A client that has proven who it is.

    Attributes:
        suite: `XK` for a session, `XKPSK3` for a pairing.
        key: Its public key, 32 bytes.
        request: What it asks for: the name of a root, or in a pairing what it calls itself.
        keys: The keys of the records to come.
    """

    suite: Suite
    key: bytes
    request: bytes
    keys: TransportKeys = field(repr=False)


class Reception:
    """One client's handshake.

    Args:
        static: This listener's private key, 32 bytes.
        psk: The token of the pairing that is open; None if none is.

    Attributes:
        wanted: How many bytes must come before anything happens; 0 once the handshake is done.
        proven: Whether the client has shown that it knows this listener's key.
        arrival: Who came, once the handshake is done.
    """

    def __init__(self, static: bytes, psk: bytes | None = None) -> None:
        self._static = static
        self._psk = psk
        self._held = bytearray()
        self._suite = Suite.XK
        self._handshake: Handshake | None = None
        self._length = 0
        self.wanted = PREAMBLE_BYTES
        self.proven = False
        self.arrival: Arrival | None = None

    def feed(self, data: bytes) -> bytes:
        """Take at most `wanted` bytes, and return what is to be sent.

        Raises:
            OtherVersion: See there.
            RemoteProtocolError: It is no deltasync, or does not keep to the protocol; nothing is sent.
            AuthenticationError: It does not hold the keys that it must, or wants to pair while no pairing is open; nothing is sent.
        """
        self._held += data
        self.wanted -= len(data)
        if self._handshake is None and not MAGIC.startswith(bytes(self._held[: len(MAGIC)])):
            raise RemoteProtocolError("no deltasync: noise")
        if self.wanted:
            return b""
        held = bytes(self._held)
        self._held.clear()
        if self._handshake is None:
            self._handshake = self._greeted(Preamble.decode(held))
            self.wanted = _LENGTH_BYTES
        elif not self._length:
            self._length = self.wanted = self._checked(int.from_bytes(held))
        else:
            self._length = 0
            return self._take(self._handshake, held)
        return b""

    def _greeted(self, theirs: Preamble) -> Handshake:
        found = next((suite for suite in _OFFERED if Preamble(suite.value) == theirs), None)
        if found is None:
            text = (
                f"it wants protocol version {theirs.version} and handshake {theirs.suite}; here are {PROTOCOL_VERSION} and {Suite.XK.value}"
            )
            raise OtherVersion(text, Preamble(Suite.XK.value).encode())
        self._suite = found
        if found is Suite.XK:
            return Handshake(found.pattern, initiator=False, prologue=theirs.prologue, s=self._static)
        if self._psk is None:
            raise AuthenticationError("it wants to pair, and no pairing is open")
        return Handshake(found.pattern, initiator=False, prologue=theirs.prologue, s=self._static, psks=(self._psk,))

    def _checked(self, length: int) -> int:
        if (self.proven and not FIRST_MESSAGE_BYTES < length <= MAX_MESSAGE_BYTES) or (not self.proven and length != FIRST_MESSAGE_BYTES):
            raise RemoteProtocolError(f"a handshake message of {length} bytes")
        return length

    def _take(self, handshake: Handshake, message: bytes) -> bytes:
        payload = handshake.read(message)
        if not handshake.complete:
            self.proven = True
            self.wanted = _LENGTH_BYTES
            answer = handshake.write()
            return Preamble(self._suite.value).encode() + len(answer).to_bytes(_LENGTH_BYTES) + answer
        key = handshake.remote_static
        assert key is not None
        self.arrival = Arrival(self._suite, key, payload, handshake.split())
        return b""
