"""The index: a cache of the checksums of large files, so that a file that nobody changed is not read again.

It is keyed by a file's identity, and knows no names or content. Losing it costs time and nothing else, and so does a wrong row: what is
made from remembered checksums is proven by the file digest before it is committed. Whoever sees that proof fail should `forget` the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from deltasync.delta.digest import DIGEST_BYTES, leaf_bytes
from deltasync.fs.identity import Identity
from deltasync.fs.index_store import Store
from deltasync.fs.index_tables import Changes, Key, Row

__all__ = ["LIMIT_BYTES", "MIN_FILE_BYTES", "Index", "Remembered"]

MIN_FILE_BYTES = 1 << 20
"""Smaller files are read as fast as a row is found."""

LIMIT_BYTES = 256 << 20
"""How much is kept: enough for 230 GiB in files of up to 2 GiB, and for more in larger ones, whose leaves are longer."""

_WEAK_BYTES = 4
_BATCH_BYTES = 8 << 20
_MAX_PENDING_BYTES = 4 * _BATCH_BYTES
_USE_STEP_NS = 3600 * 1_000_000_000
"""A use is noted again after an hour, so that a run that changes nothing writes nothing."""


class Remembered(NamedTuple):
    """The checksums of the leaves of a file.

    Attributes:
        leaf_bytes: The length of a leaf: `deltasync.delta.digest.leaf_bytes` of the file's size.
        weak: The weak sum of each leaf, packed as little-endian u32.
        digests: The BLAKE3 of each leaf, 32 bytes each.
    """

    leaf_bytes: int
    weak: bytes
    digests: bytes

    def fits(self, size: int) -> bool:
        """Tell whether it has the form of the checksums of a file of `size` bytes."""
        leaves = -(-size // leaf_bytes(size))
        return self.leaf_bytes == leaf_bytes(size) and len(self.weak) == _WEAK_BYTES * leaves and len(self.digests) == DIGEST_BYTES * leaves


class Index:
    """What is remembered of files, by identity. To be used by one thread at a time: the control thread.

    Nothing that happens to what lies on disk raises or waits for long (about 200 ms, when other processes are writing): then less is found.
    Nothing is made on disk before there is something to remember.

    Args:
        directory: Where the database lies, an absolute path: see `deltasync.fs.home.state_directory`. None to remember nothing and to write
            nowhere, as a dry run must.
        clock: Gives nanoseconds since the epoch; only the order of uses depends on it.
        limit_bytes: How much is kept on disk; what was not used for longest goes first.
    """

    def __init__(self, directory: str | None, *, clock: Callable[[], int] = time.time_ns, limit_bytes: int = LIMIT_BYTES) -> None:
        self._store = Store(directory, limit_bytes=limit_bytes)
        self._clock = clock
        self._pending: dict[tuple[int, int], Row] = {}
        self._pending_bytes = 0
        self._next_flush_bytes = _BATCH_BYTES
        self._used: set[Key] = set()
        self._dropped: set[Key] = set()

    @property
    def note(self) -> str | None:
        """One line for the user, once something was wrong with the place where things are remembered."""
        return self._store.note

    def find(self, identity: Identity) -> Remembered | None:
        """Return the checksums of a file, of the form that its size demands; None if they are not known."""
        key = _key(identity)
        if key is None or self._store.off:
            return None
        row = self._pending.get(key[:2])
        if row is not None:
            return Remembered(leaf_bytes(key.size), row.weak, row.digests) if row.key == key else None
        if key in self._dropped:
            return None
        leaf = leaf_bytes(key.size)
        leaves = -(-key.size // leaf)
        now_ns = self._clock()
        found = self._store.find(key, _WEAK_BYTES * leaves, DIGEST_BYTES * leaves, range(now_ns - _USE_STEP_NS, now_ns))
        if found is None:
            return None
        if not found.fresh:
            self._used.add(key)
        return Remembered(leaf, found.weak, found.digests)

    def remember(self, identity: Identity, remembered: Remembered, read_at_ns: int) -> bool:
        """Keep the checksums of a file, unless it is small or so fresh that it could have changed without a trace.

        Args:
            identity: What the file was before it was read, and was still after that, by fstat on the descriptor that was read.
            remembered: Its checksums.
            read_at_ns: A moment before the first of the two looks: see `deltasync.fs.identity.look`.

        Returns: Whether it is kept for now.

        Raises:
            ValueError: These can't be the checksums of a file of that size.
        """
        if not remembered.fits(identity.size):
            raise ValueError(f"these are not the checksums of a file of {identity.size} bytes")
        key = _key(identity)
        if key is None or self._store.off or not identity.settled(read_at_ns):
            return False
        self._forget_pending(key)
        row = self._pending[key[:2]] = Row(key, remembered.weak, remembered.digests)
        self._pending_bytes += row.stored_bytes
        if self._pending_bytes >= self._next_flush_bytes:
            self.flush()
        return True

    def forget(self, identity: Identity) -> None:
        """Drop what is known of a file, because it proved wrong."""
        key = _key(identity)
        if key is not None:
            self._forget_pending(key)
            self._dropped.add(key)

    def _forget_pending(self, key: Key) -> None:
        row = self._pending.pop(key[:2], None)
        if row is not None:
            self._pending_bytes -= row.stored_bytes

    def flush(self) -> None:
        """Write what has gathered; it is done by itself at the end and when it grows large."""
        if not (self._pending or self._used or self._dropped):
            return
        if self._store.change(Changes(self._used, self._dropped, self._pending.values(), self._clock())):
            self._pending.clear()
            self._used.clear()
            self._dropped.clear()
            self._pending_bytes = 0
            self._next_flush_bytes = _BATCH_BYTES
            return
        # Others are writing: what has gathered waits for the next batch, within bounds.
        while self._pending_bytes > _MAX_PENDING_BYTES:
            self._forget_pending(next(iter(self._pending.values())).key)
        self._next_flush_bytes = self._pending_bytes + _BATCH_BYTES

    def close(self) -> None:
        """Write what has gathered, and let go of everything; nothing is found or remembered after that."""
        # Twice, for the case that another process was just making the database, or letting go of it; the second has usually nothing to do.
        for _ in range(2):
            self.flush()
        self._store.close()
        self._pending.clear()

    def __enter__(self) -> Self:
        """Return the index itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()


def _key(identity: Identity) -> Key | None:
    """Return the key of an identity; None for a file that is not worth a row, or has numbers that no row can hold."""
    if identity.size < MIN_FILE_BYTES or not all(0 <= number < 1 << 64 for number in identity[:2]):
        return None
    if not all(-1 << 63 <= number < 1 << 63 for number in identity[2:]):
        return None
    device, inode = (number - (number >> 63 << 64) for number in identity[:2])
    return Key(device, inode, *identity[2:])
