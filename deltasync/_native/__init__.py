"""The one place that knows which engine computes checksums and deltas: a compiled kernel, or what stands in for it.

Everything above asks here and never looks for an extension module itself, so that a missing compiler is noticed in one place only.
"""

from __future__ import annotations

__all__ = ["engine_name"]


def engine_name() -> str:
    """Name the engine in use, as `--version` and the summary show it: `python`, since no compiled kernel is part of this version."""
    return "python"
