"""The messages with which a session moves to a connection of its own. Pure; `docs/protocol.md` says when each may come."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["DataAt", "DataKey", "Moved"]

Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Port = Annotated[int, msgspec.Meta(ge=0, le=(1 << 16) - 1)]


class DataKey(msgspec.Struct, frozen=True, array_like=True):
    """The initiator would go on over a TCP connection to the responder.

    Attributes:
        key: What both prove to each other there; made for this session.
        first_port: The first port that may be listened at; 0, as `last_port` is then, for any.
        last_port: The last.
        everywhere: Whether to listen at all addresses; else only at that at which SSH came.
    """

    key: Key
    first_port: Port
    last_port: Port
    everywhere: bool

    def __repr__(self) -> str:
        """Show nothing of the key."""
        return f"DataKey(first_port={self.first_port}, last_port={self.last_port}, everywhere={self.everywhere})"


class DataAt(msgspec.Struct, frozen=True, array_like=True):
    """Where the responder listens; 0 if it can't."""

    port: Port


class Moved(msgspec.Struct, frozen=True, array_like=True):
    """What its sender says from here on comes over the data connection."""
