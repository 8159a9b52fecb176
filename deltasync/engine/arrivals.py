"""Wanted files on their way in: what each of them shall become, and the streams that are open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deltasync._native.columns import column
from deltasync.engine.bases import Bases
from deltasync.engine.deletions import Deletions
from deltasync.engine.errands import Errand, Errands
from deltasync.engine.ground import Ground
from deltasync.engine.links import Links
from deltasync.engine.pool import Pool
from deltasync.engine.sameness import stay
from deltasync.engine.small_files import Batch, Result, SmallFiles
from deltasync.engine.streams import Expected, WholeStream
from deltasync.errors import RemoteProtocolError
from deltasync.fs.root import Dir
from deltasync.patch.attributes import Lost
from deltasync.patch.small import SmallFile
from deltasync.patch.staging import Staged
from deltasync.tree.entry import Entry
from deltasync.tree.names import join
from deltasync.wire.messages import FileAbort, FileBegin, FileCopy, FileData, FileEnd, FileZeros, Pack, Same, pack_slices

if TYPE_CHECKING:
    from deltasync.delta.digest import FileDigest
    from deltasync.engine.base import Base
    from deltasync.engine.delta_stream import DeltaStream

__all__ = ["Arrivals"]

MAX_OPEN_FILES = 16
"""Most streams that the sender may have open at once."""


class Arrivals:
    """Takes contents and puts them in their places.

    Args:
        ground: Where the receiver works.
        links, deletions, bases, pool: Its other parts.
        remembers: Whether the checksums of large files that come whole are remembered as well: they are likely to change soon.

    Attributes:
        files_done, bytes_done: Files that have come or were given up, and of what was listed of them and of those in hand, the bytes.
        current: Path of the file in hand.
    """

    def __init__(self, ground: Ground, links: Links, deletions: Deletions, bases: Bases, pool: Pool, *, remembers: bool = False) -> None:
        self._remembers = remembers
        self.files_done = self.bytes_done = 0
        self.current = b""
        self._ground = ground
        self._links = links
        self._deletions = deletions
        self._bases = bases
        self._pool = pool
        self._small = SmallFiles(pool, durable=ground.settings.fsync)
        self._errands = Errands()
        self._expected: dict[int, Expected] = {}
        self._streams: dict[int, WholeStream | DeltaStream] = {}
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
        self._errands.close()
        self._small.close()
        for stream in self._streams.values():
            stream.abandon(keep=keep_partials)
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
        together: Batch = []
        for file_id, mtime_ns, mode, content in zip(pack.ids, pack.mtimes_ns, pack.modes, pack_slices(pack), strict=True):
            if file_id in self._streams:
                raise RemoteProtocolError(f"the peer sent file {file_id} twice")
            expected = self._take(file_id)
            self._ground.lines.comes(file_id)
            sent = self._as_sent(expected, mtime_ns, mode)
            if together and together[0][0].directory != expected.directory:
                self._put(together)
                together = []
            try:
                self._directory(expected.directory)
            except OSError as error:
                self._put_or_failed(Result(expected, error))
                continue
            attributes = self._ground.fresh(sent, expected.current, gives_group=self._gives_group)
            together.append((expected, SmallFile(expected.entry.name, content, attributes)))
        if together:
            self._put(together)
        self._ground.reporter.flush()

    def _put(self, together: Batch) -> None:
        """Put small files of one directory, which is the one in hand, in their places."""
        dir_fd = self._directory(together[0][0].directory)
        if self._ground.backups is not None:
            together = [file for file in together if self._saved(file[0], dir_fd)]
        for result in self._small.put(dir_fd, together) if together else ():
            self._put_or_failed(result)

    def _saved(self, expected: Expected, dir_fd: int) -> bool:
        """Make a backup of what a small file replaces; False if that failed, and the file with it."""
        try:
            self._ground.save(expected.directory, dir_fd, expected.entry.name)
        except OSError as error:
            self._put_or_failed(Result(expected, error))
            return False
        return True

    def _put_or_failed(self, of_file: Result) -> None:
        """Take note of what became of a small file."""
        expected, result = of_file
        if isinstance(result, Lost):
            self._placed(expected, result)
        else:
            self._ground.failed(expected.directory, expected.entry.name, result, "it can't be written")
        self._settle(expected)
        self.current = join(expected.directory, expected.entry.name)

    def same(self, message: Same) -> None:
        """Take word of small files that are here already."""
        columns = column("Q", message.ids), column("q", message.mtimes_ns), column("I", message.modes)
        if not len(columns[0]) == len(columns[1]) == len(columns[2]):
            raise RemoteProtocolError("the peer sent columns of different lengths")
        for file_id, mtime_ns, mode in zip(*columns, strict=True):
            expected = self._take(file_id)
            if expected.identity is None or file_id in self._streams:
                raise RemoteProtocolError(f"the peer takes file {file_id} for one that is here, which was not asked")
            self._ground.lines.comes(file_id)
            entry = self._as_sent(expected, mtime_ns, mode)
            try:
                lost = stay(self._ground, self._directory(expected.directory), expected, entry)
            except (OSError, OverflowError) as error:
                self._ground.failed(expected.directory, entry.name, error, "it can't be written")
            else:
                self._ground.counts.matched_bytes += entry.size
                self._placed(expected, lost, None)
            self._settle(expected)
        self._ground.reporter.flush()

    def _placed(self, expected: Expected, lost: Lost, mode: str | None = "stage") -> None:
        """Count a file that is in its place."""
        directory, entry, *_ = expected
        if mode is not None:
            self._ground.counts.modes[mode] += 1
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
        self._ground.lines.comes(message.file_id)
        self._ground.reporter.flush()
        entry = self._as_sent(expected, message.mtime_ns, message.mode)._replace(size=message.size)
        base = self._bases.get(message.file_id)
        stream: WholeStream | DeltaStream = WholeStream(expected, entry, self._pool, self._digest_of(entry.size))
        if base is not None:
            stream = self._delta_stream(expected, entry, base)
        self._streams[message.file_id] = stream
        if not isinstance(stream, WholeStream):
            self._errands.begin(message.file_id, self._follow(message.file_id, stream))
        else:
            try:
                stream.staged = self._staged(expected, entry)
            except OSError as error:
                self._fail(stream, error)
        self.current = join(expected.directory, entry.name)

    def _digest_of(self, size: int) -> FileDigest | None:
        """Return what computes the digest of a file whose checksums are to be remembered; None where they are not."""
        if not self._remembers:
            return None
        from deltasync.delta.effort import effort
        from deltasync.delta.summed_digest import SummedDigest
        from deltasync.fs.index import MIN_FILE_BYTES

        worth = MIN_FILE_BYTES <= size <= effort(self._bases.kernel.NAME).sum_bytes
        return SummedDigest(size, self._bases.kernel) if worth else None

    def _staged(self, expected: Expected, entry: Entry) -> Staged:
        return Staged.create(self._directory(expected.directory), entry.name, entry.size, sparse=self._ground.settings.sparse)

    def _delta_stream(self, expected: Expected, entry: Entry, base: Base) -> DeltaStream:
        from deltasync.engine.delta_stream import DeltaStream
        from deltasync.engine.placing import Placing

        places = Placing(self._ground, self._deletions, self._directory).places(expected, entry, base)
        return DeltaStream(expected, entry, base, self._pool, self._bases.kernel, places)

    def copy(self, message: FileCopy) -> None:
        """Take ranges of a base."""
        stream = self._stream(message.file_id)
        if isinstance(stream, WholeStream):
            raise RemoteProtocolError("the peer copies from a base that it was not offered")
        stream.copy(message)
        self._credit(stream)

    def data(self, message: FileData) -> None:
        """Take the next bytes of a stream."""
        stream = self._stream(message.file_id)
        try:
            stream.data(message.content)
        except OSError as error:
            self._fail(stream, error)
        self._credit(stream)

    def zeros(self, message: FileZeros) -> None:
        """Take a run of zeros of a stream."""
        stream = self._stream(message.file_id)
        try:
            stream.zeros(message.zero_bytes)
        except OSError as error:
            self._fail(stream, error)
        self._credit(stream)

    def end(self, message: FileEnd) -> None:
        """Close a stream: its digest is proven, then it takes its place."""
        stream = self._stream(message.file_id)
        if not stream.complete:
            raise RemoteProtocolError("the peer ended a file before all of it had come")
        if not isinstance(stream, WholeStream):
            stream.end(message.digest)
            return
        del self._streams[message.file_id]
        self._settle(stream.expected)
        if stream.staged is None:
            return
        if stream.proves(message.digest):
            self._commit(stream)
        else:
            stream.abandon(keep=False)
            directory, entry, *_ = stream.expected
            self._ground.failed(directory, entry.name, ValueError("its digest differs"), "what arrived is not what was sent")

    def _follow(self, file_id: int, stream: DeltaStream) -> Errand:
        """Go with a delta to its end: then it takes its place, or is asked for again as a whole."""
        yield from stream.steps()
        del self._streams[file_id]
        if stream.error is not None:
            self._fail(stream, stream.error)
        well = stream.proven or stream.staged is None
        if stream.proven:
            self._ground.counts.matched_bytes += stream.matched_bytes
            self._commit(stream)
        stream.abandon(keep=False)
        if well:
            self._settle(stream.expected)
        else:
            self._ground.counts.resent_whole += 1
            self._expected[file_id] = stream.expected
        self._bases.applied(file_id, well=well)

    def _commit(self, stream: WholeStream | DeltaStream) -> None:
        """Put a proven file in its place."""
        assert stream.staged is not None
        directory, entry, *_ = stream.expected
        try:
            # What is patched in place was copied before it was written to.
            if self._ground.backups is not None and stream.staged.mode != "inplace":
                self._ground.save(directory, self._directory(directory), entry.name)
            place, attributes = stream.staged, self._ground.fresh(stream.entry, stream.expected.current)
            lost = place.commit(attributes, sync=self._ground.settings.fsync) if isinstance(place, Staged) else place.commit(attributes)
        except (OSError, OverflowError) as error:
            self._fail(stream, error)
        else:
            status, mode, stream.staged = stream.staged.status, stream.staged.mode, None
            if (self._remembers or not isinstance(stream, WholeStream)) and status is not None and (checksums := stream.checksums):
                self._bases.remember(status, checksums)
            self._placed(stream.expected, lost, mode)

    @property
    def ready(self) -> bool:
        """Whether `advance` would do something."""
        return self._errands.ready or self._small.ready

    def advance(self) -> None:
        """Do what can be done now for the deltas that are open, and take note of small files that are in their places."""
        self._errands.advance()
        for result in self._small.results():
            self._put_or_failed(result)

    def abort(self, message: FileAbort) -> None:
        """Give a file up, or wait for it to begin anew."""
        stream = self._streams.pop(message.file_id, None)
        expected = self._take(message.file_id) if stream is None else stream.expected
        if not isinstance(stream, WholeStream):
            self._errands.end(message.file_id)
        if stream is not None:
            stream.abandon(keep=False)
        self._bases.forget(message.file_id)
        if message.again:
            if stream is None:
                raise RemoteProtocolError("the peer took back a file that it had not begun")
            self._expected[message.file_id] = expected
        else:
            self._ground.lines.drop(message.file_id)
            self._settle(expected)

    def _credit(self, stream: WholeStream | DeltaStream) -> None:
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

    def _stream(self, file_id: int) -> WholeStream | DeltaStream:
        stream = self._streams.get(file_id)
        if stream is None:
            raise RemoteProtocolError(f"the peer sent content of file {file_id}, which is not open")
        return stream

    def _fail(self, stream: WholeStream | DeltaStream, error: OSError | OverflowError) -> None:
        stream.abandon(keep=False)
        self._ground.failed(stream.expected.directory, stream.expected.entry.name, error, "it can't be written")

    @property
    def busy(self) -> bool:
        """Whether any file that was asked for has not come yet."""
        return bool(self._expected) or bool(self._streams) or self._small.busy
