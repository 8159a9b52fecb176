"""The sender's contents: wanted files read and sent, small ones in packs, large ones as streams."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator

from deltasync.channel.stream import Link
from deltasync.detect.sources import Sources
from deltasync.engine.peer import Peer
from deltasync.engine.reading import PACK_FILE_BYTES, Changing, read_small, stream
from deltasync.engine.reporter import Reporter, reason
from deltasync.engine.wants import Wanted
from deltasync.errors import ExitCode
from deltasync.fs.root import Dir
from deltasync.tree.names import join
from deltasync.wire.compression import pays
from deltasync.wire.messages import MAX_FILE_DATA_BYTES, MAX_PACK_FILES, FileAbort, FileBegin, FileData, FileZeros, Message, Pack
from deltasync.wire.settings import Settings

__all__ = ["Contents", "effective_compression"]

PACK_BYTES = 256 << 10
SAMPLE_EVERY_BYTES = 16 << 20
"""How often the content of a long stream is sampled anew for compression."""


def effective_compression(settings: Settings, link: Link) -> str:
    """Return how this run compresses, as in `Settings.compress`: inside one process nothing is saved by it."""
    return "never" if settings.compress == "auto" and link.cipher == "none" else settings.compress


class Contents:
    """Sends wanted files, a piece a time.

    Attributes:
        literal_bytes: Content bytes sent, before compression.
        files_done, bytes_done: Files that need no more work, and of what was listed of them and of the one in hand, the bytes.
        current: Path of the file in hand.
    """

    def __init__(self, peer: Peer, sources: Sources, settings: Settings, reporter: Reporter) -> None:
        self.literal_bytes = self.files_done = self.bytes_done = 0
        self.current = b""
        self._peer = peer
        self._sources = sources
        self._settings = settings
        self._compress = effective_compression(settings, peer.link)
        self._reporter = reporter
        self._wanted: deque[Wanted] = deque()
        self._grown = -1
        self._stream: Iterator[Message] | None = None
        self._streamed: Wanted | None = None
        self._taken = self._credited = 0
        self._buffer = bytearray(MAX_FILE_DATA_BYTES)
        self._squeeze = False
        self._sample_left = 0
        self._lease: tuple[int, bytes, Dir] | None = None
        self._paced_at = time.monotonic()

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
        """Let go of the directory in hand."""
        if self._lease is not None:
            self._lease[2].release()
            self._lease = None

    def _directory(self, wanted: Wanted) -> int:
        """Return a descriptor of a file's directory; the last one is kept, since neighbours follow each other."""
        lease = self._lease
        if lease is not None and lease[1] == wanted.directory and lease[0] == wanted.source:
            return lease[2].fd
        self.close()
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
        filled = listed = 0
        path = b""
        while self._wanted and filled < PACK_BYTES and len(ids) < MAX_PACK_FILES:
            wanted = self._wanted[0]
            if self._is_large(wanted):
                break
            self._wanted.popleft()
            try:
                small = read_small(self._directory(wanted), wanted.entry.name, wanted.entry)
            except (OSError, Changing) as error:
                self._give_up(wanted, error)
                continue
            if small is None:
                self._grown = wanted.file_id
                self._wanted.appendleft(wanted)
                break
            ids.append(wanted.file_id)
            sizes.append(len(small.content))
            mtimes_ns.append(small.mtime_ns)
            modes.append(small.mode)
            contents.append(small.content)
            filled += len(small.content)
            listed += wanted.entry.size
            path = join(wanted.directory, wanted.entry.name)
        if ids:
            self.current = path
            content = b"".join(contents)
            self._peer.send(Pack(ids, sizes, mtimes_ns, modes, content), squeeze=self._worth(content))
            self._count(filled)
            self.files_done += len(ids)
            self.bytes_done += listed

    def _is_large(self, wanted: Wanted) -> bool:
        return wanted.entry.size > PACK_FILE_BYTES or wanted.file_id == self._grown

    def _worth(self, content: bytes | memoryview) -> bool:
        return self._compress == "always" or (self._compress == "auto" and pays(content))

    # Large files --------------------------------------------------------------------------------------------------------------------

    def _begin(self, wanted: Wanted) -> None:
        self.current = join(wanted.directory, wanted.entry.name)
        self._streamed = wanted
        self._taken = self._credited = 0
        self._sample_left = 0
        try:
            self._stream = stream(self._directory(wanted), wanted.entry.name, wanted.file_id, self._buffer)
            self._continue()
        except OSError as error:
            self._stream = None
            self._give_up(wanted, error)

    def _continue(self) -> None:
        assert self._stream is not None
        assert self._streamed is not None
        try:
            message = next(self._stream, None)
        except (OSError, Changing) as error:
            self._stream = None
            self._give_up(self._streamed, error)
            return
        if message is None:
            self._stream = None
            self._settle(self._streamed)
            return
        squeeze = False
        if isinstance(message, FileData):
            squeeze = self._sampled(message.content)
            self._count(len(message.content))
            self._credit(self._streamed, len(message.content))
        elif isinstance(message, FileZeros):
            self._credit(self._streamed, message.zero_bytes)
        elif isinstance(message, FileBegin):
            self._taken = 0
        self._peer.send(message, squeeze=squeeze)

    def _sampled(self, content: bytes | bytearray | memoryview) -> bool:
        if self._sample_left <= 0:
            self._squeeze = self._worth(memoryview(content))
            self._sample_left = SAMPLE_EVERY_BYTES
        self._sample_left -= len(content)
        return self._squeeze

    def _give_up(self, wanted: Wanted, error: OSError | Changing) -> None:
        path = join(wanted.directory, wanted.entry.name)
        self._peer.send(FileAbort(wanted.file_id, again=False))
        if isinstance(error, Changing):
            self._reporter.problem(path, "it kept changing while it was read; run again when it is quiet")
        elif isinstance(error, FileNotFoundError):
            self._reporter.problem(path, "it vanished before it could be sent", ExitCode.VANISHED)
        else:
            self._reporter.problem(path, reason(error, "it can't be read"))
        self._settle(wanted)

    def _credit(self, wanted: Wanted, count: int) -> None:
        """Count what is sent of a stream, as far as it was listed and was not counted before it began anew."""
        self._taken += count
        reached = min(self._taken, wanted.entry.size)
        if reached > self._credited:
            self.bytes_done += reached - self._credited
            self._credited = reached

    def _settle(self, wanted: Wanted) -> None:
        """Count a file that needs no more work."""
        self.files_done += 1
        self.bytes_done += wanted.entry.size - self._credited
        self._credited = 0

    def _count(self, count: int) -> None:
        self.literal_bytes += count
        rate = self._settings.bwlimit_bytes_s
        if rate:
            self._paced_at = max(self._paced_at, time.monotonic() - 0.25) + count / rate
            self._peer.pause(self._paced_at - time.monotonic())
