"""The Noise handshake for 25519, AESGCM and SHA256 as a machine without I/O: messages in, messages out, keys at the end. Pure.

What a message is made of, the tables of `noise_patterns` say; nothing here knows a pattern by name. The machine only goes forward:
each message is written or read once, a failure ends it, and the keys are given out once. The one thing taken from outside is chance,
for the ephemeral keys.

Source: The Noise Protocol Framework, revision 34, sections 4, 5 and 9.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.hmac import HMAC

from deltasync.errors import AuthenticationError, LocalProtocolError, RemoteProtocolError
from deltasync.wire.aead import KEY_BYTES, TAG_BYTES, CipherState
from deltasync.wire.noise_patterns import Token, pattern

__all__ = ["HASH_BYTES", "MAX_MESSAGE_BYTES", "Handshake", "TransportKeys", "public_key"]

HASH_BYTES = 32
MAX_MESSAGE_BYTES = 65535
_SUITE = "25519_AESGCM_SHA256"
_Key = TypeVar("_Key", bytes, X25519PrivateKey)


def public_key(private: bytes) -> bytes:
    """Return the X25519 public key (32 bytes) of a private one (32 bytes)."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _sha256(data: bytes) -> bytes:
    # By the library that the keys come from anyway: loading the standard library's takes another 7 ms.
    hashed = Hash(SHA256())
    hashed.update(data)
    return hashed.finalize()


def _hmac(key: bytes, data: bytes) -> bytes:
    keyed = HMAC(key, SHA256())
    keyed.update(data)
    return keyed.finalize()


class TransportKeys(NamedTuple):
    """What a finished handshake leaves: a key for each direction, 32 bytes each, never shown by `repr`."""

    send: bytes
    receive: bytes

    def __repr__(self) -> str:
        """Name the type alone."""
        return "TransportKeys()"


class _Symmetric:
    """The chaining key, the hash of all that was said, and the cipher once there is a key."""

    def __init__(self, protocol_name: bytes) -> None:
        short = len(protocol_name) <= HASH_BYTES
        self.hash = protocol_name.ljust(HASH_BYTES, b"\0") if short else _sha256(protocol_name)
        self._chaining_key = self.hash
        self._cipher: CipherState | None = None

    @property
    def tag_bytes(self) -> int:
        """How much longer than its plain form a part of a message is now."""
        return TAG_BYTES if self._cipher else 0

    def mix_hash(self, data: bytes) -> None:
        """Bind `data` to all that follows."""
        self.hash = _sha256(self.hash + data)

    def mix_key(self, material: bytes) -> None:
        """Make the next key from this one and a shared secret."""
        self._chaining_key, key = self._derive(material, 2)
        self._cipher = CipherState(key)

    def mix_key_and_hash(self, psk: bytes) -> None:
        """Make the next key from this one and a pre-shared key, which is bound to the hash too."""
        self._chaining_key, bound, key = self._derive(psk, 3)
        self.mix_hash(bound)
        self._cipher = CipherState(key)

    def encrypt_and_hash(self, plain: bytes) -> bytes:
        """Seal a part of a message, or pass it on as it is while there is no key yet."""
        sealed = self._cipher.encrypt(plain, self.hash) if self._cipher else plain
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        """Undo `encrypt_and_hash`; raises `InvalidTag`."""
        plain = self._cipher.decrypt(sealed, self.hash) if self._cipher else sealed
        self.mix_hash(sealed)
        return plain

    def split(self) -> tuple[bytes, bytes]:
        """Return the keys from the initiator to the responder, and back."""
        first, second = self._derive(b"", 2)
        return first, second

    def _derive(self, material: bytes, count: int) -> list[bytes]:
        secret = _hmac(self._chaining_key, material)
        outputs = [b""]
        for number in range(1, count + 1):
            outputs.append(_hmac(secret, outputs[-1] + bytes([number])))
        return outputs[1:]


class Handshake:
    """One side of one handshake.

    Args:
        pattern_name: A pattern that `noise_patterns.pattern` knows: `NN`, `XK`, `XKpsk3`, ...
        initiator: Whether this side writes the first message.
        prologue: What both sides must agree on beforehand; never sent.
        s: This side's static private key, 32 bytes, where the pattern has one.
        rs: The other side's static public key, 32 bytes, where the pattern says that it is known before.
        psks: The pre-shared keys, 32 bytes each, as many as the pattern has modifiers.
        e: The ephemeral private key, for public test vectors alone; None makes a fresh one.

    Raises:
        LocalProtocolError: The pattern is unknown, or a key is missing, of another length, or has no part in the pattern.
    """

    def __init__(
        self,
        pattern_name: str,
        *,
        initiator: bool,
        prologue: bytes = b"",
        s: bytes | None = None,
        rs: bytes | None = None,
        psks: Sequence[bytes] = (),
        e: bytes | None = None,
    ) -> None:
        try:
            self._pattern = pattern(pattern_name)
        except ValueError as error:
            raise LocalProtocolError(str(error)) from error
        self._initiator = initiator
        self._check_keys(s, rs, psks)
        self._s = X25519PrivateKey.from_private_bytes(s) if s else None
        self._e = X25519PrivateKey.from_private_bytes(e) if e else None
        self._rs = rs
        self._re: bytes | None = None
        self._psks = iter(tuple(psks))
        self._next = 0
        self._failed = False
        self._given_out = False
        self._symmetric = _Symmetric(f"Noise_{pattern_name}_{_SUITE}".encode())
        self._symmetric.mix_hash(prologue)
        self._mix_known_keys()

    @property
    def complete(self) -> bool:
        """Whether all messages were written and read."""
        return self._next == len(self._pattern.messages) and not self._failed

    @property
    def writes_next(self) -> bool:
        """Whether the next message is this side's."""
        return not self.complete and (self._next % 2 == 0) is self._initiator

    @property
    def hash(self) -> bytes:
        """The 32 bytes that name this handshake alone, for binding something else to it.

        Raises:
            LocalProtocolError: It is not complete.
        """
        self._require_complete()
        return self._symmetric.hash

    @property
    def remote_static(self) -> bytes | None:
        """The other side's static public key as far as it is known; proven only once `complete`."""
        return self._rs

    def write(self, payload: bytes = b"") -> bytes:
        """Return the next message, with `payload` in it.

        Raises:
            LocalProtocolError: It is not this side's turn, or the message would be longer than 65,535 bytes.
            RemoteProtocolError: A public key of the peer is unusable.
        """
        with self._step(writes=True) as tokens:
            message = b"".join([self._write_token(token) for token in tokens]) + self._symmetric.encrypt_and_hash(payload)
            if len(message) > MAX_MESSAGE_BYTES:
                raise LocalProtocolError(f"a handshake message of {len(message)} bytes is over the limit; please report this")
            return message

    def read(self, message: bytes) -> bytes:
        """Take the other side's next message, and return the payload in it.

        Raises:
            AuthenticationError: It was not made by who holds the keys expected, or was changed on the way. Why, nobody is told.
            LocalProtocolError: It is not the other side's turn.
            RemoteProtocolError: It is too short or too long, or a public key in it is unusable.
        """
        with self._step(writes=False) as tokens:
            if len(message) > MAX_MESSAGE_BYTES:
                raise RemoteProtocolError(f"the peer sent a handshake message of {len(message)} bytes; the limit is {MAX_MESSAGE_BYTES}")
            try:
                for token in tokens:
                    message = message[self._read_token(token, message) :]
                if len(message) < self._symmetric.tag_bytes:
                    raise RemoteProtocolError("the peer sent a handshake message that is too short")
                return self._symmetric.decrypt_and_hash(message)
            except InvalidTag:
                raise AuthenticationError("the handshake failed: the peer's message is not authentic") from None

    def split(self) -> TransportKeys:
        """Return the keys of the two directions; they are given out once.

        Raises:
            LocalProtocolError: The handshake is not complete, or the keys were given out before.
        """
        self._require_complete()
        if self._given_out:
            raise LocalProtocolError("the keys of a handshake are given out once; please report this")
        self._given_out = True
        self._s = self._e = None  # Whoever reads this process's memory later shall not find them here.
        first, second = self._symmetric.split()
        return TransportKeys(first, second) if self._initiator else TransportKeys(second, first)

    def _require_complete(self) -> None:
        if not self.complete:
            raise LocalProtocolError("the handshake is not complete; please report this")

    @contextmanager
    def _step(self, *, writes: bool) -> Iterator[tuple[Token, ...]]:
        """Give the tokens of the next message; whatever goes wrong with them ends the handshake for good."""
        if self._failed or self.complete or self.writes_next is not writes:
            raise LocalProtocolError(f"a handshake message can't be {'written' if writes else 'read'} now; please report this")
        try:
            yield self._pattern.messages[self._next]
        except BaseException:
            self._failed = True
            raise
        self._next += 1

    def _check_keys(self, s: bytes | None, rs: bytes | None, psks: Sequence[bytes]) -> None:
        has_static = any(which(initiator=self._initiator) for which in (self._pattern.sends_static, self._pattern.knows_static))
        for what, key, wanted in (
            ("static key", s, has_static),
            ("remote static key", rs, self._pattern.knows_static(initiator=not self._initiator)),
        ):
            if (key is not None) is not wanted:
                raise LocalProtocolError(f"handshake {self._pattern.name}: {what} {'missing' if wanted else 'has no part in it'}")
        if len(psks) != self._pattern.psks:
            raise LocalProtocolError(f"handshake {self._pattern.name} takes {self._pattern.psks} pre-shared keys, {len(psks)} given")
        if any(len(key) != KEY_BYTES for key in (s, rs, *psks) if key is not None):
            raise LocalProtocolError(f"handshake {self._pattern.name}: each key has {KEY_BYTES} bytes")

    def _mix_known_keys(self) -> None:
        for initiator in (True, False):
            if self._pattern.knows_static(initiator=initiator):
                self._symmetric.mix_hash(self._own_static() if initiator is self._initiator else _present(self._rs))

    def _own_static(self) -> bytes:
        return _present(self._s).public_key().public_bytes_raw()

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._pattern.psks:
            self._symmetric.mix_key(public)

    def _write_token(self, token: Token) -> bytes:
        if token is Token.E:
            self._e = self._e or X25519PrivateKey.generate()
            public = self._e.public_key().public_bytes_raw()
            self._mix_ephemeral(public)
            return public
        if token is Token.S:
            return self._symmetric.encrypt_and_hash(self._own_static())
        self._mix_secret(token)
        return b""

    def _read_token(self, token: Token, message: bytes) -> int:
        """Take what a token stands for from the front of `message`; returns how many bytes that were."""
        if token not in (Token.E, Token.S):
            self._mix_secret(token)
            return 0
        length = KEY_BYTES + (self._symmetric.tag_bytes if token is Token.S else 0)
        if len(message) < length:
            raise RemoteProtocolError("the peer sent a handshake message that is too short")
        if token is Token.E:
            self._re = message[:length]
            self._mix_ephemeral(self._re)
        else:
            self._rs = self._symmetric.decrypt_and_hash(message[:length])
        return length

    def _mix_secret(self, token: Token) -> None:
        if token is Token.PSK:
            self._symmetric.mix_key_and_hash(next(self._psks))
            return
        own, remote = (token[0], token[1]) if self._initiator else (token[1], token[0])
        private = _present(self._e if own == "e" else self._s)
        public = _present(self._re if remote == "e" else self._rs)
        try:
            # The library refuses an all-zero result: with a point of small order the peer could choose the secret alone.
            secret = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise RemoteProtocolError("the handshake failed: a public key of the peer is unusable") from None
        self._symmetric.mix_key(secret)


def _present(key: _Key | None) -> _Key:
    if key is None:
        raise LocalProtocolError("a key of the handshake is not known yet; please report this")
    return key
