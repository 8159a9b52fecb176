"""The command line: options in, lines, JSON and progress out. The only room that prints."""

from __future__ import annotations

__all__ = ()
