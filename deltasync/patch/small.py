"""Small files that came together, put in their places together: in C where that was compiled, and one by one where it was not.

What is done in C is the ordinary case alone. Whatever else a file needs, and whatever goes wrong with it, `put_small` does or meets again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deltasync._native import find_bulk
from deltasync._native.columns import packed
from deltasync.patch.attributes import NOTHING_LOST, Attributes, Lost
from deltasync.patch.leftovers import unique_name
from deltasync.patch.staging import Buffer, put_small

__all__ = ["SmallFile", "put_together"]

_BULK = find_bulk()


class SmallFile(NamedTuple):
    """A file to be put in its place.

    Attributes:
        name: Its name in the directory; a file, symlink or special of that name is replaced.
        content: All its bytes, at most 4 GiB.
        attributes: What it shall have before it is seen.
    """

    name: bytes
    content: Buffer
    attributes: Attributes

    @property
    def is_ordinary(self) -> bool:
        """Whether it keeps the owner and group that it gets by itself, and has a mode and a time."""
        mode, mtime_ns, uid, gid = self.attributes
        return uid is None and gid is None and mode is not None and mtime_ns is not None


def put_together(dir_fd: int, files: Sequence[SmallFile]) -> list[Lost | OSError | OverflowError]:
    """Put files in one directory; returns of each which attributes could not be kept, or why it is not there."""
    results: list[Lost | OSError | OverflowError] = []
    for file, done in zip(files, _put_ordinary(dir_fd, files), strict=True):
        try:
            results.append(NOTHING_LOST if done else put_small(dir_fd, file.name, file.content, file.attributes))
        except (OSError, OverflowError) as error:
            results.append(error)
    return results


def _put_ordinary(dir_fd: int, files: Sequence[SmallFile]) -> bytearray:
    """Return for each file whether it is in its place; those that are not ordinary are left alone."""
    done = bytearray(len(files))
    places = [place for place, file in enumerate(files) if file.is_ordinary]
    if _BULK is None or not places:
        return done
    ordinary = [files[place] for place in places]
    flags = _BULK.put_small(
        dir_fd,
        unique_name(),
        b"\0".join([file.name for file in ordinary]),
        b"".join([file.content for file in ordinary]),
        packed("I", [len(file.content) for file in ordinary]),
        packed("I", [file.attributes.mode or 0 for file in ordinary]),
        packed("q", [file.attributes.mtime_ns or 0 for file in ordinary]),
    )
    for place, flag in zip(places, flags, strict=True):
        done[place] = flag
    return done
