"""Paths beneath a held root, stat to entry, facts about filesystems, locks: what `detect` and `patch` share."""

from __future__ import annotations

__all__ = ()
