"""What `deltasync pair` is given: `HOST:PORT/KEY#TOKEN`, the address of a listener, its key, and a token that works once. Pure."""

from __future__ import annotations

from typing import NamedTuple

from deltasync.wire.keys import decode_public, decode_secret, encode

__all__ = ["Invitation"]


class Invitation(NamedTuple):
    """An invitation to pair.

    Attributes:
        address: `HOST:PORT` as written.
        key: The listener's public key, 32 bytes.
        token: 32 bytes.
    """

    address: str
    key: bytes
    token: bytes

    @classmethod
    def parse(cls, text: str) -> Invitation:
        """Read one.

        Raises:
            ValueError: It is none; the text says what is wrong, and holds nothing of the token.
        """
        address, slash, rest = text.rpartition("/")
        key, mark, token = rest.partition("#")
        if not slash or not mark:
            raise ValueError("it has the form HOST:PORT/KEY#TOKEN; the shell wants it in quotes")
        return cls(address, decode_public(key), decode_secret(token))

    def __str__(self) -> str:
        """`HOST:PORT/KEY#TOKEN`."""
        return f"{self.address}/{encode(self.key)}#{encode(self.token)}"
