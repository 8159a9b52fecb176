"""The protocol, pure: messages, frames, records, the handshake."""

from __future__ import annotations

__all__ = ()
