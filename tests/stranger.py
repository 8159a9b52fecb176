"""A client of the listener made from docs/protocol.md and the package `noiseprotocol`: it keeps to the protocol, or not.

Of deltasync itself only the errors are used, so that a slip there can't hide another.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from noise.connection import Keypair, NoiseConnection

from deltasync.errors import ConnectionLost

__all__ = ["XK", "XKPSK3", "Stranger", "preamble", "sealed"]

XK, XKPSK3 = 2, 3
_NAMES = {XK: b"Noise_XK_25519_AESGCM_SHA256", XKPSK3: b"Noise_XKpsk3_25519_AESGCM_SHA256"}


def preamble(handshake: int = XK, version: int = 1) -> bytes:
    """Return the fourteen bytes that both sides begin with."""
    return b"\0deltasync\0" + struct.pack(">HB", version, handshake)


def framed(message: bytes) -> bytes:
    """Return a message of the handshake behind its length."""
    return struct.pack(">H", len(message)) + message


def sealed(key: bytes, number: int, payload: bytes, kind: int = 0) -> bytes:
    """Return a record."""
    header = bytes([kind]) + len(payload).to_bytes(3, "big")
    return header + AESGCM(key).encrypt(bytes(4) + struct.pack(">Q", number), payload, header)


class Stranger:
    """One connection to a listener.

    Args:
        port: Where it listens on the loopback address.
        listener: Its public key, or what is taken for it.
        static: The own private key.
        handshake: `XK` or `XKPSK3`.
        token: The token for `XKPSK3`.
        source: The address to come from, within 127.0.0.0/8.
    """

    def __init__(
        self,
        port: int,
        listener: bytes,
        *,
        static: bytes = b"\5" * 32,
        handshake: int = XK,
        token: bytes = bytes(32),
        source: str = "127.0.0.1",
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.public = X25519PrivateKey.from_private_bytes(static).public_key().public_bytes_raw()
        self.preamble = preamble(handshake)
        self.noise = NoiseConnection.from_name(_NAMES[handshake])
        self.noise.set_as_initiator()
        self.noise.set_prologue(self.preamble * 2)
        self.noise.set_keypair_from_private_bytes(Keypair.STATIC, static)
        self.noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, listener)
        if handshake == XKPSK3:
            self.noise.set_psks(psk=token)
        self.noise.start_handshake()
        self._sent = [0, 0]
        self._received = 0
        self._buffer = b""

    def first(self) -> bytes:
        """Return preamble and first message."""
        return self.preamble + framed(bytes(self.noise.write_message()))

    def third(self, request: bytes) -> bytes:
        """Wait for the listener's answer, and return the third message."""
        assert self.exactly(14) == self.preamble
        (length,) = struct.unpack(">H", self.exactly(2))
        assert self.noise.read_message(self.exactly(length)) == b""
        return framed(bytes(self.noise.write_message(request)))

    def shake(self, request: bytes = b"data") -> Stranger:
        """Do the whole handshake."""
        self.socket.sendall(self.first())
        self.socket.sendall(self.third(request))
        return self

    @property
    def key_to_listener(self) -> bytes:
        """The key of the records that are sent."""
        return bytes(self.noise.noise_protocol.cipher_state_encrypt.k)

    def exactly(self, length: int) -> bytes:
        """Receive so many bytes; raises `ConnectionLost` if they don't come."""
        while len(self._buffer) < length:
            try:
                piece = self.socket.recv(65536)
            except OSError as error:
                raise ConnectionLost(str(error)) from error
            if not piece:
                raise ConnectionLost("ended")
            self._buffer += piece
        found, self._buffer = self._buffer[:length], self._buffer[length:]
        return found

    def rest(self) -> bytes:
        """Return whatever still comes until the listener closes; raises `TimeoutError` if it never does."""
        data = self._buffer
        self._buffer = b""
        try:
            while piece := self.socket.recv(65536):
                data += piece
        except ConnectionResetError:
            return data
        return data

    def send(self, parts: Sequence[bytes]) -> None:
        """Send plain bytes, as records of at most 64 KiB."""
        data = b"".join(parts)
        for at in range(0, len(data), 65536):
            piece = data[at : at + 65536]
            self.raw(sealed(self.key_to_listener, self._sent[0], piece))
            self._sent[0] += 1
            self._sent[1] += len(piece)

    def raw(self, data: bytes) -> None:
        """Send bytes as they are; raises `ConnectionLost`."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def recv(self) -> memoryview | None:
        """Return the payload of the next record; None at the end."""
        header = self.exactly(4)
        body = self.exactly(int.from_bytes(header[1:], "big") + 16)
        nonce = bytes(4) + struct.pack(">Q", self._received)
        self._received += 1
        try:
            payload = AESGCM(bytes(self.noise.noise_protocol.cipher_state_decrypt.k)).decrypt(nonce, body, header)
        except InvalidTag as error:
            raise ConnectionLost("forged") from error
        return None if header[0] else memoryview(payload)

    def finish(self) -> None:
        """Say that nothing follows."""
        self.raw(sealed(self.key_to_listener, self._sent[0], struct.pack(">QQ", *self._sent), 1))

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()
