"""What is mounted within a destination: with `-x` nothing is deleted there, and no mount point is."""

from __future__ import annotations

import os

from deltasync.engine.comparison import Beside
from deltasync.engine.ground import Ground

__all__ = ["not_mounted"]


def not_mounted(ground: Ground, beside: Beside, *, whole: bool) -> list[bytes]:
    """Return what the sender does not have in a directory; with `-x` only what lies on the destination's own filesystem.

    Args:
        ground: Where the receiver works.
        beside: The directory.
        whole: Whether the destination is what the sources' contents go to; else it is each of what is in it.

    Raises:
        OSError: The directory can't be looked at.
    """
    if not beside.extras or not ground.settings.one_file_system or ground.root is None:
        return beside.extras
    top = b"." if whole else beside.path.split(b"/", 1)[0] or b"."
    device = os.stat(top, dir_fd=ground.root.fd).st_dev
    if os.fstat(beside.fd).st_dev != device:
        return []
    return [name for name in beside.extras if _device(beside.fd, name) == device]


def _device(dir_fd: int, name: bytes) -> int:
    """Return the device that an entry lies on; -1 if it is gone."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_dev
    except FileNotFoundError:
        return -1
