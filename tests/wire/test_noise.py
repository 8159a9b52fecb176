"""The handshake machine against the public vectors, against another implementation, and against what a peer may do wrong."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from deltasync.errors import AuthenticationError, LocalProtocolError, RemoteProtocolError
from deltasync.wire.aead import CipherState, next_key
from deltasync.wire.noise import MAX_MESSAGE_BYTES, Handshake, TransportKeys, public_key
from deltasync.wire.noise_patterns import PATTERNS, Pattern, Token, pattern
from tests.sources import PROJECT

VECTORS_FILE: Final = PROJECT.parent / "shared" / "vectors" / "noise_25519_aesgcm_sha256.json"
ONE_WAY: Final = {"N", "K", "X", "Npsk0", "Kpsk0", "Xpsk1"}
"""Patterns of the vectors on which only one side may speak; the tables hold none of them."""

I_STATIC: Final = bytes(range(32))
R_STATIC: Final = bytes(range(1, 33))
PSK: Final = bytes(range(2, 34))

P: Final = 2**255 - 19
SMALL_ORDER: Final = [
    number.to_bytes(32, "little")
    for number in (
        0,
        1,
        P - 1,
        P,
        P + 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
]
"""Points of order 1, 2, 4 and 8 on the curve and its twist: with them the shared secret is zero, whatever the private key."""

Vector = dict[str, Any]


def read_vectors() -> list[Vector]:
    """Read the public vectors; none when the file is not there."""
    if not VECTORS_FILE.is_file():
        return []
    vectors: list[Vector] = json.loads(VECTORS_FILE.read_text(encoding="utf-8"))["vectors"]
    return vectors


VECTORS: Final = {vector["protocol_name"].split("_")[1]: vector for vector in read_vectors()}


def require_vectors() -> None:
    """Skip where the vectors are not beside the clone; in CI that is a failure."""
    if not VECTORS:
        if "CI" in os.environ:
            pytest.fail(f"{VECTORS_FILE} is missing")
        pytest.skip("needs vectors")


def handshake_of(vector: Vector, side: str) -> Handshake:
    """Begin the handshake of one side (`init`, `resp`) of a vector."""

    def key(name: str) -> bytes | None:
        return bytes.fromhex(vector[f"{side}_{name}"]) if f"{side}_{name}" in vector else None

    return Handshake(
        vector["protocol_name"].split("_")[1],
        initiator=side == "init",
        prologue=key("prologue") or b"",
        s=key("static"),
        rs=key("remote_static"),
        e=key("ephemeral"),
        psks=[bytes.fromhex(psk) for psk in vector.get(f"{side}_psks", [])],
    )


def pair(name: str, prologue: bytes = b"") -> tuple[Handshake, Handshake]:
    """Begin both sides of a handshake with the keys that its pattern asks for."""
    wanted = pattern(name)

    def side(own: bytes, other: bytes, *, initiator: bool) -> Handshake:
        has_static = wanted.sends_static(initiator=initiator) or wanted.knows_static(initiator=initiator)
        return Handshake(
            name,
            initiator=initiator,
            prologue=prologue,
            s=own if has_static else None,
            rs=public_key(other) if wanted.knows_static(initiator=not initiator) else None,
            psks=[PSK] * wanted.psks,
        )

    return side(I_STATIC, R_STATIC, initiator=True), side(R_STATIC, I_STATIC, initiator=False)


def run(initiator: Handshake, responder: Handshake) -> tuple[TransportKeys, TransportKeys]:
    """Exchange all messages and return the keys of both sides."""
    writer, reader = initiator, responder
    while not initiator.complete:
        assert writer.writes_next
        assert not reader.writes_next
        assert reader.read(writer.write(b"payload")) == b"payload"
        writer, reader = reader, writer
    return initiator.split(), responder.split()


@pytest.mark.parametrize("name", sorted(set(VECTORS) - ONE_WAY) or ["missing"])
def test_a_public_vector_passes(name: str) -> None:
    """Every message of the handshake and after it is, byte for byte, that of the vector, read and written; so is the hash."""
    require_vectors()
    vector = VECTORS[name]
    sides = [handshake_of(vector, "init"), handshake_of(vector, "resp")]
    ciphers: list[tuple[CipherState, CipherState]] = []
    for number, message in enumerate(vector["messages"]):
        payload, sealed = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        writer, reader = number % 2, 1 - number % 2
        if not ciphers:
            assert sides[writer].write(payload) == sealed
            assert sides[reader].read(sealed) == payload
            if sides[0].complete:
                assert sides[1].complete
                assert sides[0].hash == sides[1].hash == bytes.fromhex(vector["handshake_hash"])
                ciphers = [(CipherState(keys.send), CipherState(keys.receive)) for keys in (sides[0].split(), sides[1].split())]
        else:
            assert ciphers[writer][0].encrypt(payload) == sealed
            assert ciphers[reader][1].decrypt(sealed) == payload
    assert ciphers


def test_the_tables_hold_every_pattern_of_the_vectors() -> None:
    """No vector is left out but those of the one-way patterns, and no pattern of the tables is without a vector."""
    require_vectors()
    for name in set(VECTORS) - ONE_WAY:
        assert pattern(name).name == name
    assert set(PATTERNS) <= set(VECTORS)
    for name in ONE_WAY:
        with pytest.raises(ValueError, match="no handshake pattern"):
            pattern(name)


def test_a_pattern_is_what_its_name_says() -> None:
    """`XKpsk3`: the responder is known before, three messages, and the pre-shared key is mixed in at the end of the third."""
    e, s, psk = Token.E, Token.S, Token.PSK
    assert pattern("XKpsk3") == Pattern("XKpsk3", False, True, ((e, Token.ES), (e, Token.EE), (s, Token.SE, psk)))
    assert pattern("NNpsk0").messages[0] == (psk, e)
    assert pattern("KKpsk0+psk2").psks == 2
    assert pattern("KN").initiator_known
    assert not pattern("KN").responder_known


@pytest.mark.parametrize(
    "name", ["", "nn", "NNN", "NNpsk3", "NNpsk2+psk0", "NNpsk0+psk0", "NNpsk", "NN+psk0", "NNpsk0+", "XK2", "NI", "NN1"]
)
def test_no_other_name_is_a_pattern(name: str) -> None:
    """A misspelt pattern, or a modifier that doesn't fit, is refused by the table and by the machine."""
    with pytest.raises(ValueError, match="no handshake pattern"):
        pattern(name)
    with pytest.raises(LocalProtocolError, match="no handshake pattern"):
        Handshake(name, initiator=True)


@pytest.mark.parametrize("name", [*PATTERNS, "NNpsk0", "NNpsk2", "XKpsk3", "IKpsk2", "KKpsk0+psk2"])
def test_both_sides_come_to_the_same_keys(name: str) -> None:
    """With fresh ephemeral keys each side's sending key is the other's receiving key, and no two handshakes share any."""
    ours, theirs = run(*pair(name, b"prologue"))
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    again, _ = run(*pair(name, b"prologue"))
    assert len({ours.send, ours.receive, again.send, again.receive}) == 4


@pytest.mark.parametrize("name", ["NN", "XK", "XKpsk3", "XX", "IK", "KK"])
@pytest.mark.parametrize("we_initiate", [True, False])
def test_it_speaks_with_noiseprotocol(name: str, *, we_initiate: bool) -> None:
    """In either role the handshake with the package of the Python index comes to its hash, and its keys open what ours seal."""
    ours = pair(name, b"prologue")[0 if we_initiate else 1]
    theirs = other_implementation(name, initiator=not we_initiate)
    we_write = we_initiate
    while not ours.complete:
        if we_write:
            assert bytes(theirs.read_message(ours.write(b"to you"))) == b"to you"
        else:
            assert ours.read(bytes(theirs.write_message(b"to me"))) == b"to me"
        we_write = not we_write
    assert theirs.handshake_finished
    assert theirs.get_handshake_hash() == ours.hash
    keys = ours.split()
    assert bytes(theirs.decrypt(CipherState(keys.send).encrypt(b"sealed by us"))) == b"sealed by us"
    assert CipherState(keys.receive).decrypt(bytes(theirs.encrypt(b"sealed by them"))) == b"sealed by them"
    theirs.rekey_outbound_cipher()
    assert theirs.noise_protocol.cipher_state_encrypt.k == next_key(keys.receive)


def other_implementation(name: str, *, initiator: bool) -> NoiseConnection:
    """Begin one side of a handshake with the package `noiseprotocol`, with the keys that `pair` uses."""
    connection = NoiseConnection.from_name(f"Noise_{name}_25519_AESGCM_SHA256".encode())
    wanted = pattern(name)
    own, other = (I_STATIC, R_STATIC) if initiator else (R_STATIC, I_STATIC)
    (connection.set_as_initiator if initiator else connection.set_as_responder)()
    connection.set_prologue(b"prologue")
    if wanted.sends_static(initiator=initiator) or wanted.knows_static(initiator=initiator):
        connection.set_keypair_from_private_bytes(Keypair.STATIC, own)
    if wanted.knows_static(initiator=not initiator):
        connection.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, public_key(other))
    if wanted.psks:
        connection.set_psks(psk=PSK)
    connection.start_handshake()
    return connection


def test_the_peers_static_key_is_told() -> None:
    """A responder of XK learns the initiator's public key from the third message, an initiator knows the responder's all along."""
    initiator, responder = pair("XK")
    assert initiator.remote_static == public_key(R_STATIC)
    told = [responder.remote_static]
    run(initiator, responder)
    told.append(responder.remote_static)
    assert told == [None, public_key(I_STATIC)]
    nobody, _ = pair("NN")
    assert nobody.remote_static is None


@pytest.mark.parametrize("name", ["XK", "XKpsk3", "IK", "KK", "NNpsk0", "NNpsk2"])
def test_whoever_lacks_a_key_is_not_authenticated(name: str) -> None:
    """With another static key of the responder, or another pre-shared key, the handshake ends with the same words for every cause."""
    wanted = pattern(name)
    initiator, _ = pair(name)
    impostor = Handshake(
        name,
        initiator=False,
        s=bytes(31) + b"\x07" if wanted.responder_known else None,
        rs=public_key(I_STATIC) if wanted.initiator_known else None,
        psks=[bytes(32)] * wanted.psks,
    )
    with pytest.raises(AuthenticationError, match=r"^the handshake failed: the peer's message is not authentic$"):
        run(initiator, impostor)


def test_another_pre_shared_key_alone_is_found_out() -> None:
    """In XKpsk3 a client of the right keys, but without the pairing's token, fails at the third message."""
    initiator, _ = pair("XKpsk3")
    responder = Handshake("XKpsk3", initiator=False, s=R_STATIC, psks=[bytes(32)])
    responder.read(initiator.write())
    initiator.read(responder.write())
    third = initiator.write()
    with pytest.raises(AuthenticationError):
        responder.read(third)


def test_another_prologue_is_found_out() -> None:
    """Who changed what was said in clear before makes the handshake fail."""
    initiator, _ = pair("NN", b"version 1")
    _, responder = pair("NN", b"version 2")
    responder.read(initiator.write())
    with pytest.raises(AuthenticationError):
        initiator.read(responder.write())


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:8])
@pytest.mark.parametrize("name", ["NN", "XK", "NK"])
def test_a_key_of_small_order_is_refused(name: str, point: bytes) -> None:
    """A peer whose public key would make the shared secret zero is refused, whichever side it is."""
    initiator, responder = pair(name)
    first = initiator.write()

    def answer() -> bytes:
        responder.read(point + first[32:])
        return responder.write()

    with pytest.raises(RemoteProtocolError, match="unusable"):
        answer()
    with pytest.raises(RemoteProtocolError, match="unusable"):
        initiator.read(point + bytes(16))


@pytest.mark.parametrize("name", ["NN", "XK", "XX", "IK", "XKpsk3"])
def test_a_truncated_message_is_refused(name: str) -> None:
    """Each message cut at any place is a protocol error or not authentic, and ends the handshake."""
    for number in range(len(pattern(name).messages)):
        sides = pair(name)
        for earlier in range(number):
            sides[1 - earlier % 2].read(sides[earlier % 2].write())
        message = sides[number % 2].write()
        for length in range(len(message)):
            reader = pair_at(name, number)
            with pytest.raises((RemoteProtocolError, AuthenticationError)):
                reader.read(message[:length])
            with pytest.raises(LocalProtocolError):
                reader.read(message)


def pair_at(name: str, number: int) -> Handshake:
    """Bring a fresh handshake to the message of this number, and return the side that reads it."""
    sides = pair(name)
    for earlier in range(number):
        sides[1 - earlier % 2].read(sides[earlier % 2].write())
    return sides[1 - number % 2]


def test_a_message_over_65535_bytes_is_refused() -> None:
    """The longest message passes; one byte more can neither be written nor read."""
    longest = bytes(MAX_MESSAGE_BYTES - 32)
    initiator, responder = pair("NN")
    assert responder.read(initiator.write(longest)) == longest
    initiator, responder = pair("NN")
    with pytest.raises(LocalProtocolError, match="over the limit"):
        initiator.write(longest + b"x")
    with pytest.raises(RemoteProtocolError, match="the limit is 65535"):
        responder.read(bytes(MAX_MESSAGE_BYTES + 1))


@given(st.data())
def test_a_changed_message_never_completes_the_handshake(data: st.DataObject) -> None:
    """Any bits flipped in any message of XKpsk3: the handshake never ends well on both sides."""
    sides = pair("XKpsk3")
    victim = data.draw(st.integers(0, 2))
    with pytest.raises((AuthenticationError, RemoteProtocolError)):  # noqa: PT012  # Which message is refused, the place of the flip decides.
        for number in range(3):
            message = bytearray(sides[number % 2].write())
            if number == victim:
                message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            sides[1 - number % 2].read(bytes(message))


@given(st.binary(max_size=200), st.sampled_from(["NN", "XK", "XX", "XKpsk3"]))
def test_junk_is_refused_or_answered_but_never_crashes(junk: bytes, name: str) -> None:
    """Whatever a stranger sends first raises a protocol error, or is a possible first message; nothing else is raised."""
    _, responder = pair(name)
    try:
        responder.read(junk)
    except (RemoteProtocolError, AuthenticationError):
        assert not responder.writes_next
    else:
        assert len(junk) >= 32


def test_turns_are_kept() -> None:
    """Out of turn nothing is written, read or given out, and a wrong call does no harm to the handshake."""
    initiator, responder = pair("NN")
    wrong: list[Callable[[], object]] = [
        lambda: initiator.read(bytes(32)),
        responder.write,
        initiator.split,
        lambda: initiator.hash,
    ]
    for call in wrong:
        with pytest.raises(LocalProtocolError):
            call()
    run(initiator, responder)
    over: list[Callable[[], object]] = [initiator.write, lambda: initiator.read(b""), initiator.split]
    for call in over:
        with pytest.raises(LocalProtocolError):
            call()


def test_a_failed_handshake_stays_failed() -> None:
    """After a message that is not authentic not even the right one is taken."""
    initiator, responder = pair("NN")
    responder.read(initiator.write())
    answer = responder.write()
    with pytest.raises(AuthenticationError):
        initiator.read(answer[:-1] + bytes([answer[-1] ^ 1]))
    calls: list[Callable[[], object]] = [lambda: initiator.read(answer), initiator.split, lambda: initiator.hash]
    for call in calls:
        with pytest.raises(LocalProtocolError):
            call()
    assert not initiator.complete


@pytest.mark.parametrize(
    ("name", "initiator", "keys", "text"),
    [
        ("XK", True, {"s": I_STATIC}, "remote static key missing"),
        ("XK", True, {"rs": bytes(32)}, "static key missing"),
        ("XK", False, {"s": R_STATIC, "rs": bytes(32)}, "remote static key has no part"),
        ("NN", True, {"s": I_STATIC}, "static key has no part"),
        ("NN", True, {"psks": [PSK]}, "takes 0 pre-shared keys, 1 given"),
        ("NNpsk0", True, {}, "takes 1 pre-shared keys, 0 given"),
        ("NNpsk0", True, {"psks": [PSK[:31]]}, "32 bytes"),
        ("XX", True, {"s": I_STATIC[:31]}, "32 bytes"),
    ],
)
def test_keys_must_fit_the_pattern(name: str, initiator: bool, keys: dict[str, Any], text: str) -> None:
    """A missing key, one that would be ignored and one of another length are refused before anything is said."""
    with pytest.raises(LocalProtocolError, match=text):
        Handshake(name, initiator=initiator, **keys)


def test_keys_are_not_shown() -> None:
    """What ends up in a log by accident holds no key."""
    keys, _ = run(*pair("NN"))
    assert repr(keys) == "TransportKeys()"


def test_prologue_and_payload_may_be_of_any_length(rng: random.Random) -> None:
    """Both sides agree, whatever the lengths."""
    for name in ("NN", "XK"):
        initiator, responder = pair(name, rng.randbytes(rng.randrange(100)))
        payload = rng.randbytes(rng.randrange(60000))
        assert responder.read(initiator.write(payload)) == payload
        assert initiator.read(responder.write(payload)) == payload
