"""What the peer holds of large files: their checksums, which the sender of a live session remembers when it has sent them.

So a saved file costs one local read and what has changed of it, with no round trip before the data. Nothing depends on it being true: the
peer proves it by the file digest, and sends a signature where it has something else.
"""

from __future__ import annotations

import stat
from collections import OrderedDict
from typing import NamedTuple

from deltasync._native.columns import column
from deltasync.delta.blocks import Layout
from deltasync.delta.digest import DIGEST_BYTES, file_digest, leaf_bytes
from deltasync.delta.signature import Signature
from deltasync.delta.spans import Span
from deltasync.detect.scan import Chunk
from deltasync.engine.wants import Wanted
from deltasync.tree.names import join
from deltasync.wire.messages import MAX_PRESUMED

__all__ = ["LIMIT_BYTES", "MIN_BYTES", "Holding", "Holdings", "Known"]

MIN_BYTES = 1 << 20
"""Of smaller files the peer remembers nothing: a signature is made as fast."""
LIMIT_BYTES = 32 << 20
"""How much is remembered: enough for 29 GiB in files of up to 2 GiB, and for more in larger ones, whose leaves are longer."""


class Holding(NamedTuple):
    """The checksums of the leaves of a file that the peer has.

    Attributes:
        size: Its length.
        mtime_ns: Its time as it was listed when it was sent.
        weak: The weak sum of each leaf, packed as u32.
        digests: The BLAKE3 of each leaf, 32 bytes each.
    """

    size: int
    mtime_ns: int
    weak: bytes
    digests: bytes

    @property
    def signature(self) -> Signature:
        """The signature that the peer would send."""
        signature = Signature(Layout(leaf_bytes(self.size), [Span(0, self.size)]), DIGEST_BYTES)
        signature.extend(0, self.weak, self.digests)
        return signature

    @property
    def digest(self) -> bytes:
        """The file digest."""
        return file_digest(self.size, [self.digests[at : at + DIGEST_BYTES] for at in range(0, len(self.digests), DIGEST_BYTES)])


class Known(NamedTuple):
    """A file of a chunk of which it is known what the peer has: its place in the chunk, and both."""

    at: int
    wanted: Wanted
    holding: Holding


class Holdings:
    """Holdings by path; those that were used longest ago go first.

    Args:
        limit_bytes: How much is kept.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._held: OrderedDict[bytes, Holding] = OrderedDict()

    def __contains__(self, path: bytes) -> bool:
        """Tell whether it is known what the peer has in a place."""
        return path in self._held

    def learn(self, path: bytes, holding: Holding) -> None:
        """Remember what the peer has in a place now."""
        self.forget(path)
        self._held[path] = holding
        self._bytes += _cost(path, holding)
        while self._bytes > self._limit_bytes:
            self.forget(next(iter(self._held)))

    def forget(self, path: bytes) -> None:
        """Forget what the peer has in a place."""
        holding = self._held.pop(path, None)
        if holding is not None:
            self._bytes -= _cost(path, holding)

    def renamed(self, old: bytes, new: bytes) -> None:
        """Take note that what the peer has in a place has another name there."""
        holding = self._held.get(old)
        self.forget(old)
        self.forget(new)
        if holding is not None:
            self.learn(new, holding)

    def among(self, chunk: Chunk, first_id: int) -> list[Known]:
        """Return the first files of a chunk of which it is known what the peer has, and that it is something else; `MAX_PRESUMED` at most.

        Args:
            chunk: A chunk that is about to be sent.
            first_id: The number of its first entry.
        """
        known: list[Known] = []
        first = 0
        for section, origins in zip(chunk.sections, chunk.origins, strict=True) if self._held else ():
            modes = section.rows.mode_column()
            large = [at for at, size in enumerate(column("Q", section.rows.sizes)) if size >= MIN_BYTES and stat.S_ISREG(modes[at])]
            for at, entry in zip(large, section.rows.pick(large), strict=True):
                path = join(section.path, entry.name)
                holding = self._held.get(path)
                if holding is not None and (holding.size, holding.mtime_ns) != (entry.size, entry.mtime_ns) and len(known) < MAX_PRESUMED:
                    self._held.move_to_end(path)
                    wanted = Wanted(first_id + first + at, origins[at] if origins is not None else 0, section.path, entry)
                    known.append(Known(first + at, wanted, holding))
            first += section.rows.entry_count
        return known


def _cost(path: bytes, holding: Holding) -> int:
    return len(path) + len(holding.weak) + len(holding.digests)
