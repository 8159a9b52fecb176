"""What stands in the sources, and what has changed there."""

from __future__ import annotations

__all__ = ()
