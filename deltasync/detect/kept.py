"""Which names of a directory are sent: not what the rules leave out, not what lies on another filesystem, not what holds no file."""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import NamedTuple

from deltasync.fs.listing import Files
from deltasync.tree.rows import Rows

__all__ = ["Kept"]


class Kept(NamedTuple):
    """What is kept of one directory.

    Attributes:
        excluded: Tells of a name, and whether it is a directory, that the rules leave it out; None if they leave out nothing.
        recursive: Whether directories are sent at all.
        device: The only device whose directories are sent; None for any.
        occupied: Tells of the name of a directory whether there is anything but directories in it and beneath; None to keep empty ones.
        implied: Tells of the name of a directory whether it is kept whatever else is said, since something beneath it was named.
    """

    excluded: Callable[[bytes, bool], bool] | None
    recursive: bool = True
    device: int | None = None
    occupied: Callable[[bytes], bool] | None = None
    implied: Callable[[bytes], bool] | None = None

    def excludes(self, name: bytes) -> bool:
        """Tell whether the rules leave out a directory."""
        return self.excluded is not None and self.excluded(name, True)

    def names(self, rows: Rows, files: Files) -> list[bytes] | None:
        """Return the names that are kept of some rows, or None where all are."""
        if self == _ALL:
            return None
        names = rows.name_list()
        looked = zip(names, rows.mode_column(), files.devices, strict=True)
        kept = [name for name, mode, device in looked if self._keeps(name, mode, device)]
        return None if len(kept) == len(names) else kept

    def _keeps(self, name: bytes, mode: int, device: int) -> bool:
        if not stat.S_ISDIR(mode):
            return self.excluded is None or not self.excluded(name, False)
        if self.implied is not None and self.implied(name):
            return True
        if not self.recursive or (self.excluded is not None and self.excluded(name, True)):
            return False
        if self.device is not None and device != self.device:
            return False
        return self.occupied is None or self.occupied(name)


_ALL = Kept(None)
