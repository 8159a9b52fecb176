"""AES-256-GCM as Noise uses it: the nonce from a counter, the next key from a key, and the two ways to count. Pure.

`CipherState` seals what is small and rare, the handshake. `KeySchedule` says which key and nonce are next for a long stream of records.
Both count up and never back, so that no nonce is used twice under one key.

Source: The Noise Protocol Framework, revision 34, sections 4.2, 5.1 and 12.4.
"""

from __future__ import annotations

import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from deltasync.errors import LocalProtocolError

__all__ = ["KEY_BYTES", "MAX_COUNTER", "TAG_BYTES", "CipherState", "KeySchedule", "next_key", "nonce"]

KEY_BYTES = 32
TAG_BYTES = 16
MAX_COUNTER = (1 << 64) - 2
"""The last counter for a message; Noise keeps 2**64 - 1 for making the next key."""

_NONCE = struct.Struct(">IQ")


def nonce(counter: int) -> bytes:
    """Return the 12 bytes of a nonce: four zero bytes, then the counter (0 to 2**64 - 1), big-endian."""
    return _NONCE.pack(0, counter)


def next_key(key: bytes) -> bytes:
    """Return the key that follows `key` (32 bytes): Noise's REKEY."""
    return AESGCM(key).encrypt(nonce(MAX_COUNTER + 1), bytes(KEY_BYTES), b"")[:KEY_BYTES]


class CipherState:
    """One key and its counter, for short messages.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._counter = 0

    def encrypt(self, plain: bytes, associated: bytes = b"") -> bytes:
        """Return the sealed message, 16 bytes longer.

        Raises:
            LocalProtocolError: The counter is used up.
        """
        return self._cipher.encrypt(self._next_nonce(), plain, associated)

    def decrypt(self, sealed: bytes, associated: bytes = b"") -> bytes:
        """Return the plain message.

        Raises:
            cryptography.exceptions.InvalidTag: It was not sealed with this key, counter and associated data.
            LocalProtocolError: The counter is used up.
        """
        return self._cipher.decrypt(self._next_nonce(), sealed, associated)

    def _next_nonce(self) -> bytes:
        if self._counter > MAX_COUNTER:
            raise LocalProtocolError("the counter of a cipher is used up; please report this")
        self._counter += 1
        return nonce(self._counter - 1)


class KeySchedule:
    """Key and nonce of each record of one direction; the key changes after every `rekey_records`, on both sides alike.

    The counter goes on across a change of key: it is the number of the record in its direction.

    Args:
        key: 32 bytes.
        rekey_records: How many records one key seals, at least 1.
        counter: The number of the first record; 0 but in tests.
    """

    def __init__(self, key: bytes, rekey_records: int, counter: int = 0) -> None:
        self._key = key
        self._cipher = AESGCM(key)
        self._rekey_records = rekey_records
        self._rekey_at = counter + rekey_records
        self._counter = counter

    def advance(self) -> tuple[AESGCM, bytes]:
        """Return cipher and nonce of the next record; the pair is never returned again.

        Raises:
            LocalProtocolError: The counter is used up.
        """
        counter = self._counter
        if counter > MAX_COUNTER:
            raise LocalProtocolError("the counter of the records is used up; please report this")
        if counter == self._rekey_at:
            self._key = next_key(self._key)
            self._cipher = AESGCM(self._key)
            self._rekey_at += self._rekey_records
        self._counter = counter + 1
        return self._cipher, _NONCE.pack(0, counter)
