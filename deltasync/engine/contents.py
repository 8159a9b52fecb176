"""The sender's contents: wanted files read and sent, small ones in packs, large ones as streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable

from deltasync._native import Kernel, choose
from deltasync._native.columns import packed
from deltasync.delta.digest import FileDigest, same_digest
from deltasync.delta.effort import effort
from deltasync.detect.sources import Sources
from deltasync.engine.holdings import MIN_BYTES, Holding, Holdings
from deltasync.engine.outflow import Credit, Outflow, Sampler
from deltasync.engine.peer import Peer
from deltasync.engine.pool import Pool
from deltasync.engine.reading import PACK_FILE_BYTES, Changing, read_small, stream
from deltasync.engine.wants import Wanted
from deltasync.fs.root import Dir
from deltasync.wire.messages import MAX_FILE_DATA_BYTES, MAX_PACK_FILES, FileBegin, FileData, FileEnd, FileZeros, Message, Pack, Same

__all__ = ["Contents"]

PACK_BYTES = 256 << 10


class Contents:
    """Sends wanted files whole, a piece a time.

    Args:
        peer: The session.
        sources: The opened sources.
        outflow: What contents go out by.
        pool: What reads and hashes.
        holdings: Where it is remembered what the receiver has; None for nowhere.
        kernel: What sums what is remembered.
    """

    def __init__(
        self,
        peer: Peer,
        sources: Sources,
        outflow: Outflow,
        pool: Pool,
        holdings: Holdings | None = None,
        kernel: Callable[[], Kernel] = choose,
    ) -> None:
        self._holdings = holdings
        self._kernel = kernel
        self._digest: FileDigest | None = None
        self._begun: FileBegin | None = None
        self._peer = peer
        self._pool = pool
        self._sources = sources
        self._out = outflow
        self._wanted: deque[Wanted] = deque()
        self._grown = -1
        self._stream: Generator[Message, None, None] | None = None
        self._streamed: tuple[Wanted, Credit] | None = None
        self._buffer = bytearray(2 * MAX_FILE_DATA_BYTES)
        self._sampler = Sampler(outflow)
        self._lease: tuple[int, bytes, Dir] | None = None

    @property
    def busy(self) -> bool:
        """Whether any wanted file is not sent yet."""
        return bool(self._wanted) or self._stream is not None

    @property
    def waiting(self) -> int:
        """How many files wait."""
        return len(self._wanted)

    @property
    def streaming(self) -> bool:
        """Whether a large file is in hand."""
        return self._stream is not None

    def want(self, files: Iterable[Wanted]) -> None:
        """Take files to be sent."""
        self._wanted.extend(files)

    def advance(self) -> None:
        """Send the next piece: a pack of small files, or a frame of a large one."""
        if self._stream is not None:
            self._continue()
        elif self._is_large(self._wanted[0]):
            self._begin(self._wanted.popleft())
        else:
            self._send_pack()

    def close(self) -> None:
        """Let go of the file and the directory in hand."""
        if self._stream is not None:
            self._stream.close()
        self._release()

    def _release(self) -> None:
        if self._lease is not None:
            self._lease[2].release()
            self._lease = None

    def _directory(self, wanted: Wanted) -> int:
        """Return a descriptor of a file's directory; the last one is kept, since neighbours follow each other."""
        lease = self._lease
        if lease is not None and lease[1] == wanted.directory and lease[0] == wanted.source:
            return lease[2].fd
        self._release()
        made = self._sources.roots[wanted.source].dir(wanted.directory)
        self._lease = (wanted.source, wanted.directory, made)
        return made.fd

    # Small files --------------------------------------------------------------------------------------------------------------------

    def _send_pack(self) -> None:
        ids: list[int] = []
        sizes: list[int] = []
        mtimes_ns: list[int] = []
        modes: list[int] = []
        contents: list[bytes] = []
        same: list[tuple[int, int, int]] = []
        filled = listed = 0
        path = b""
        while self._wanted and filled < PACK_BYTES and len(ids) + len(same) < MAX_PACK_FILES:
            wanted = self._wanted[0]
            if self._is_large(wanted):
                break
            self._wanted.popleft()
            try:
                small = read_small(self._directory(wanted), wanted.entry.name, wanted.entry)
            except (OSError, Changing) as error:
                self._out.give_up(wanted, error, wanted.credited)
                continue
            if small is None:
                self._grown = wanted.file_id
                self._wanted.appendleft(wanted)
                break
            listed += wanted.entry.size - wanted.credited
            self._out.read(wanted, len(small.content), small.mtime_ns, small.inode)
            path = wanted.path
            if wanted.had and wanted.had == same_digest(small.content):
                same.append((wanted.file_id, small.mtime_ns, small.mode))
                continue
            ids.append(wanted.file_id)
            sizes.append(len(small.content))
            mtimes_ns.append(small.mtime_ns)
            modes.append(small.mode)
            contents.append(small.content)
            filled += len(small.content)
        if same:
            columns = zip(*same, strict=True)
            self._peer.send(Same(*(packed(code, numbers) for code, numbers in zip("QqI", columns, strict=True))))
            self._out.files_sent += len(same)
        if ids:
            self._out.pack(Pack(ids, sizes, mtimes_ns, modes, b"".join(contents)))
        if ids or same:
            self._out.current = path
            self._out.files_done += len(ids) + len(same)
            self._out.bytes_done += listed

    def _is_large(self, wanted: Wanted) -> bool:
        return wanted.entry.size > PACK_FILE_BYTES or wanted.file_id == self._grown

    # Large files --------------------------------------------------------------------------------------------------------------------

    def _begin(self, wanted: Wanted) -> None:
        self._out.current = wanted.path
        self._streamed = (wanted, Credit(self._out, wanted))
        self._sampler = Sampler(self._out)
        try:
            self._stream = stream(self._directory(wanted), wanted.entry.name, wanted.file_id, self._buffer, self._pool, self._digest_of)
            self._continue()
        except OSError as error:
            self._stream = None
            self._out.give_up(wanted, error, wanted.credited)

    def _digest_of(self, size: int) -> FileDigest:
        """Return what computes the digest of a file, and what is to be remembered of it."""
        self._digest = None
        if self._holdings is not None and size >= MIN_BYTES and size <= effort((kernel := self._kernel()).NAME).sum_bytes:
            from deltasync.delta.summed_digest import SummedDigest

            self._digest = SummedDigest(size, kernel)
        return self._digest or FileDigest(size)

    def _learn(self, wanted: Wanted) -> None:
        """Remember what the receiver has of a file that was sent."""
        from deltasync.delta.summed_digest import SummedDigest

        if self._holdings is None or self._begun is None or not isinstance(self._digest, SummedDigest):
            return
        checksums = self._digest.checksums
        if checksums is not None:
            self._holdings.learn(wanted.path, Holding(self._begun.size, self._begun.mtime_ns, *checksums))

    def _continue(self) -> None:
        assert self._stream is not None
        assert self._streamed is not None
        wanted, credit = self._streamed
        try:
            message = next(self._stream)
        except (OSError, Changing) as error:
            self._stream = None
            self._out.give_up(wanted, error, credit.credited)
            return
        if isinstance(message, FileData):
            self._out.data(message, self._sampler)
            credit.add(len(message.content))
            return
        if isinstance(message, FileZeros):
            credit.add(message.zero_bytes)
        elif isinstance(message, FileBegin):
            self._out.read(wanted, message.size, message.mtime_ns)
            self._begun = message
            credit.restart()
        elif isinstance(message, FileEnd):
            # The receiver may be done with everything as soon as it has this.
            self._stream.close()
            self._stream = None
            self._out.files_sent += 1
            self._out.settle(wanted, credit.credited)
            if self._digest is not None:
                self._learn(wanted)
        self._peer.send(message)
