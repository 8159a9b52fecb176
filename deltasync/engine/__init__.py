"""The loops of sender and receiver, and what they share: it starts and joins every thread."""

from __future__ import annotations

__all__ = ()
