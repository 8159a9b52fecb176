"""Digests of content, pure."""

from __future__ import annotations

__all__ = ()
