"""The answer to whoever proves a key that was made for one connection: Noise `NNpsk0`. Pure.

The initiator's preamble and first message are `FIRST_BYTES` long, and already the first message opens only for who holds the key; so is the
answer. Ephemeral keys of both sides keep what was said secret though the key become known later.
"""

from __future__ import annotations

from typing import NamedTuple

from deltasync.errors import RemoteProtocolError
from deltasync.wire.noise import Handshake, TransportKeys
from deltasync.wire.preamble import PREAMBLE_BYTES, Preamble, Suite

__all__ = ["FIRST_BYTES", "KEY_BYTES", "Proof", "prove"]

KEY_BYTES = 32
_LENGTH_BYTES = 2
_MESSAGE_BYTES = 48
"""An ephemeral key, and the tag of an empty payload."""
FIRST_BYTES = PREAMBLE_BYTES + _LENGTH_BYTES + _MESSAGE_BYTES


class Proof(NamedTuple):
    """What a proof leads to.

    Attributes:
        answer: What is to be sent, `FIRST_BYTES` long.
        keys: The keys of the records to come.
    """

    answer: bytes
    keys: TransportKeys

    def __repr__(self) -> str:
        """Show nothing of the keys."""
        return f"Proof(answer={self.answer!r})"


def prove(key: bytes, first: bytes) -> Proof:
    """Take the first bytes of a connection, all `FIRST_BYTES` of them.

    Raises:
        RemoteProtocolError: They are no deltasync's that wants this handshake, in this version.
        AuthenticationError: Whoever sent them does not hold the key.
    """
    preamble = Preamble(Suite.NNPSK0.value)
    head = preamble.encode() + _MESSAGE_BYTES.to_bytes(_LENGTH_BYTES)
    if len(first) != FIRST_BYTES or not first.startswith(head):
        raise RemoteProtocolError("no first message of a data connection")
    handshake = Handshake(Suite.NNPSK0.pattern, initiator=False, prologue=preamble.prologue, psks=(key,))
    handshake.read(first[len(head) :])
    answer = handshake.write()
    return Proof(head + answer, handshake.split())
