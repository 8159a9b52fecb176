"""The receiver's control loop: entries in, wants out, contents in; links, deletions and directory attributes last."""

from __future__ import annotations

import stat
import time
from array import array
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from deltasync._native.columns import column, packed
from deltasync.engine.arrivals import Arrivals
from deltasync.engine.bases import Bases
from deltasync.engine.changes import Changes
from deltasync.engine.decisions import Decisions
from deltasync.engine.deletions import Deletions
from deltasync.engine.destination import Destination
from deltasync.engine.directories import Directories
from deltasync.engine.ground import Ground
from deltasync.engine.links import Links
from deltasync.engine.peer import Peer
from deltasync.engine.pool import Pool
from deltasync.engine.presumed import Presumed
from deltasync.engine.progress import Progress
from deltasync.engine.tally import Tally
from deltasync.errors import DeltasyncError, RemoteProtocolError
from deltasync.tree.rows import Section, unpack_sections
from deltasync.wire.messages import (
    MAX_CHUNK_ENTRIES,
    Entries,
    EntriesEnd,
    FileAbort,
    FileBegin,
    FileCopy,
    FileData,
    FileEnd,
    FileZeros,
    Gaps,
    Gone,
    Message,
    Owners,
    Pack,
    ReceiverDone,
    Renames,
    RoundDone,
    Same,
    SenderDone,
    Tree,
    Want,
    WantDeferred,
)
from deltasync.wire.messages import Presumed as Announced

__all__ = ["Receiver"]

TELL_EVERY_S = 0.05


class Receiver:
    """Makes the destination equal to what the peer sends.

    Args:
        peer: The session, its roles known.
        ground: Where it works.
        destination: How the tree's root maps to the destination.
        tree: The sender's first message.
        watch: Hears of progress; None for nobody.
        threads: Size of the pool; None for what suits this machine.
        engine: What computes checksums, as in `Job`.

    Attributes:
        entries: How many entries have been compared.
    """

    def __init__(
        self,
        peer: Peer,
        ground: Ground,
        destination: Destination,
        tree: Tree,
        watch: Callable[[Progress], None] | None = None,
        *,
        threads: int | None = None,
        engine: str = "auto",
    ) -> None:
        self._peer = peer
        self._ground = ground
        self._tree = tree
        self._watch = watch
        self._directories = Directories(ground)
        self._deletions = Deletions(ground)
        self._changes = Changes(ground, destination, self._deletions)
        self._links = Links(ground, self._deletions)
        self._pool = Pool(threads, peer.wake)
        self._bases = Bases(ground, peer, self._pool, engine)
        self._arrivals = Arrivals(ground, self._links, self._deletions, self._bases, self._pool, remembers=tree.live)
        self._decisions = Decisions(ground, tree, destination, self._directories, self._deletions, self._links, self._arrivals, self._bases)
        self._presumed = Presumed()
        self._chunks = self.entries = 0
        self._files = self._file_bytes = 0
        self._settled_files = self._settled_bytes = 0
        self._literal_bytes = 0
        self._end: EntriesEnd | None = None
        self._done: SenderDone | None = None
        self._told_at = 0.0

    def run(self) -> None:
        """Receive everything.

        Raises:
            DeltasyncError: The session failed; what is done stays, and large files that had begun are kept for a later run.
        """
        with self._held():
            self._receive()
            self._peer.send(self._counts)
            done = self.next()
            if not isinstance(done, SenderDone):
                raise RemoteProtocolError(f"the peer sent {type(done).__name__} when everything was done")
            self._done = done
            self._tell(last=True)

    def run_round(self, number: int) -> ReceiverDone:
        """Receive one round of a live session, and say that it is in place; returns what was done in it.

        Raises:
            DeltasyncError: As `run`.
        """
        with self._held():
            self._receive()
            done = self._counts
            self._peer.send(RoundDone(number, packed("I", self._changes.not_renamed), done))
            return done

    def _receive(self) -> None:
        while self._end is None or self._arrivals.busy or self._presumed.busy:
            self._work()
        self._finish()
        self._ground.reporter.flush()

    @contextmanager
    def _held(self) -> Generator[None]:
        """Let go of everything in the end; what has come of large files stays for a later run if that is early."""
        try:
            yield
        except DeltasyncError:
            self._arrivals.close(keep_partials=True)
            self._directories.settle()
            # A user at the far end may hear nothing any more.
            with suppress(DeltasyncError):
                self._ground.lines.close()
            raise
        finally:
            self._arrivals.close(keep_partials=True)
            self._bases.close()
            self._pool.close()
            self._decisions.close()

    @property
    def tally(self) -> Tally:
        """What is counted so far; before the sender has told, of its content that which has come."""
        sent = self._done or SenderDone(self._files, self._file_bytes, self._literal_bytes)
        return Tally(self.entries + self._tree.whole, sent, self._counts)

    @property
    def _counts(self) -> ReceiverDone:
        counts = self._ground.counts
        return ReceiverDone(
            counts.files_written,
            counts.entries_changed,
            counts.files_deleted,
            counts.matched_bytes,
            counts.resent_whole,
            counts.modes["clone"],
            counts.modes["stage"],
            counts.modes["inplace"],
        )

    def _work(self) -> None:
        """Do the one thing that is due."""
        message = self._peer.receive(until=self._ready)
        if message is None:
            self._bases.advance()
            self._arrivals.advance()
            return
        if not self._ground.reporter.take(message):
            self._take(message)
        if self._ready():
            self._bases.advance()
            self._arrivals.advance()

    def _ready(self) -> bool:
        return self._arrivals.ready or self._bases.ready

    def next(self) -> Message:
        """Wait for the next message that is no report."""
        while True:
            message = self._peer.receive()
            assert message is not None
            if not self._ground.reporter.take(message):
                return message

    def _take(self, message: Message) -> None:
        if self._presumed.passes_over(message):
            return
        arrivals = self._arrivals
        match message:
            case Announced():
                self._presumed.announce(message)
            case Entries():
                self._compare(message)
            case Pack():
                self._literal_bytes += len(message.content)
                arrivals.pack(message)
            case FileData():
                self._literal_bytes += len(message.content)
                arrivals.data(message)
            case Same():
                arrivals.same(message)
            case FileBegin():
                arrivals.begin(message)
            case FileZeros():
                arrivals.zeros(message)
            case FileCopy():
                arrivals.copy(message)
            case Gaps():
                self._bases.fine(message)
            case FileEnd():
                arrivals.end(message)
            case FileAbort():
                arrivals.abort(message)
            case Renames():
                self._changes.rename(message)
            case Gone():
                self._changes.remove(message)
            case Owners():
                self._learn(message)
            case EntriesEnd():
                if message.entries != self.entries:
                    raise RemoteProtocolError("the peer sent another number of entries than it says")
                self._end = message
                self._decisions.end()
                for batch in self._decisions.elect():
                    self._peer.send(WantDeferred(packed("Q", batch)))
                self._ground.reporter.flush()
            case _:
                raise RemoteProtocolError(f"the peer sent {type(message).__name__} to a receiver")
        self._tell()

    def _learn(self, message: Owners) -> None:
        try:
            self._ground.users.learn(message.users)
            self._ground.groups.learn(message.groups)
        except ValueError as error:
            raise RemoteProtocolError(f"the peer sent {error}") from error

    def _compare(self, message: Entries) -> None:
        """Compare a chunk with the destination, do what can be done at once, and ask for the contents that are needed."""
        try:
            sections = unpack_sections(message.chunk)
        except ValueError as error:
            raise RemoteProtocolError(f"the peer sent malformed entries: {error}") from error
        entries = sum(section.rows.entry_count for section in sections)
        if entries > MAX_CHUNK_ENTRIES:
            raise RemoteProtocolError("the peer sent a chunk of too many entries")
        presumed = self._presumed.of_chunk(self.entries, entries)
        self._bases.presume(presumed)
        whole: array[int] = array("I")
        deferred: array[int] = array("I")
        delta: array[int] = array("I")
        had: list[tuple[int, bytes]] = []
        offset = 0
        for section in sections:
            self._count(section)
            wanted = self._decisions.section(section, self.entries + offset)
            sizes = column("Q", section.rows.sizes)
            needed = (*wanted.whole, *wanted.deferred, *wanted.delta)
            self._settled_files -= len(needed)
            self._settled_bytes -= sum(sizes[index] for index in needed)
            whole.extend(offset + index for index in wanted.whole)
            deferred.extend(offset + index for index in wanted.deferred)
            delta.extend(offset + index for index in wanted.delta)
            had += [(offset + index, digest) for index, digest in wanted.had]
            offset += section.rows.entry_count
        taken = self._bases.taken()
        self._presumed.pass_over(presumed.keys() - {*taken})
        fitting = packed("I", sorted(file_id - self.entries for file_id in taken))
        self.entries += offset
        self._ground.reporter.flush()
        known = packed("I", [index for index, _ in had]), b"".join([digest for _, digest in had])
        self._peer.send(Want(self._chunks, packed("I", whole), packed("I", deferred), packed("I", delta), *known, fitting))
        self._chunks += 1

    def _count(self, section: Section) -> None:
        files = sum(map(stat.S_ISREG, section.rows.mode_column()))
        self._files += files
        self._settled_files += files
        file_bytes = sum(column("Q", section.rows.sizes))
        self._file_bytes += file_bytes
        self._settled_bytes += file_bytes

    def _finish(self) -> None:
        """Do what had to wait for all contents."""
        assert self._end is not None
        if (self._end.read_errors or self._tree.missing) and not self._ground.settings.ignore_errors:
            self._deletions.held_back = "parts of the source could not be read"
            if self._ground.settings.delete:
                self._ground.reporter.note("nothing was deleted, since parts of the source could not be read")
        for whole, delta in self._decisions.take_up():
            self._peer.send(WantDeferred(packed("Q", whole), packed("Q", delta)))
            while self._arrivals.busy:
                self._work()
        root = self._ground.root
        self._deletions.run()
        for batch in self._decisions.unblock():
            self._peer.send(WantDeferred(packed("Q", batch)))
            while self._arrivals.busy:
                self._work()
        self._links.settle(self._ground.policy(root.fd if root is not None else -1))
        self._deletions.conclude()
        self._deletions.clean()
        self._directories.settle()
        if self._ground.durable is not None:
            self._ground.durable.settle()
        self._bases.conclude()

    def _tell(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if self._watch is None or (now - self._told_at < TELL_EVERY_S and not last):
            return
        self._told_at = now
        link = self._peer.link
        self._watch(
            Progress(
                files_total=self._files,
                bytes_total=self._file_bytes,
                files_done=self._settled_files + self._links.spared_files + self._arrivals.files_done,
                bytes_done=self._settled_bytes + self._links.spared_bytes + self._arrivals.bytes_done,
                bytes_sent=link.bytes_sent + link.bytes_received,
                total_known=self._end is not None,
                current=b"" if last else self._arrivals.current,
            )
        )
