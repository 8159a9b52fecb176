"""The tables of the index, and what is done with them on an open connection to SQLite.

There are two, so that a row's last use is noted without writing its checksums again. Pages are of 16 KiB: a row of 1.2 MB (a file of 1 GiB)
is read in 0.2 ms, against 0.35 ms with pages of 4 KiB.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3

__all__ = ["ROW_BYTES", "Changes", "Found", "Key", "Row", "change", "create", "find", "is_empty", "is_ours"]

ROW_BYTES = 256
"""What a row is taken to need besides its checksums."""

_APPLICATION_ID = 0x64536978
_PAGE_BYTES = 16384
_KEPT_EIGHTHS = 7
"""How much of what may be kept is left after an eviction, so that not every change has something to evict."""

_CREATE = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    used_ns INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    UNIQUE (device, inode)
);
CREATE INDEX IF NOT EXISTS by_use ON files (used_ns, bytes);
CREATE TABLE IF NOT EXISTS sums (id INTEGER PRIMARY KEY, weak BLOB NOT NULL, digests BLOB NOT NULL);
PRAGMA application_id = {_APPLICATION_ID};
COMMIT;
"""
# Lengths are compared before anything is loaded: what has another is not worth its memory.
_FIND = """
SELECT used_ns BETWEEN ? AND ?, weak, digests FROM files JOIN sums USING (id)
WHERE device = ? AND inode = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?
AND typeof(weak) = 'blob' AND length(weak) = ? AND typeof(digests) = 'blob' AND length(digests) = ?
"""
_KEEP_FILE = """
INSERT INTO files (device, inode, size, mtime_ns, ctime_ns, used_ns, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (device, inode) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,
used_ns = excluded.used_ns, bytes = excluded.bytes
"""
_KEEP_SUMS = "INSERT OR REPLACE INTO sums (id, weak, digests) SELECT id, ?, ? FROM files WHERE device = ? AND inode = ?"
_NOTE_USE = "UPDATE files SET used_ns = ? WHERE device = ? AND inode = ?"
_DROP_SUMS = "DELETE FROM sums WHERE id IN (SELECT id FROM files WHERE device = ? AND inode = ?)"
_DROP_FILE = "DELETE FROM files WHERE device = ? AND inode = ?"
_OLDEST = "SELECT id FROM (SELECT id, sum(bytes) OVER (ORDER BY used_ns DESC, id DESC) AS newer FROM files) WHERE newer > ?"
_EVICT_SUMS = f"DELETE FROM sums WHERE id IN ({_OLDEST})"  # noqa: S608 - nothing but constants.
_EVICT_FILES = f"DELETE FROM files WHERE id IN ({_OLDEST})"  # noqa: S608


class Key(NamedTuple):
    """An identity as the tables hold it: five signed integers of 64 bits. There is at most one row for a device and inode."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Found(NamedTuple):
    """What there is for a key.

    Attributes:
        fresh: Whether its last use lies within the range that was asked for.
        weak: Its weak sums.
        digests: Its digests.
    """

    fresh: bool
    weak: bytes
    digests: bytes


class Row(NamedTuple):
    """What there is to be for a key."""

    key: Key
    weak: bytes
    digests: bytes

    @property
    def stored_bytes(self) -> int:
        """How much room it is taken to need."""
        return len(self.weak) + len(self.digests) + ROW_BYTES


class Changes(NamedTuple):
    """What is changed at once, in this order.

    Attributes:
        used: Keys that were found again.
        dropped: Keys that proved wrong.
        rows: What is to be kept.
        now_ns: When it was used.
    """

    used: Iterable[Key]
    dropped: Iterable[Key]
    rows: Iterable[Row]
    now_ns: int


def is_ours(connection: sqlite3.Connection) -> bool:
    """Tell whether the database has been given its tables."""
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID)


def is_empty(connection: sqlite3.Connection) -> bool:
    """Tell whether the database has no tables at all."""
    return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def create(connection: sqlite3.Connection) -> None:
    """Give an empty database its tables; others may be doing the same."""
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(_CREATE)


def find(connection: sqlite3.Connection, key: Key, weak_bytes: int, digest_bytes: int, used_ns: range) -> Found | None:
    """Return what there is for a key, if its parts have these lengths.

    Args:
        connection: The database.
        key: The key.
        weak_bytes: The length of the weak sums.
        digest_bytes: The length of the digests.
        used_ns: The range within which the last use is fresh.
    """
    values = (used_ns.start, used_ns.stop, *key, weak_bytes, digest_bytes)
    row = connection.execute(_FIND, values).fetchone()
    return None if row is None else Found(bool(row[0]), row[1], row[2])


def change(connection: sqlite3.Connection, changes: Changes, limit_bytes: int) -> None:
    """Make changes in one transaction, and evict what was not used for longest while there is more than `limit_bytes`."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(_NOTE_USE, [(changes.now_ns, key.device, key.inode) for key in changes.used])
    dropped = [(key.device, key.inode) for key in changes.dropped]
    connection.executemany(_DROP_SUMS, dropped)
    connection.executemany(_DROP_FILE, dropped)
    for row in changes.rows:
        connection.execute(_KEEP_FILE, (*row.key, changes.now_ns, row.stored_bytes))
        connection.execute(_KEEP_SUMS, (row.weak, row.digests, row.key.device, row.key.inode))
    _evict(connection, limit_bytes)
    connection.execute("COMMIT")


def _evict(connection: sqlite3.Connection, limit_bytes: int) -> None:
    if connection.execute("SELECT coalesce(sum(bytes), 0) FROM files").fetchone()[0] <= limit_bytes:
        return
    kept_bytes = limit_bytes * _KEPT_EIGHTHS // 8
    connection.execute(_EVICT_SUMS, (kept_bytes,))
    connection.execute(_EVICT_FILES, (kept_bytes,))
