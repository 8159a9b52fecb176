"""Wanted files on their way in: what each of them shall become, and the streams that are open."""

from __future__ import annotations

import os
from typing import NamedTuple

from deltasync.delta.digest import DIGEST_BYTES, FileDigest
from deltasync.engine.ground import Ground
from deltasync.engine.links import Links
from deltasync.errors import RemoteProtocolError
from deltasync.fs.root import Dir
from deltasync.patch.attributes import Lost
from deltasync.patch.staging import Staged, put_small
from deltasync.tree.entry import Entry
from deltasync.tree.names import join
from deltasync.wire.messages import FileAbort, FileBegin, FileData, FileEnd, FileZeros, Pack, pack_slices

__all__ = ["Arrivals", "Expected"]

MAX_OPEN_FILES = 16
"""Most streams that the sender may have open at once."""


class Expected(NamedTuple):
    """A file that was asked for.

    Attributes:
        directory: Its directory, relative to the root.
        entry: What it was listed as, localised; size, time and mode of the file itself come with the content.
        current: What it replaces, if that is of the same type.
        credited: How many of its listed bytes count as done.
    """

    directory: bytes
    entry: Entry
    current: Entry | None
    credited: int = 0


class _Stream:
    """One open stream: the staged file, or None where it could not be made and the content is passed over."""

    def __init__(self, expected: Expected, entry: Entry, begin: FileBegin) -> None:
        self.expected = expected
        self.entry = entry
        self.size = begin.size
        self.taken = 0
        self.digest = FileDigest(begin.size)
        self.staged: Staged | None = None

    def take(self, count: int) -> None:
        self.taken += count
        if self.taken > self.size:
            raise RemoteProtocolError("the peer sent more of a file than it announced")


class Arrivals:
    """Takes contents and puts them in their places.

    Attributes:
        files_done, bytes_done: Files that have come or were given up, and of what was listed of them and of those in hand, the bytes.
        current: Path of the file in hand.
    """

    def __init__(self, ground: Ground, links: Links) -> None:
        self.files_done = self.bytes_done = 0
        self.current = b""
        self._ground = ground
        self._links = links
        self._expected: dict[int, Expected] = {}
        self._streams: dict[int, _Stream] = {}
        self._lease: Dir | None = None
        self._gives_group = True

    def __len__(self) -> int:
        return len(self._expected)

    def expect(self, file_id: int, expected: Expected) -> None:
        """Remember a file that is asked for now."""
        self._expected[file_id] = expected

    def close(self, *, keep_partials: bool) -> None:
        """Let go of everything; with `keep_partials` what has come of large files stays for a later run."""
        self._release()
        for stream in self._streams.values():
            if stream.staged is not None:
                stream.staged.abandon(keep=keep_partials)
        self._streams.clear()

    def _release(self) -> None:
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def _directory(self, path: bytes) -> int:
        """Return a descriptor of a directory; the last one is kept, since neighbours follow each other."""
        if self._lease is None or self._lease.path != path:
            self._release()
            assert self._ground.root is not None
            self._lease = self._ground.root.dir(path)
            self._gives_group = os.fstat(self._lease.fd).st_gid != self._ground.abilities.gid
        return self._lease.fd

    def _take(self, file_id: int) -> Expected:
        expected = self._expected.pop(file_id, None)
        if expected is None:
            raise RemoteProtocolError(f"the peer sent file {file_id}, which was not asked for")
        return expected

    def pack(self, pack: Pack) -> None:
        """Take many small files."""
        path = b""
        for file_id, mtime_ns, mode, content in zip(pack.ids, pack.mtimes_ns, pack.modes, pack_slices(pack), strict=True):
            if file_id in self._streams:
                raise RemoteProtocolError(f"the peer sent file {file_id} twice")
            expected = self._take(file_id)
            directory, entry, current, credited = expected
            sent = self._as_sent(expected, mtime_ns, mode)
            try:
                dir_fd = self._directory(directory)
                attributes = self._ground.fresh(sent, current, gives_group=self._gives_group)
                lost = put_small(dir_fd, entry.name, content, attributes)
            except (OSError, OverflowError) as error:
                self._ground.failed(directory, entry.name, error, "it can't be written")
            else:
                self._placed(expected, lost)
            self.files_done += 1
            self.bytes_done += entry.size - credited
            path = join(directory, entry.name)
        self.current = path

    def _placed(self, expected: Expected, lost: Lost) -> None:
        """Count a file that is in its place."""
        directory, entry, *_ = expected
        self._ground.counts.files_written += 1
        self._ground.counts.entries_changed += 1
        self._ground.lost(directory, entry.name, lost)
        if entry.link_group:
            self._links.stands(entry)

    def _as_sent(self, expected: Expected, mtime_ns: int, mode: int) -> Entry:
        entry = expected.entry
        if mtime_ns == entry.mtime_ns and mode == entry.mode:
            return entry
        if mode & 0o170000 != 0o100000:
            raise RemoteProtocolError("the peer sent the content of what is no regular file")
        return self._ground.localised_mode(entry._replace(mtime_ns=mtime_ns, mode=mode))

    def begin(self, message: FileBegin) -> None:
        """Open a stream; an error of the destination is reported at once, and the content is passed over then."""
        if len(self._streams) >= MAX_OPEN_FILES:
            raise RemoteProtocolError("the peer opened too many files at once")
        expected = self._take(message.file_id)
        entry = self._as_sent(expected, message.mtime_ns, message.mode)._replace(size=message.size)
        stream = self._streams[message.file_id] = _Stream(expected, entry, message)
        try:
            dir_fd = self._directory(expected.directory)
            stream.staged = Staged.create(dir_fd, entry.name, message.size, sparse=self._ground.settings.sparse)
        except OSError as error:
            self._fail(stream, error)
        self.current = join(expected.directory, entry.name)

    def data(self, message: FileData) -> None:
        """Take the next bytes of a stream."""
        stream = self._stream(message.file_id)
        stream.take(len(message.content))
        self._credit(stream)
        if stream.staged is not None:
            stream.digest.update(message.content)
            try:
                stream.staged.write(message.content)
            except OSError as error:
                self._fail(stream, error)

    def zeros(self, message: FileZeros) -> None:
        """Take a run of zeros of a stream."""
        stream = self._stream(message.file_id)
        stream.take(message.zero_bytes)
        self._credit(stream)
        if stream.staged is not None:
            stream.digest.zeros(message.zero_bytes)
            try:
                stream.staged.zeros(message.zero_bytes)
            except OSError as error:
                self._fail(stream, error)

    def end(self, message: FileEnd) -> None:
        """Close a stream: its digest is proven, then it takes its place."""
        stream = self._stream(message.file_id)
        if stream.taken != stream.size:
            raise RemoteProtocolError("the peer ended a file before all of it had come")
        del self._streams[message.file_id]
        self._settle(stream.expected)
        if stream.staged is None:
            return
        expected = stream.expected
        if len(message.digest) != DIGEST_BYTES or stream.digest.digest() != message.digest:
            stream.staged.abandon(keep=False)
            self._ground.failed(
                expected.directory, expected.entry.name, ValueError("its digest differs"), "what arrived is not what was sent"
            )
            return
        try:
            lost = stream.staged.commit(self._ground.fresh(stream.entry, expected.current))
        except (OSError, OverflowError) as error:
            self._fail(stream, error)
        else:
            self._placed(expected, lost)

    def abort(self, message: FileAbort) -> None:
        """Give a file up, or wait for it to begin anew."""
        stream = self._streams.pop(message.file_id, None)
        expected = self._take(message.file_id) if stream is None else stream.expected
        if stream is not None and stream.staged is not None:
            stream.staged.abandon(keep=False)
        if message.again:
            if stream is None:
                raise RemoteProtocolError("the peer took back a file that it had not begun")
            self._expected[message.file_id] = expected
        else:
            self._settle(expected)

    def _credit(self, stream: _Stream) -> None:
        """Count what has come of a stream, as far as it was listed and was not counted before it began anew."""
        expected = stream.expected
        reached = min(stream.taken, expected.entry.size)
        if reached > expected.credited:
            self.bytes_done += reached - expected.credited
            stream.expected = expected._replace(credited=reached)

    def _settle(self, expected: Expected) -> None:
        """Count a file that needs no more work."""
        self.files_done += 1
        self.bytes_done += expected.entry.size - expected.credited

    def _stream(self, file_id: int) -> _Stream:
        stream = self._streams.get(file_id)
        if stream is None:
            raise RemoteProtocolError(f"the peer sent content of file {file_id}, which is not open")
        return stream

    def _fail(self, stream: _Stream, error: OSError | OverflowError) -> None:
        if stream.staged is not None:
            stream.staged.abandon(keep=False)
            stream.staged = None
        self._ground.failed(stream.expected.directory, stream.expected.entry.name, error, "it can't be written")

    @property
    def busy(self) -> bool:
        """Whether any file that was asked for has not come yet."""
        return bool(self._expected) or bool(self._streams)
