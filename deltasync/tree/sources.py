"""Source arguments: what a path with or without a trailing slash stands for. Pure.

`src` stands for an entry named `src` in the destination, `src/` for its contents; `.`, `..` and paths ending in `/.` stand for contents
too, as in rsync.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

__all__ = ["CONTENTS", "SourcePlace", "relative_place", "source_place", "top_names"]

CONTENTS = b""
"""`SourcePlace.top` of a source whose contents are transferred."""


class SourcePlace(NamedTuple):
    """Where a source is.

    Attributes:
        directory: The directory to open: the source itself (contents), or its parent (`b"."` for the current one).
        top: Its name in the transfer, or its path (`relative_place`), or `CONTENTS`.
        slash: Whether it is a path that is ended by a slash.
    """

    directory: bytes
    top: bytes
    slash: bool = False


def source_place(path: bytes) -> SourcePlace:
    """Return what a source path as written stands for."""
    stripped = path.rstrip(b"/")
    parent, _, last = stripped.rpartition(b"/")
    if not stripped or path.endswith(b"/") or last in (b".", b"..") or stripped == b"~":
        return SourcePlace(path or b".", CONTENTS)
    if b"/" not in stripped:
        return SourcePlace(b".", last)
    return SourcePlace(parent or b"/", last)


def relative_place(path: bytes) -> SourcePlace:
    """Return what a source path as written stands for with `--relative`: the part behind `/./`, or all of it, is its path in the transfer.

    Raises:
        ValueError: It leads upwards.
    """
    before, anchor, behind = path.partition(b"/./")
    if not anchor:
        before, behind = (b"/", path) if path.startswith(b"/") else (b".", path)
    names = [name for name in behind.split(b"/") if name not in (b"", b".")]
    if b".." in names:
        raise ValueError("a path with `..` in it can't be kept")
    return SourcePlace(before or b"/", b"/".join(names), behind.endswith((b"/", b"/.")))


def top_names(paths: tuple[bytes, ...], *, relative: bool = False) -> tuple[bytes, ...]:
    """Return the names that the sources have at the top of the transfer, each once, in order."""
    if not relative:
        return tuple(dict.fromkeys(source_place(path).top for path in paths))
    places: dict[bytes, None] = {}
    for path in paths:
        # Such a path is found to be none where it is opened.
        with suppress(ValueError):
            places[relative_place(path).top.partition(b"/")[0]] = None
    return tuple(places)
