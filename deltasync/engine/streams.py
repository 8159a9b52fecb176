"""A file on its way in as one stream: what it shall become, and the plain case of content that comes from its start to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deltasync.delta.digest import DIGEST_BYTES, FileDigest
from deltasync.engine.pool import SEGMENT_BYTES, Pool
from deltasync.errors import RemoteProtocolError
from deltasync.fs.identity import Identity
from deltasync.patch.staging import Staged
from deltasync.tree.entry import Entry

if TYPE_CHECKING:
    from concurrent.futures import Future

    from deltasync.fs.index import Remembered

__all__ = ["Expected", "WholeStream"]


class Expected(NamedTuple):
    """A file that was asked for.

    Attributes:
        directory: Its directory, relative to the root.
        entry: What it was listed as, localised; size, time and mode of the file itself come with the content.
        current: What it replaces, if that is of the same type.
        credited: How many of its listed bytes count as done.
        identity: What it replaces, if the sender was told a digest of that.
    """

    directory: bytes
    entry: Entry
    current: Entry | None
    credited: int = 0
    identity: Identity | None = None


class WholeStream:
    """A file that comes whole.

    Args:
        expected: What was asked for.
        entry: What it is now, by the sender's word.
        pool: Hashes the content of a file of a segment or more, while it is written here.
        digest: What computes its digest; None for what keeps nothing else.

    Attributes:
        expected, entry: As given; `expected.credited` grows.
        staged: Where it goes, or None where that could not be made and the content is passed over.
        taken: How many bytes have come.
    """

    def __init__(self, expected: Expected, entry: Entry, pool: Pool, digest: FileDigest | None = None) -> None:
        self.expected = expected
        self.entry = entry
        self.taken = 0
        self.staged: Staged | None = None
        self._digest = digest or FileDigest(entry.size)
        self._pool = pool if entry.size >= SEGMENT_BYTES else None
        self._hashing: Future[None] | None = None

    def data(self, content: bytes | bytearray | memoryview) -> None:
        """Take the next bytes.

        Raises:
            RemoteProtocolError: There is no room for so many.
            OSError: They can't be written.
        """
        self._take(len(content))
        if self.staged is not None:
            self._hash(content)
            self.staged.write(content)

    def zeros(self, count: int) -> None:
        """Take a run of zeros; raises as `data`."""
        self._take(count)
        if self.staged is not None:
            self._hashed().zeros(count)
            self.staged.zeros(count)

    def _hash(self, content: bytes | bytearray | memoryview) -> None:
        digest = self._hashed()
        if self._pool is None:
            digest.update(content)
        else:
            self._hashing = self._pool.submit(digest.update, content)

    def _hashed(self) -> FileDigest:
        """Return the digest of all that has come, once that is hashed."""
        hashing, self._hashing = self._hashing, None
        if hashing is not None:
            hashing.result()
        return self._digest

    def _take(self, count: int) -> None:
        self.taken += count
        if self.taken > self.entry.size:
            raise RemoteProtocolError("the peer sent more of a file than it announced")

    @property
    def complete(self) -> bool:
        """Whether every byte has come."""
        return self.taken == self.entry.size

    def proves(self, digest: bytes) -> bool:
        """Tell whether this is the digest of what has come."""
        return len(digest) == DIGEST_BYTES and self._hashed().digest() == digest

    @property
    def checksums(self) -> Remembered | None:
        """What to remember of the proven file; None if it was not gathered."""
        from deltasync.delta.summed_digest import SummedDigest
        from deltasync.fs.index import Remembered

        found = self._digest.checksums if isinstance(self._digest, SummedDigest) else None
        return None if found is None else Remembered(self._digest.leaf_bytes, *found)

    def abandon(self, *, keep: bool) -> None:
        """Give it up; with `keep` what has come of it stays for a later run."""
        if self.staged is not None:
            self.staged.abandon(keep=keep)
            self.staged = None
