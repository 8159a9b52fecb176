"""The version of the protocol: one number for messages, records and handshake together. Pure."""

from __future__ import annotations

__all__ = ["PROTOCOL_VERSION"]

PROTOCOL_VERSION = 1
"""1 to 65,535; raised by every change that a peer of the version before would not understand. There is nothing to negotiate beneath it."""
