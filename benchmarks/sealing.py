"""The secure channel on its own: how many GB a second are sealed and opened in records, and how many handshakes there can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from deltasync.wire.keys import KEY_BYTES
from deltasync.wire.noise import Handshake, public_key
from deltasync.wire.records import MAX_PAYLOAD_BYTES, Opener, Sealer

__all__ = ["HANDSHAKES", "handshaking", "sealing"]

HANDSHAKES = ("NN", "XK", "XKpsk3")
"""Over SSH, to a listener, and at a first meeting."""
Span = tuple[int, int]

_KEY = bytes(range(KEY_BYTES))
_OTHER_KEY = bytes(range(1, KEY_BYTES + 1))
_PSK = bytes(range(2, KEY_BYTES + 2))


class _Pair(NamedTuple):
    initiator: Mapping[str, Any]
    responder: Mapping[str, Any]


def sealing(content: memoryview) -> Iterator[tuple[str, Callable[[Span], None]]]:
    """Yield programs and what each does with a range of the content: records sealed, opened, and the cipher without records."""
    sealed = [bytes(part) for part in Sealer(_KEY).seal([content])]

    def seal(span: Span) -> None:
        for _ in Sealer(_KEY).seal([content[slice(*span)]]):
            pass

    def unseal(span: Span) -> None:
        opener = Opener(_KEY)
        left = span[1] - span[0]
        for part in sealed:
            view = memoryview(part)
            while view:
                room = opener.buffer()
                count = min(len(room), len(view))
                room[:count] = view[:count]
                view = view[count:]
                opener.received(count)
                while left > 0 and (plain := opener.open()) is not None:
                    left -= len(plain)
            if left <= 0:
                return

    def cipher(span: Span) -> None:
        gcm = AESGCM(_KEY)
        for number, at in enumerate(range(*span, MAX_PAYLOAD_BYTES)):
            gcm.encrypt(number.to_bytes(12), content[at : min(at + MAX_PAYLOAD_BYTES, span[1])], None)

    yield "records, sealed", seal
    yield "records, opened", unseal
    yield "AES-256-GCM without records", cipher


def handshaking() -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield patterns and what does one handshake of each, both sides of it."""
    for name in HANDSHAKES:
        psks = {"psks": (_PSK,)} if "psk" in name else {}
        statics = _Pair({}, {}) if name == "NN" else _Pair({"s": _KEY, "rs": public_key(_OTHER_KEY)}, {"s": _OTHER_KEY})
        yield name, _handshake(name, _Pair({**statics.initiator, **psks}, {**statics.responder, **psks}))


def _handshake(name: str, keys: _Pair) -> Callable[[], None]:
    def once() -> None:
        one = Handshake(name, initiator=True, **keys.initiator)
        other = Handshake(name, initiator=False, **keys.responder)
        while not one.complete:
            writer, reader = (one, other) if one.writes_next else (other, one)
            reader.read(writer.write())
        if one.split().send != other.split().receive:
            raise AssertionError("the two sides have different keys")

    return once
