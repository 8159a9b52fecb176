"""The receiver's hands: files staged and put in place, attributes, directories, links, removals."""

from __future__ import annotations

__all__ = ()
