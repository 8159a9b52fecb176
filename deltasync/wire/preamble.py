r"""What both sides say in clear before the handshake, so that each knows whether it speaks to a deltasync of its own version. Pure.

Fourteen bytes, the same in every version to come:

    offset  bytes  content
    0       11     the magic, `00 64 65 6c 74 61 73 79 6e 63 00` (NUL, "deltasync", NUL)
    11      2      protocol version, big-endian
    13      1      handshake: 1 `NN`, 2 `XK`, 3 `XKpsk3`, 4 `NNpsk0`

The initiator's goes out together with the first message of the handshake, the responder's with the second. Both must be equal, so each
side knows both before the handshake begins; one after the other they are the prologue that the handshake binds.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import NamedTuple

from deltasync.wire.version import PROTOCOL_VERSION

__all__ = ["MAGIC", "PREAMBLE_BYTES", "Preamble", "Suite"]

MAGIC = b"\0deltasync\0"
"""It begins with a byte that no login shell prints by accident."""

_LAYOUT = struct.Struct(f">{len(MAGIC)}sHB")
PREAMBLE_BYTES = _LAYOUT.size


class Suite(Enum):
    """A handshake as it is named on the wire; each version of the protocol knows exactly one cipher, curve and hash."""

    NN = 1
    XK = 2
    XKPSK3 = 3
    NNPSK0 = 4

    @property
    def pattern(self) -> str:
        """The name of the Noise pattern."""
        return {Suite.NN: "NN", Suite.XK: "XK", Suite.XKPSK3: "XKpsk3", Suite.NNPSK0: "NNpsk0"}[self]


class Preamble(NamedTuple):
    """One side's preamble.

    Attributes:
        suite: The number of the handshake, 0 to 255: of another version it may be none of `Suite`.
        version: The protocol version, 0 to 65,535.
    """

    suite: int
    version: int = PROTOCOL_VERSION

    def encode(self) -> bytes:
        """Return the 14 bytes."""
        return _LAYOUT.pack(MAGIC, self.version, self.suite)

    @classmethod
    def decode(cls, data: bytes) -> Preamble:
        """Read 14 bytes.

        Raises:
            ValueError: They don't begin with the magic, or are not 14.
        """
        if len(data) != PREAMBLE_BYTES or not data.startswith(MAGIC):
            raise ValueError("no preamble of deltasync")
        _, version, suite = _LAYOUT.unpack(data)
        return cls(suite, version)

    @property
    def prologue(self) -> bytes:
        """What the handshake binds: the initiator's preamble and the responder's, which are equal when they agree."""
        return 2 * self.encode()
