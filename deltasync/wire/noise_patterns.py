"""The handshake patterns of Noise as data: which keys are known before, and what each message is made of. Pure.

Held are the twelve interactive patterns and their deferred variants, and `psk` modifiers for all of them. One-way patterns are not:
deltasync has no use for a channel on which only one side may speak.

Source: The Noise Protocol Framework, revision 34, sections 7.5, 7.6, 9 and 18.1.
"""

from __future__ import annotations

import re
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["PATTERNS", "Pattern", "Token", "pattern"]


class Token(StrEnum):
    """What a handshake message is made of; of the two letters of a key agreement the first is the initiator's key."""

    E = "e"
    S = "s"
    EE = "ee"
    ES = "es"
    SE = "se"
    SS = "ss"
    PSK = "psk"


class Pattern(NamedTuple):
    """One handshake pattern.

    Attributes:
        name: As in the protocol name: `XKpsk3`.
        initiator_known: Whether the responder knows the initiator's static key before.
        responder_known: Whether the initiator knows the responder's static key before.
        messages: The tokens of each message; the first is the initiator's, then they take turns.
    """

    name: str
    initiator_known: bool
    responder_known: bool
    messages: tuple[tuple[Token, ...], ...]

    @property
    def psks(self) -> int:
        """How many pre-shared keys it takes."""
        return sum(message.count(Token.PSK) for message in self.messages)

    def sends_static(self, *, initiator: bool) -> bool:
        """Tell whether this side sends its static key in a message."""
        return any(Token.S in message for message in self.messages[0 if initiator else 1 :: 2])

    def knows_static(self, *, initiator: bool) -> bool:
        """Tell whether the other side knows this side's static key before."""
        return self.initiator_known if initiator else self.responder_known


PATTERNS = MappingProxyType(
    {
        "NN": "e, e ee",
        "NK": "e es, e ee",
        "NX": "e, e ee s es",
        "KN": "e, e ee se",
        "KK": "e es ss, e ee se",
        "KX": "e, e ee se s es",
        "XN": "e, e ee, s se",
        "XK": "e es, e ee, s se",
        "XX": "e, e ee s es, s se",
        "IN": "e s, e ee se",
        "IK": "e es s ss, e ee se",
        "IX": "e s, e ee se s es",
        "NK1": "e, e ee es",
        "NX1": "e, e ee s, es",
        "X1N": "e, e ee, s, se",
        "X1K": "e es, e ee, s, se",
        "XK1": "e, e ee es, s se",
        "X1K1": "e, e ee es, s, se",
        "X1X": "e, e ee s es, s, se",
        "XX1": "e, e ee s, es s se",
        "X1X1": "e, e ee s, es s, se",
        "K1N": "e, e ee, se",
        "K1K": "e es, e ee, se",
        "KK1": "e, e ee se es",
        "K1K1": "e, e ee es, se",
        "K1X": "e, e ee s es, se",
        "KX1": "e, e ee se s, es",
        "K1X1": "e, e ee s, se es",
        "I1N": "e s, e ee, se",
        "I1K": "e es s, e ee, se",
        "IK1": "e s, e ee se es",
        "I1K1": "e s, e ee es, se",
        "I1X": "e s, e ee s es, se",
        "IX1": "e s, e ee se s, es",
        "I1X1": "e s, e ee s, se es",
    }
)
"""The messages of each pattern without modifiers. That a side is known before, the `K` in the name says, at the side's own place."""

_NAME = re.compile(r"([NKXI]1?)([NKX]1?)((?:psk\d)(?:\+psk\d)*)?")


def pattern(name: str) -> Pattern:
    """Return the pattern of a name such as `XK`, `NNpsk0` or `KKpsk0+psk2`.

    Raises:
        ValueError: There is no such pattern here.
    """
    parts = _NAME.fullmatch(name)
    if not parts or parts[1] + parts[2] not in PATTERNS:
        raise ValueError(f"no handshake pattern {name!r}")
    messages = [[Token(word) for word in message.split()] for message in PATTERNS[parts[1] + parts[2]].split(",")]
    places = [int(modifier.removeprefix("psk")) for modifier in (parts[3] or "").split("+") if modifier]
    if places != sorted(set(places)) or any(place > len(messages) for place in places):
        raise ValueError(f"no handshake pattern {name!r}: its psk modifiers don't fit")
    for place in places:
        if place == 0:
            messages[0].insert(0, Token.PSK)
        else:
            messages[place - 1].append(Token.PSK)
    return Pattern(name, parts[1].startswith("K"), parts[2].startswith("K"), tuple(map(tuple, messages)))
