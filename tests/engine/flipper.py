"""A directory that turns into a symlink and back, again and again, while others work there."""

from __future__ import annotations

import os
import threading
from typing import Self

from deltasync.fs import libc

__all__ = ["Flipper"]


class Flipper:
    """Swaps a directory of the destination with a symlink to the canary, again and again, until told to stop."""

    def __init__(self, root: bytes, name: bytes, other: bytes) -> None:
        self._names = name, other
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flip)
        self.flips = 0
        self.error: OSError | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._fd)

    def _flip(self) -> None:
        while not self._stop.is_set():
            try:
                libc.exchange(self._fd, *self._names)
            except FileNotFoundError:
                # The push has just replaced or removed one of them; the next round sets the scene anew.
                continue
            except OSError as error:
                self.error = error
                return
            self.flips += 1
