"""Byte streams to the peer, and the sealed links over them."""

from __future__ import annotations

__all__ = ()
