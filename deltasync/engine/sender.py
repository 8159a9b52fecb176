"""The sender's control loop: chunks of the scan out, wants in, contents out; whatever is ready first."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from deltasync._native import choose
from deltasync._native.columns import column, packed
from deltasync.detect.directory import Terms
from deltasync.detect.scan import Chunk, Departed, Scan
from deltasync.detect.sources import Sources
from deltasync.engine.contents import Contents
from deltasync.engine.deltas import Deltas
from deltasync.engine.hashes_ahead import HashesAhead
from deltasync.engine.holdings import Holdings
from deltasync.engine.outflow import Outflow, Saw, effective_compression
from deltasync.engine.peer import Peer
from deltasync.engine.pool import Pool
from deltasync.engine.progress import Progress
from deltasync.engine.reading import digest_at
from deltasync.engine.reporter import Reporter, reason
from deltasync.engine.tally import Tally
from deltasync.engine.wants import Answer, OpenChunks
from deltasync.errors import ExitCode, RemoteProtocolError
from deltasync.fs.owners import OwnerNames, group_name, user_name
from deltasync.fs.selection import Selection
from deltasync.tree.filters import Filters
from deltasync.tree.merging import flat, items_from_wire
from deltasync.tree.names import shown
from deltasync.tree.rows import NO_DIGEST
from deltasync.tree.rules import Side
from deltasync.wire.messages import (
    MAX_OPEN_CHUNKS,
    Applied,
    Entries,
    EntriesEnd,
    Gone,
    Message,
    Owners,
    Presumed,
    ReceiverDone,
    RoundDone,
    SenderDone,
    Signature,
    Tree,
    Want,
    WantDeferred,
    WantWhole,
)
from deltasync.wire.settings import Settings

__all__ = ["Sender"]

LIST_AHEAD_FILES = 4096
"""While more files than this are wanted, contents go before further listing, so that what waits stays bounded."""
READY_CHUNKS = 64
"""How much is looked at before the peer is there: some 130,000 entries, about 8 MiB, which is what SSH leaves time for."""
TELL_EVERY_S = 0.05


class Sender:
    """Sends a tree to the peer.

    Args:
        sources: The opened sources.
        settings: The options.
        watch: Hears of progress; None for nobody.
        check: Called again and again while something takes long; raises what ends the session.
        threads: Size of the pool; None for what suits this machine.
        engine: What computes checksums, as in `Job`.
        listing: What lists the tree, or what a round of a live session has to list of it.
        owners: The names of users and groups that the peer has been told already; None for none.
        entered, linked: As in `Terms`.
        saw: As in `Outflow`.
        holdings: What is remembered of what the peer has; None for nothing.

    Attributes:
        entries, files, file_bytes: What the scan has seen and sent.
        for_peer: What a peer with the same files of rules would not delete, for each source.
        sent_at: When it had nothing left to send, by the monotonic clock.
        sent_all: After a session that broke: whether the receiver may have had all it waited for, and have gone on to deletions.
    """

    def __init__(
        self,
        sources: Sources,
        settings: Settings,
        watch: Callable[[Progress], None] | None = None,
        check: Callable[[], None] = lambda: None,
        *,
        threads: int | None = None,
        engine: str = "auto",
        listing: Callable[[Terms], Iterable[Chunk | Departed]] = Scan,
        entered: Callable[[int, bytes, int], bytes | None] | None = None,
        linked: Callable[[bytes, int], object] | None = None,
        saw: Saw | None = None,
        owners: tuple[OwnerNames, OwnerNames] | None = None,
        holdings: Holdings | None = None,
    ) -> None:
        self._threads = threads
        self._saw = saw
        self._holdings = holdings
        self._engine = engine
        self.entries = self.files = self.file_bytes = 0
        self.sent_at = time.monotonic()
        self.sent_all = False
        self._sources = sources
        self._settings = settings
        self._watch = watch
        self._check = check
        self._early: list[tuple[bytes, str, ExitCode]] = []
        self._notes = [f"{shown(path)}: skipped, since it is a directory and --recursive is off" for path in sources.passed_over]
        self._read_errors = 0
        self.for_peer = [Selection.from_wire(settings.rules, Side.RECEIVER, place, settings.git_excludes) for place in sources.places]
        self._scan: Iterator[Chunk | Departed] | None = iter(
            listing(
                Terms(
                    sources,
                    [Selection.from_wire(settings.rules, Side.SENDER, place, settings.git_excludes) for place in sources.places],
                    self.for_peer,
                    self._scan_failed,
                    self._dropped,
                    recursive=settings.recursive or settings.dirs,
                    hard_links=settings.hard_links,
                    one_filesystem=settings.one_file_system,
                    kept_empty=_kept_empty(settings) if settings.prune_empty_dirs else None,
                    digest=self._digest if settings.checksum else None,
                    entered=entered,
                    linked=linked,
                )
            )
        )
        self._ready: deque[Chunk | Departed] = deque()
        self._ahead = HashesAhead(sources, threads)
        self._open = OpenChunks()
        self._users, self._groups = owners or (OwnerNames(user_name), OwnerNames(group_name))
        self._told_at = 0.0
        self._done: ReceiverDone | None = None
        self._round_done: RoundDone | None = None

    def scan_ahead(self) -> bool:
        """Look at a further piece of the tree, or of its large files, before the peer is there; False when enough is ready."""
        if self._scan is None:
            return self._ahead.advance()
        if len(self._ready) >= READY_CHUNKS:
            return False
        chunk = next(self._scan, None)
        if chunk is None:
            self._scan = None
            return self._ahead.advance()
        self._ready.append(chunk)
        if isinstance(chunk, Chunk):
            self._ahead.see(chunk)
        return True

    def close(self) -> None:
        """Let go of what was begun before the peer was there."""
        self._ahead.stop()

    def run(self, peer: Peer, reporter: Reporter) -> None:
        """Send everything that the peer wants.

        Raises:
            DeltasyncError: The session failed.
        """
        with self._held(peer, reporter):
            self._send_tree(live=False)
        peer.send(self.counts)
        self._tell(last=True)

    def run_tree(self, peer: Peer, reporter: Reporter) -> RoundDone:
        """Send the tree of a live session, which goes on.

        Raises:
            DeltasyncError: The session failed.
        """
        with self._held(peer, reporter):
            self._send_tree(live=True)
        self._tell(last=True)
        assert self._round_done is not None
        return self._round_done

    def run_round(self, peer: Peer, reporter: Reporter, opening: Iterable[Message]) -> RoundDone:
        """Send a further round of a live session, which begins with some messages.

        Raises:
            DeltasyncError: The session failed.
        """
        with self._held(peer, reporter):
            for message in opening:
                peer.send(message)
            self._send_all()
        assert self._round_done is not None
        return self._round_done

    @contextmanager
    def _held(self, peer: Peer, reporter: Reporter) -> Generator[None]:
        """Have what is needed while something is sent, and let go of it."""
        self._ahead.stop()
        sources, self._peer, self._reporter = self._sources, peer, reporter
        self._out = Outflow(peer, self._settings, reporter, self._saw)
        pool = Pool(self._threads, peer.wake)
        self._contents = Contents(peer, sources, self._out, pool, self._holdings, partial(choose, self._engine))
        two_rounds = not self._settings.block_bytes
        self._deltas = Deltas(
            peer,
            sources,
            self._out,
            pool,
            self._engine,
            self._ahead.leaves,
            self._contents.want,
            two_rounds=two_rounds,
            holdings=self._holdings,
        )
        try:
            yield
        finally:
            self.sent_all = self._scan is None and not self._ready and not self._contents.busy and not self._deltas.sending
            self._deltas.close()
            self._contents.close()
            pool.close()

    def _send_tree(self, *, live: bool) -> None:
        sources = self._sources
        for path, error in sources.missing:
            self._read_errors += 1
            self._early.append((path, reason(error, "this source can't be sent"), ExitCode.PARTIAL))
        self._peer.send(Tree(sources.whole, sources.tops, sources.lone, len(sources.missing), live))
        self._send_all()

    def _send_all(self) -> None:
        while self._done is None:
            self._work()

    @property
    def tally(self) -> Tally:
        """What is counted so far, from `run` on; before the receiver has told, a file that was sent counts as changed."""
        sent = self._out.files_sent
        return Tally(self.entries + self._sources.whole, self.counts, self._done or ReceiverDone(sent, sent, 0, 0, 0, 0, 0, 0))

    @property
    def counts(self) -> SenderDone:
        """What this side counts."""
        return SenderDone(self.files, self.file_bytes, self._out.literal_bytes)

    def _work(self) -> None:
        """Do the one thing that is due."""
        if self._early or self._notes:
            self._report_early()
        message = self._peer.receive(wait=False)
        contents = self._contents
        if message is not None:
            self._take(message)
        elif self._deltas.ready:
            self._deltas.advance()
        elif contents.busy and (contents.streaming or contents.waiting >= LIST_AHEAD_FILES or len(self._open) > 2 or not self._may_list()):
            contents.advance()
        elif self._may_list():
            self._list()
        else:
            self._reporter.flush()
            self.sent_at = time.monotonic()
            answer = self._peer.receive(until=lambda: self._deltas.ready)
            if answer is not None:
                self._take(answer)
        self._tell()

    def _take(self, message: Message) -> None:
        if isinstance(message, Want):
            self._want(self._open.answer(message))
        elif isinstance(message, WantDeferred):
            self._want(self._open.deferred(message))
        elif isinstance(message, Signature):
            self._deltas.signature(message)
        elif isinstance(message, Applied):
            self._deltas.applied(_ids(message.ids))
        elif isinstance(message, WantWhole):
            self._deltas.whole(_ids(message.ids))
        elif isinstance(message, (ReceiverDone, RoundDone)):
            if self._scan is not None or self._ready or len(self._open) or self._contents.busy or self._deltas.busy:
                raise RemoteProtocolError("the peer was done before it had everything")
            self._open.conclude()
            self._done = message if isinstance(message, ReceiverDone) else message.done
            self._round_done = message if isinstance(message, RoundDone) else None
        elif not self._reporter.take(message):
            raise RemoteProtocolError(f"the peer sent {type(message).__name__} to a sender")

    def _want(self, answer: Answer) -> None:
        self._deltas.answer(answer.taken, answer.refused)
        self._contents.want(answer.whole)
        self._deltas.want(answer.delta)

    def _may_list(self) -> bool:
        return (self._scan is not None or bool(self._ready)) and len(self._open) < MAX_OPEN_CHUNKS

    def _list(self) -> None:
        """Send the next chunk; after the last one say that it was."""
        chunk = self._ready.popleft() if self._ready else next(self._scan, None) if self._scan is not None else None
        if chunk is None:
            self._scan = None
        elif isinstance(chunk, Departed):
            self._peer.send(Gone(chunk.paths))
        else:
            self._send_chunk(chunk)
        if self._scan is None and not self._ready:
            self._peer.send(EntriesEnd(self.entries, self._read_errors))

    def _send_chunk(self, chunk: Chunk) -> None:
        if not self._settings.numeric_ids:
            self._send_owners(chunk)
        presumed = self._holdings.among(chunk, self.entries) if self._holdings is not None else []
        if presumed:
            digests = b"".join([known.holding.digest for known in presumed])
            self._peer.send(Presumed(packed("I", [known.at for known in presumed]), digests))
        self._open.add(chunk, [known.wanted.file_id for known in presumed])
        self._peer.send(Entries(chunk.packed), squeeze=effective_compression(self._settings, self._peer.link) != "never")
        self._deltas.presume(presumed)
        self.entries += chunk.entries
        self.files += chunk.files
        self.file_bytes += chunk.file_bytes

    def _send_owners(self, chunk: Chunk) -> None:
        uids: set[int] = set()
        gids: set[int] = set()
        for section in chunk.sections:
            uids.update(column("I", section.rows.uids), (section.own.uid,))
            gids.update(column("I", section.rows.gids), (section.own.gid,))
        users, groups = self._users.news(uids), self._groups.news(gids)
        for at in range(0, max(len(users), len(groups)), 4096):
            self._peer.send(Owners(tuple(users[at : at + 4096]), tuple(groups[at : at + 4096])))

    def _scan_failed(self, path: bytes, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            self._early.append((path, "it vanished before it could be sent", ExitCode.VANISHED))
            return
        self._read_errors += 1
        self._early.append((path, reason(error, "it can't be read"), ExitCode.PARTIAL))

    def _dropped(self, path: bytes) -> None:
        self._notes.append(f"{shown(path)}: skipped, since names that begin with .deltasync~ are deltasync's own")

    def _report_early(self) -> None:
        """Pass on what the scan met; it may run before there is anyone to tell."""
        early, self._early = self._early, []
        for path, error, code in early:
            self._reporter.problem(path, error, code)
        notes, self._notes = self._notes, []
        for note in notes:
            self._reporter.note(note)

    def _digest(self, source: int, directory: bytes, name: bytes, size: int) -> bytes:
        try:
            with self._sources.roots[source].dir(directory) as lease:
                return digest_at(lease.fd, name, size, self._check)
        except (OSError, ValueError):
            # The file counts as different then, and reading it for the transfer gives the error its place among the problems.
            return NO_DIGEST

    def _tell(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if self._watch is None or (now - self._told_at < TELL_EVERY_S and not last):
            return
        self._told_at = now
        out, opened, link = self._out, self._open, self._peer.link
        self._watch(
            Progress(
                files_total=self.files,
                bytes_total=self.file_bytes,
                files_done=opened.files_settled + out.files_done,
                bytes_done=opened.bytes_settled + out.bytes_done,
                bytes_sent=link.bytes_sent + link.bytes_received,
                total_known=self._scan is None and not self._ready,
                current=b"" if last else out.current,
            )
        )


def _kept_empty(settings: Settings) -> Callable[[bytes], bool]:
    """Return what tells which directories are sent though they hold no file: those that rules protect at the receiver, as with rsync."""
    kept = Filters([rule for rule in flat(items_from_wire(settings.rules, Side.RECEIVER)) if rule.side is Side.RECEIVER])
    return lambda path: kept.excluded(path, True)


def _ids(ids: bytes) -> Sequence[int]:
    """Unpack ids.

    Raises:
        RemoteProtocolError: There are not whole ones.
    """
    try:
        return column("Q", ids)
    except ValueError as error:
        raise RemoteProtocolError(f"the peer sent malformed numbers of files: {error}") from error
