"""Relative paths, entries, filters and decisions, pure."""

from __future__ import annotations

__all__ = ()
