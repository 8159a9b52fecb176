"""Whether a program is there. The standard library's own search loads all kinds of packers, 5 ms before ssh is started."""

from __future__ import annotations

import os

__all__ = ["is_program"]


def is_program(name: str) -> bool:
    """Tell whether a name stands for something that can be executed: looked for on the PATH, unless it holds a slash."""
    if "/" in name:
        return _is_executable(name)
    return bool(name) and any(_is_executable(os.path.join(place or ".", name)) for place in os.get_exec_path())


def _is_executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
