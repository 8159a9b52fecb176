"""The messages that only a live session has. Pure; `docs/protocol.md` says when each may come."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["MAX_PATHS", "MAX_PRESUMED", "Gone", "Presumed", "Renames", "Round"]

MAX_PATHS = 4096
"""Most paths in one `Gone`, and most pairs in one `Renames`."""
MAX_PRESUMED = 8
"""Most files in one `Presumed`."""

Path = Annotated[bytes, msgspec.Meta(max_length=1 << 18)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class Round(msgspec.Struct, frozen=True, array_like=True):
    """A further round of a live session: what has changed since the one before; rounds are numbered from 1, the tree being round 0."""

    number: Count


class Renames(msgspec.Struct, frozen=True, array_like=True):
    """Entries that have another name now, in the order in which they were renamed: from, to."""

    pairs: Annotated[tuple[tuple[Path, Path], ...], msgspec.Meta(max_length=MAX_PATHS)]


class Gone(msgspec.Struct, frozen=True, array_like=True):
    """Entries that the sender had and has no more; what was in a directory comes before it."""

    paths: Annotated[tuple[Path, ...], msgspec.Meta(max_length=MAX_PATHS)]


class Presumed(msgspec.Struct, frozen=True, array_like=True):
    """Files of the next chunk whose deltas come without having been asked for, to what the receiver is presumed to have.

    Attributes:
        indexes: Of these files within the chunk, ascending, packed as u32.
        digests: The file digest, 32 bytes, of what each replaces.
    """

    indexes: Annotated[bytes, msgspec.Meta(min_length=4, max_length=4 * MAX_PRESUMED)]
    digests: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32 * MAX_PRESUMED)]
