"""Source arguments: what a path with or without a trailing slash stands for. Pure.

`src` stands for an entry named `src` in the destination, `src/` for its contents; `.`, `..` and paths ending in `/.` stand for contents
too, as in rsync.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CONTENTS", "SourcePlace", "source_place", "top_names"]

CONTENTS = b""
"""`SourcePlace.top` of a source whose contents are transferred."""


class SourcePlace(NamedTuple):
    """Where a source is.

    Attributes:
        directory: The directory to open: the source itself (contents), or its parent (`b"."` for the current one).
        top: Its name in the transfer, or `CONTENTS`.
    """

    directory: bytes
    top: bytes


def source_place(path: bytes) -> SourcePlace:
    """Return what a source path as written stands for."""
    stripped = path.rstrip(b"/")
    parent, _, last = stripped.rpartition(b"/")
    if not stripped or path.endswith(b"/") or last in (b".", b"..") or stripped == b"~":
        return SourcePlace(path or b".", CONTENTS)
    if b"/" not in stripped:
        return SourcePlace(b".", last)
    return SourcePlace(parent or b"/", last)


def top_names(paths: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the names that the sources have in the transfer, each once, in order."""
    return tuple(dict.fromkeys(source_place(path).top for path in paths))
