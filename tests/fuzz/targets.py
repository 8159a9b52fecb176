"""What is fuzzed: each parser of what a stranger or a peer sends, and what must hold whatever the bytes are.

A target takes any bytes. It lets through only errors that no peer may cause; what a parser may refuse with is caught here, by name.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from deltasync.cli.places import parse_place
from deltasync.errors import AuthenticationError, ConnectionLost, RemoteProtocolError, UsageError
from deltasync.tree.filters import Filters
from deltasync.tree.rows import pack_sections, unpack_sections
from deltasync.wire.codec import decode, encode
from deltasync.wire.compression import decompress
from deltasync.wire.messages import Type
from deltasync.wire.noise import Handshake, public_key
from deltasync.wire.one_time import FIRST_BYTES, prove
from deltasync.wire.pairing import Invitation
from deltasync.wire.preamble import PREAMBLE_BYTES, Preamble, Suite
from deltasync.wire.reception import Reception
from deltasync.wire.records import Opener, Sealer
from deltasync.wire.session import Inbound, Speaker

__all__ = ["TARGETS"]

Target = Callable[[bytes], None]

_CLIENT, _LISTENER, _TOKEN = b"\1" * 32, b"\2" * 32, b"\3" * 32
_MAX_RAW_BYTES = 1 << 16


def preamble(data: bytes) -> None:
    """The first bytes of either side."""
    with suppress(ValueError):
        assert Preamble.decode(data).encode() == data


def reception(data: bytes) -> None:
    """What a stranger says to a listener, while a pairing is open or not: nobody gets in."""
    listener = Reception(_LISTENER, _TOKEN if data[:1] == b"p" else None)
    rest = data[1:]
    with suppress(RemoteProtocolError, AuthenticationError):
        while rest and listener.wanted:
            piece, rest = rest[: listener.wanted], rest[listener.wanted :]
            assert not listener.feed(piece) or listener.proven
    assert listener.arrival is None


def client(data: bytes) -> None:
    """What a client says that knows the listener's key: it gets in as what it proves, or not at all."""
    suite = Suite.XKPSK3 if data[:1] == b"p" else Suite.XK
    ours = Preamble(suite.value)
    psks = (_TOKEN,) if suite is Suite.XKPSK3 else ()
    noise = Handshake(suite.pattern, initiator=True, prologue=ours.prologue, s=_CLIENT, rs=public_key(_LISTENER), psks=psks)
    listener = Reception(_LISTENER, _TOKEN)
    said = ours.encode() + _framed(noise.write(data[2:34] if data[1:2] == b"1" else b""))
    answer = b""
    with suppress(RemoteProtocolError, AuthenticationError):
        while said and listener.wanted:
            piece, said = said[: listener.wanted], said[listener.wanted :]
            answer += listener.feed(piece)
        noise.read(answer[PREAMBLE_BYTES + 2 :])
        third = bytearray(_framed(noise.write(data[34:])))
        flipped = data[1] % 7 if len(data) > 1 else 0
        if flipped == 1:
            third[data[2] % len(third) if len(data) > 2 else 0] ^= 0x10
        while third and listener.wanted:
            piece, third = bytes(third[: listener.wanted]), third[listener.wanted :]
            listener.feed(piece)
    if listener.arrival is not None:
        assert (listener.arrival.key, listener.arrival.request) == (public_key(_CLIENT), data[34:])


def data_connection(data: bytes) -> None:
    """What comes to the port that a session has opened beside SSH."""
    first = (Preamble(Suite.NNPSK0.value).encode() + b"\0\x30" + data)[:FIRST_BYTES] if data[:1] != b"!" else data
    try:
        prove(_TOKEN, first)
    except (RemoteProtocolError, AuthenticationError):
        return
    raise AssertionError("the key was proven by who does not hold it")


def handshake_answer(data: bytes) -> None:
    """What a listener answers to a client, by which it would prove its key."""
    suite = (Suite.NN, Suite.XK, Suite.XKPSK3)[data[0] % 3 if data else 0]
    keys = {} if suite is Suite.NN else {"s": _CLIENT, "rs": public_key(_LISTENER)}
    psks = (_TOKEN,) if suite is Suite.XKPSK3 else ()
    noise = Handshake(suite.pattern, initiator=True, prologue=Preamble(suite.value).prologue, psks=psks, **keys)
    noise.write()
    with suppress(RemoteProtocolError, AuthenticationError):
        noise.read(data[1:])
        assert suite is Suite.NN, "a listener was believed that does not hold its key"


def records(data: bytes) -> None:
    """Records that were cut, spoiled, repeated and put elsewhere: what is given out is a beginning of what was sealed.

    The input tells how many records there are and what is done to them: pairs of a deed and a place.
    """
    if not data:
        return
    sealer = Sealer(_TOKEN, rekey_records=3)
    payloads = [bytes([number]) * (1 + 37 * number) for number in range(1 + data[0] % 8)]
    sealed = [b"".join(bytes(part) for part in sealer.seal([payload])) for payload in payloads] + [bytes(sealer.finish())]
    for deed, place in zip(data[1::2], data[2::2], strict=False):
        at = place % len(sealed)
        match deed % 6:
            case 0:
                spoiled = bytearray(sealed[at])
                if spoiled:
                    spoiled[deed // 6 * 7 % len(spoiled)] ^= 1 << place % 8
                sealed[at] = bytes(spoiled)
            case 1:
                sealed.insert(at, sealed[place // 2 % len(sealed)])
            case 2:
                sealed[at] = sealed[at][: deed % (len(sealed[at]) + 1)]
            case 3 if len(sealed) > 1:
                del sealed[at]
            case 4:
                sealed[at], sealed[-1] = sealed[-1], sealed[at]
            case _:
                sealed.insert(at, data[:deed])
    _opened(b"".join(sealed), b"".join(payloads))


def _opened(stream: bytes, expected: bytes) -> None:
    opener = Opener(_TOKEN, rekey_records=3)
    got = b""
    with suppress(RemoteProtocolError, ConnectionLost):
        while True:
            while (plain := opener.open()) is not None:
                got += plain
            if opener.finished:
                break
            room = opener.buffer()
            piece, stream = stream[: min(len(room), 100)], stream[min(len(room), 100) :]
            room[: len(piece)] = piece
            opener.received(len(piece))
    assert expected.startswith(got)
    assert not opener.finished or got == expected


def frames(data: bytes) -> None:
    """A peer's direction of a session, in either role, in pieces."""
    if len(data) < 2:
        return
    inbound = Inbound(Speaker.INITIATOR if data[0] & 1 else Speaker.RESPONDER)
    step = 1 + data[1]
    with suppress(RemoteProtocolError):
        for number, at in enumerate(range(2, len(data), step)):
            for _ in inbound.feed(data[at : at + step]):
                if number > 0:
                    inbound.take_role(sends=bool(data[0] & 2))


def messages(data: bytes) -> None:
    """The body of one message: what is understood is encoded and understood again as the same."""
    if not data:
        return
    try:
        message = decode(Type(data[0]), memoryview(data)[1:])
    except ValueError:
        return
    kind, parts = encode(message)
    again = b"".join(bytes(part) for part in parts)
    assert encode(decode(kind, memoryview(again)))[0] == kind
    assert b"".join(bytes(part) for part in encode(decode(kind, memoryview(again)))[1]) == again


def entries(data: bytes) -> None:
    """A chunk of entries: what is understood is packed and understood again as the same."""
    try:
        sections = unpack_sections(data)
    except ValueError:
        return
    packed = pack_sections(sections)
    assert pack_sections(unpack_sections(packed)) == packed


def compressed(data: bytes) -> None:
    """A compressed body that may be a bomb: what comes has the length that was said."""
    length = int.from_bytes(data[:2])
    with suppress(ValueError):
        assert len(decompress(memoryview(data)[2:], length)) == length <= _MAX_RAW_BYTES


def rules(data: bytes) -> None:
    """Filter rules of the peer, one a line, and a path that they decide about."""
    *lines, path = data.split(b"\n")
    with suppress(ValueError):
        Filters.from_wire(tuple(lines)).excluded(path, is_dir=bool(len(data) & 1))


def words(data: bytes) -> None:
    """What a user was given to paste: an invitation, an address."""
    text = data.decode(errors="surrogateescape")
    with suppress(ValueError):
        invitation = Invitation.parse(text)
        assert Invitation.parse(str(invitation)) == invitation
    with suppress(UsageError):
        parse_place(text)


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(2) + message


TARGETS: Final[dict[str, Target]] = {
    target.__name__: target
    for target in (
        preamble, reception, client, data_connection, handshake_answer, records, frames, messages, entries, compressed, rules, words,
    )
}  # fmt: skip
"""All of them, by name."""
