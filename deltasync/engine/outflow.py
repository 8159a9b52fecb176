"""The sender's contents on their way out: compressed where that pays, no faster than the user wants, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable

from deltasync.channel.stream import Link
from deltasync.engine.peer import Peer
from deltasync.engine.reading import Changing
from deltasync.engine.reporter import Reporter, reason
from deltasync.engine.wants import Wanted
from deltasync.errors import ExitCode
from deltasync.wire.compression import pays
from deltasync.wire.messages import FileAbort, FileData, Pack
from deltasync.wire.settings import Settings

__all__ = ["Credit", "Outflow", "Sampler", "Saw", "effective_compression"]

SAMPLE_EVERY_BYTES = 16 << 20
"""How often the content of a long stream is sampled anew for compression."""


def effective_compression(settings: Settings, link: Link) -> str:
    """Return how this run compresses, as in `Settings.compress`: inside one process nothing is saved by it."""
    return "never" if settings.compress == "auto" and link.cipher == "none" else settings.compress


Saw = Callable[[bytes, int, int, int | None], None]
"""Told of a file that was read: its path, size, mtime in ns and inode, if that is known; a size of -1 where it could not be read."""


class Outflow:
    """Sends contents.

    Args:
        peer: The session.
        settings: The options.
        reporter: Hears of files that are given up.
        saw: Told of each file as it was when it was read; see `Saw`.

    Attributes:
        literal_bytes: Content bytes sent, before compression.
        files_sent: Files whose content was sent.
        files_done, bytes_done: Files that need no more work, and of what was listed of them and of those in hand, the bytes.
        current: Path of the file in hand.
    """

    def __init__(self, peer: Peer, settings: Settings, reporter: Reporter, saw: Saw | None = None) -> None:
        self.literal_bytes = self.files_sent = self.files_done = self.bytes_done = 0
        self.current = b""
        self._peer = peer
        self._reporter = reporter
        self._saw = saw
        self._compress = effective_compression(settings, peer.link)
        self._bytes_s = settings.bwlimit_bytes_s
        self._paced_at = time.monotonic()
        self._told_slow = False

    def worth(self, content: bytes | memoryview) -> bool:
        """Tell whether compressing this pays, or is wanted in any case."""
        return self._compress == "always" or (self._compress == "auto" and pays(content))

    def pack(self, pack: Pack) -> None:
        """Send small files."""
        self._peer.send(pack, squeeze=self.worth(memoryview(pack.content)))
        self._count(len(pack.content))
        self.files_sent += len(pack.ids)

    def data(self, message: FileData, sampler: Sampler) -> None:
        """Send a piece of a stream."""
        self._peer.send(message, squeeze=sampler.squeezes(message.content))
        self._count(len(message.content))

    def read(self, wanted: Wanted, size: int, mtime_ns: int, inode: int | None = None) -> None:
        """Take note of what a file was when it was read, which may be another than what was listed."""
        if self._saw is not None:
            self._saw(wanted.path, size, mtime_ns, inode)

    def slow_engine(self, name: str) -> None:
        """Say once that a faster engine would send less."""
        if not self._told_slow:
            self._told_slow = True
            self._reporter.note(
                f"the {name} engine is slow, so that parts of large files are sent whole: install numpy beside deltasync, "
                "or deltasync where there is a C compiler"
            )

    def give_up(self, wanted: Wanted, error: OSError | Changing, credited: int = 0) -> None:
        """Tell the peer that a file does not come, and the user why; `credited` of its bytes counted as done."""
        path = wanted.path
        self._peer.send(FileAbort(wanted.file_id, again=False))
        self.read(wanted, -1, 0)
        if isinstance(error, Changing):
            self._reporter.problem(path, "it kept changing while it was read; run again when it is quiet")
        elif isinstance(error, FileNotFoundError):
            self._reporter.problem(path, "it vanished before it could be sent", ExitCode.VANISHED)
        else:
            self._reporter.problem(path, reason(error, "it can't be read"))
        self.settle(wanted, credited)

    def settle(self, wanted: Wanted, credited: int) -> None:
        """Count a file that needs no more work."""
        self.files_done += 1
        self.bytes_done += wanted.entry.size - credited

    def _count(self, count: int) -> None:
        self.literal_bytes += count
        if self._bytes_s:
            self._paced_at = max(self._paced_at, time.monotonic() - 0.25) + count / self._bytes_s
            self._peer.pause(self._paced_at - time.monotonic())


class Credit:
    """Counts what is done of one file, as far as it was listed and was not counted before it began anew.

    Args:
        outflow: Where it is counted.
        wanted: The file.

    Attributes:
        credited: How many of its listed bytes count as done.
    """

    def __init__(self, outflow: Outflow, wanted: Wanted) -> None:
        self.credited = wanted.credited
        self._outflow = outflow
        self._listed_bytes = wanted.entry.size
        self._done_bytes = 0

    def add(self, count: int) -> None:
        """Take note of bytes that are done."""
        self._done_bytes += count
        reached = min(self._done_bytes, self._listed_bytes)
        if reached > self.credited:
            self._outflow.bytes_done += reached - self.credited
            self.credited = reached

    def restart(self) -> None:
        """Take note that the file begins anew: what counts as done already does not count again."""
        self._done_bytes = 0


class Sampler:
    """Decides for one stream, again and again, whether its content is worth compressing."""

    def __init__(self, outflow: Outflow) -> None:
        self._outflow = outflow
        self._squeeze = False
        self._left = 0

    def squeezes(self, content: bytes | bytearray | memoryview) -> bool:
        """Tell whether the next piece is to be compressed."""
        if self._left <= 0:
            self._squeeze = self._outflow.worth(memoryview(content))
            self._left = SAMPLE_EVERY_BYTES
        self._left -= len(content)
        return self._squeeze
