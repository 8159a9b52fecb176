"""Filesystems of their own, mounted from files, whose power can be cut: for root, where there are loop devices."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["Disk", "mounted"]

DISK_BYTES = 400 << 20
SHUTDOWN = 0x8004587D
"""The ioctl that ends a filesystem as a power cut does (`EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`)."""
NO_LOG_FLUSH = struct.pack("I", 2)


class Disk:
    """A filesystem.

    Attributes:
        place: Where it is mounted.
    """

    def __init__(self, image: Path, place: Path) -> None:
        self.place = place
        self._image = image

    def mount(self) -> None:
        """Mount it, as after a start of the machine; skip the test where there is no loop device."""
        if subprocess.run(["mount", "-o", "loop", self._image, self.place], check=False, capture_output=True).returncode:
            pytest.skip("needs loop")

    def unmount(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", self.place], check=True)

    def power_off(self) -> None:
        """Cut the power; who still works there meets errors."""
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(fd)

    def power_on(self) -> None:
        """Start again; by now nobody works there."""
        self.unmount()
        self.mount()

    def cut(self) -> None:
        """Cut the power, and start again."""
        self.power_off()
        self.power_on()


@contextmanager
def mounted(base: Path, kind: str, *options: str, size: int = DISK_BYTES) -> Iterator[Disk]:
    """Make a filesystem and mount it for a while.

    Args:
        base: A directory to be made, which holds the file and the place where it is mounted.
        kind: `ext4`, `xfs`, ...
        options: What else its `mkfs` is told.
        size: Its size in bytes; XFS wants 300 MiB at least.
    """
    image, place = base / "image", base / "place"
    place.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run([f"mkfs.{kind}", "-q", *options, image], check=True, stderr=subprocess.DEVNULL)
    disk = Disk(image, place)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()
