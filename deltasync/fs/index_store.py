"""The database beneath the index: one SQLite file, opened when it is first needed, given up at the first thing that is wrong with it.

Write-ahead logging lets readers go on while one process writes.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from deltasync.fs import index_tables
from deltasync.fs.facts import filesystem
from deltasync.fs.home import check_private, make_private, private_file
from deltasync.fs.index_tables import Changes, Found, Key
from deltasync.tree.names import shown

if TYPE_CHECKING:
    import sqlite3

__all__ = ["FILE_NAME", "Store"]

FILE_NAME = "index-1.sqlite"
"""The number is that of the layout: another layout takes another file."""

_CORRUPT = 11
_DAMAGED = {_CORRUPT, 26}
"""SQLITE_CORRUPT and SQLITE_NOTADB: https://www.sqlite.org/rescode.html."""
_BUSY = {5, 6, 15}
"""SQLITE_BUSY, SQLITE_LOCKED and SQLITE_PROTOCOL."""
_MAX_BUSY = 16
_READ_PATIENCE_MS = 20
_WRITE_PATIENCE_MS = 200
_REMOTE = {"nfs", "smb", "9p", "ceph", "afs"}

T = TypeVar("T")


class Store:
    """The database in `directory`; one thread at a time may use it.

    Nothing that happens to it raises: a read finds nothing, a change is lost.

    Args:
        directory: Where it lies, an absolute path; made, for this user alone, once there is something to keep. None for no database.
        limit_bytes: How many bytes of rows it keeps.

    Attributes:
        note: What was wrong, in one line for the user; None while all is well.
        off: Whether it was given up, for as long as this object lives.
    """

    def __init__(self, directory: str | None, *, limit_bytes: int) -> None:
        self._directory = directory or ""
        self._path = os.path.join(self._directory, FILE_NAME)
        self._limit_bytes = limit_bytes
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._busy = 0
        self._mended = False
        self.note: str | None = None
        self.off = directory is None

    def find(self, key: Key, weak_bytes: int, digest_bytes: int, used_ns: range) -> Found | None:
        """Return what is kept for a key: see `index_tables.find`."""
        return self._try(lambda connection: index_tables.find(connection, key, weak_bytes, digest_bytes, used_ns), create=False)

    def change(self, changes: Changes) -> bool:
        """Make changes, all of them or none.

        Returns: False when other processes are writing: it may be tried again. True when it is done, or never will be.
        """

        def change(connection: sqlite3.Connection) -> bool:
            connection.execute(f"PRAGMA busy_timeout = {_WRITE_PATIENCE_MS}")
            index_tables.change(connection, changes, self._limit_bytes)
            connection.execute(f"PRAGMA busy_timeout = {_READ_PATIENCE_MS}")
            return True

        return self._try(change, create=True) or self.off

    def close(self) -> None:
        """Let go of the database for good."""
        self._disconnect()
        self.off = True

    def _try(self, action: Callable[[sqlite3.Connection], T], *, create: bool) -> T | None:
        """Do something with the database; None if it is not there, not for us, or was just given up."""
        if self.off:
            return None
        try:
            if self._connection is None and not self._ready(create=create):
                return None
            import sqlite3
        except (OSError, ImportError) as error:
            self._give_up(error)
            return None
        try:
            connection = self._connection or self._connect(create=create)
            return None if connection is None else action(connection)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._disconnect()
            again = self._mend(error)
        except BaseException:
            # The next use must not find itself within this one's transaction.
            self._disconnect()
            raise
        return self._try(action, create=create) if again else None

    # Opening -------------------------------------------------------------------------------------------------------------------------

    def _ready(self, *, create: bool) -> bool:
        """Tell whether there is a file to open, and make it if it is to be created.

        Raises:
            OSError: There can't be one, or it is not safe to use.
        """
        if create:
            make_private(self._directory)
        elif os.path.lexists(self._path):
            check_private(self._directory)
        else:
            return False
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if filesystem(fd) in _REMOTE:
                # The log needs memory that all its users share, which there is not between machines.
                raise OSError(errno.EOPNOTSUPP, "it is on a network filesystem; DELTASYNC_HOME can name a directory of this machine")
        finally:
            os.close(fd)
        return private_file(self._path, create=create)

    def _connect(self, *, create: bool) -> sqlite3.Connection | None:
        """Open the database; None where it is empty and shall stay so, or was set aside this moment.

        Raises:
            sqlite3.Error: It is damaged, another program's, or busy.
        """
        import sqlite3

        try:
            self._inode = os.stat(self._path).st_ino
        except FileNotFoundError:
            return None
        # Not for SQLite to make, which would give it the user's usual mode.
        uri = f"file://{self._path.replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?mode=rw"
        patience_s = (_WRITE_PATIENCE_MS if create else _READ_PATIENCE_MS) / 1000
        # The thread that closes may be another than the one that began; never are there two at once.
        connection = sqlite3.connect(uri, uri=True, timeout=patience_s, isolation_level=None, check_same_thread=False)
        self._connection = connection
        # In this order: another process may be giving it its tables, and the mark with them, at this moment.
        if index_tables.is_empty(connection):
            if not create:
                self._disconnect()
                return None
            index_tables.create(connection)
        elif not index_tables.is_ours(connection):
            raise sqlite3.DatabaseError("it is the database of another program")
        # After a loss of power the last rows may be missing, and no more than that.
        connection.execute("PRAGMA synchronous = NORMAL")
        # A confined process has no other directory to write in.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA busy_timeout = {_READ_PATIENCE_MS}")
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # What can go wrong ---------------------------------------------------------------------------------------------------------------

    def _mend(self, error: sqlite3.Error | UnicodeDecodeError) -> bool:
        """Decide what follows from an error of SQLite; true when it is worth a second attempt, which happens once."""
        # Complaints about a damaged schema quote it, and where that is no text any more, quoting is what fails.
        code = _CORRUPT if isinstance(error, UnicodeDecodeError) else getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _BUSY:
            # Each time may have cost some patience; all of them together must not hold up a run.
            self._busy += 1
            self.off = self._busy == _MAX_BUSY
        elif code in _DAMAGED and not self._mended:
            self._mended = True
            try:
                self._set_aside()
            except OSError as failure:
                self._give_up(failure)
            return True
        else:
            self._give_up(error)
        return False

    def _give_up(self, error: Exception) -> None:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self.off = True
        self.note = f"unchanged files are read again, for nothing can be remembered in {shown(self._path)}: {shown(reason)}"

    def _set_aside(self) -> None:
        """Rename a damaged database, unless another process already did; the next use makes a new one.

        Raises:
            OSError: It can't be renamed.
        """
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(self._path).st_ino == self._inode:
                # A process that still has the old database open must not share its log with the next one.
                for ending in ("-wal", "-shm"):
                    with suppress(FileNotFoundError):
                        os.unlink(self._path + ending)
                os.replace(self._path, self._path + ".damaged")
                self.note = f"{shown(self._path)} was damaged and is now {FILE_NAME}.damaged; what it remembered is read once more"
        except (BlockingIOError, FileNotFoundError):
            # Another process is doing the same, or has just done it.
            return
        finally:
            os.close(fd)
