"""Directories at the destination whose attributes are set at the end, when nothing changes in them any more."""

from __future__ import annotations

import stat

import msgspec

from deltasync.engine.ground import Ground
from deltasync.engine.spool import Spool
from deltasync.patch.attributes import Attributes, apply_fd
from deltasync.tree.names import split

__all__ = ["Directories"]

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(tuple[bytes, Attributes]).decode


class Directories:
    """Remembers directories and what they shall have in the end."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._spool = Spool()

    def remember(self, path: bytes, attributes: Attributes) -> None:
        """Note a directory; later notes of the same one are set later."""
        self._spool.append(_ENCODE((path, attributes)))

    def settle(self) -> None:
        """Set everything, the deepest directories first, since a parent may come to forbid the way to its children."""
        root = self._ground.root
        if root is None:
            return
        for record in reversed(self._spool):
            path, attributes = _DECODE(record)
            try:
                with root.dir(path) as lease:
                    lost = apply_fd(lease.fd, attributes, stat.S_IFDIR)
            except (OSError, OverflowError) as error:
                self._ground.failed(path, b"", error, "the directory's attributes can't be set")
            else:
                self._ground.lost(*split(path), lost)
        self._spool = Spool()
