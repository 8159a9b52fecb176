"""Who holds the key of one connection is answered, and nobody else."""

from __future__ import annotations

import pytest

from deltasync.errors import DeltasyncError
from deltasync.wire.noise import Handshake
from deltasync.wire.one_time import FIRST_BYTES, prove
from deltasync.wire.preamble import PREAMBLE_BYTES, Preamble, Suite

KEY = bytes(range(32))
PREAMBLE = Preamble(Suite.NNPSK0.value)


def first(key: bytes, preamble: Preamble = PREAMBLE) -> tuple[Handshake, bytes]:
    """Return an initiator and what it says first."""
    handshake = Handshake("NNpsk0", initiator=True, prologue=preamble.prologue, psks=(key,))
    message = handshake.write()
    return handshake, preamble.encode() + len(message).to_bytes(2) + message


def test_who_holds_the_key_is_answered() -> None:
    """Both sides have the same keys then, and the answer is as long as the question."""
    handshake, data = first(KEY)
    assert len(data) == FIRST_BYTES
    proof = prove(KEY, data)
    assert len(proof.answer) == FIRST_BYTES
    assert handshake.read(proof.answer[PREAMBLE_BYTES + 2 :]) == b""
    ours = handshake.split()
    assert (ours.send, ours.receive) == (proof.keys.receive, proof.keys.send)


def test_each_connection_has_keys_of_its_own() -> None:
    """The same question twice leads to different answers: each side adds a fresh key."""
    _, data = first(KEY)
    assert prove(KEY, data).keys != prove(KEY, data).keys


@pytest.mark.parametrize("at", range(FIRST_BYTES))
def test_no_byte_may_be_another(at: int) -> None:
    """Any change is found out before anything is answered."""
    _, data = first(KEY)
    spoiled = bytearray(data)
    spoiled[at] ^= 1
    with pytest.raises(DeltasyncError):
        prove(KEY, bytes(spoiled))


def test_others_are_refused() -> None:
    """Another key, another version, another length, nothing at all."""
    for data in (first(bytes(32))[1], first(KEY, Preamble(4, 2))[1], first(KEY)[1][:-1], b"", b"GET / HTTP/1.1\r\n".ljust(FIRST_BYTES)):
        with pytest.raises(DeltasyncError):
            prove(KEY, data)


def test_a_proof_shows_no_keys() -> None:
    """Whoever prints it learns what went over the line anyhow."""
    proof = prove(KEY, first(KEY)[1])
    assert repr(proof) == f"Proof(answer={proof.answer!r})"
