"""The sender of a live session: the tree first, then a round for each batch of marks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from deltasync._native.columns import column
from deltasync.detect.directory import Terms
from deltasync.detect.mirror import Mirror
from deltasync.detect.revisit import Revisit
from deltasync.detect.scan import Chunk, Departed, Packing, Scan
from deltasync.detect.sources import Sources
from deltasync.detect.worklist import Batch, Dirty, Mark
from deltasync.engine.holdings import Holdings
from deltasync.engine.job import Job
from deltasync.engine.peer import Peer
from deltasync.engine.progress import Progress
from deltasync.engine.reporter import Reporter
from deltasync.engine.sender import Sender
from deltasync.engine.tally import Tally
from deltasync.errors import RemoteProtocolError
from deltasync.fs.owners import OwnerNames, group_name, user_name
from deltasync.tree.names import split
from deltasync.wire.messages import MAX_PATHS, Gone, Message, ReceiverDone, Renames, Round, RoundDone, SenderDone

__all__ = ["LiveSender", "RoundResult"]

MAX_FOLLOWED = 256
"""Of so many entries that the peer did not rename it is found out how they were renamed further; more show when all is looked at."""

Entered = Callable[[Sources, int, bytes, int], bytes | None]


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What a round has come to.

    Attributes:
        tally: Its counts.
        sent_at: When everything had been sent, by the monotonic clock.
        applied_at: When the peer had said that everything is in place.
        again: Paths that could not be renamed, to be listed anew.
        lost: What the peer still has in their old places.
        search: Whether all has to be listed.
        vanished: Directories to be looked for again in a moment.
        differing: Directories that were listed and in which something had changed.
    """

    tally: Tally
    sent_at: float
    applied_at: float
    again: tuple[bytes, ...] = ()
    lost: tuple[bytes, ...] = ()
    search: bool = False
    vanished: tuple[tuple[bytes, dict[bytes, Mark]], ...] = ()
    differing: tuple[bytes, ...] = ()


class LiveSender:
    """Sends a tree, and what changes in it.

    Args:
        job: The job.
        entered: Hears of each directory that is about to be listed.
        check: Raises what ends the session.
        watch: Hears of the progress of the tree.
        deletes: Whether what is gone is deleted at the peer.
        may_delete: Called before anything is said to be gone, with how much there was; raises what forbids it.
    """

    def __init__(
        self,
        job: Job,
        entered: Entered,
        check: Callable[[], None],
        watch: Callable[[Progress], None],
        *,
        deletes: bool,
        may_delete: Callable[[int], None],
    ) -> None:
        self.mirror = Mirror()
        self._before: Mirror | None = None
        self._job = job
        self._entered = entered
        self._check = check
        self._watch = watch
        self._deletes = deletes
        self._told_may_delete = may_delete
        self._owners = OwnerNames(user_name), OwnerNames(group_name)
        self._number = 0
        settings = job.settings
        self._holdings = None if settings.whole_file or settings.block_bytes or settings.dry_run else Holdings()

    def _may_delete(self) -> None:
        self._told_may_delete(self.entries)

    @property
    def entries(self) -> int:
        """How many entries the peer holds, as far as that is known."""
        return max(len(self.mirror), 0 if self._before is None else len(self._before))

    def forget(self) -> None:
        """Forget what the peer holds: the sources are others now, and nothing is deleted for what they lack."""
        self.mirror, self._before = Mirror(), None

    def tree(self, sources: Sources) -> Sender:
        """Return what sends the tree: `scan_ahead` before the peer is there, then `send_tree`."""
        if self._before is None:
            self._before = self.mirror
        else:
            self._before.owe(self.mirror)
        self.mirror = Mirror()
        self._number = 0
        self._owners = OwnerNames(user_name), OwnerNames(group_name)
        return self._sender(sources, lambda terms: Scan(terms, Packing(self.mirror.record)), self._watch)

    def _sender(
        self, sources: Sources, listing: Callable[[Terms], Iterator[Chunk | Departed] | Scan], watch: Callable[[Progress], None] | None
    ) -> Sender:
        job = self._job
        return Sender(
            sources,
            job.settings,
            watch,
            self._check,
            threads=job.threads,
            engine=job.engine,
            listing=listing,
            owners=self._owners,
            linked=self.mirror.link,
            saw=self.mirror.saw,
            holdings=self._holdings,
            entered=lambda index, path, fd: self._entered(sources, index, path, fd),
        )

    def send_tree(self, sender: Sender, peer: Peer, reporter: Reporter) -> RoundResult:
        """Send the tree.

        Raises:
            DeltasyncError: The session failed.
        """
        result = self._result(sender, sender.run_tree(peer, reporter), ())
        lost = tuple(self._before.lost(self.mirror)) if self._before is not None and self._deletes else ()
        # What rules in files leave out since is not gone.
        changing = [selection for selection in sender.for_peer if selection.changes]
        lost = tuple(path for path in lost if not any(selection.left_out(path) for selection in changing))
        if lost:
            self._may_delete()
        # Should the connection break before they were said to be gone, they are still owed.
        self.mirror.owed += lost
        self._before = None
        return replace(result, lost=lost)

    def send_round(self, sources: Sources, batch: Batch, peer: Peer, reporter: Reporter, lost: Sequence[bytes] = ()) -> RoundResult:
        """Send what has changed in the places of a batch.

        Args:
            sources: The sources, opened for this round.
            batch: The places.
            peer: The session.
            reporter: Hears of problems.
            lost: What the peer had of an earlier session and the source has no more.

        Raises:
            DeltasyncError: The session failed.
        """
        self._number += 1
        revisits: list[Revisit] = []

        def listing(terms: Terms) -> Iterator[Chunk | Departed]:
            revisit = Revisit(
                terms, self.mirror, batch, deletes=self._deletes, clock_offset_s=time.time() - time.monotonic(), may_delete=self._may_delete
            )
            revisits.append(revisit)
            return iter(revisit)

        sender = self._sender(sources, listing, None)
        renames = revisits[0].renames
        opening: list[Message] = [Round(self._number)]
        opening += [Renames(tuple(renames[at : at + MAX_PATHS])) for at in range(0, len(renames), MAX_PATHS)]
        opening += [Gone(tuple(lost[at : at + MAX_PATHS])) for at in range(0, len(lost), MAX_PATHS)]
        if self._holdings is not None:
            for old, new in renames:
                self._holdings.renamed(old, new)
        result = self._result(sender, sender.run_round(peer, reporter, opening), renames)
        return replace(
            result, vanished=tuple(revisits[0].vanished), search=result.search or revisits[0].search, differing=tuple(revisits[0].differing)
        )

    def _result(self, sender: Sender, done: RoundDone, renames: Sequence[tuple[bytes, bytes]]) -> RoundResult:
        if done.number != self._number:
            raise RemoteProtocolError(f"the peer finished round {done.number} where round {self._number} was sent")
        try:
            failed = sorted(column("I", done.not_renamed))
            again = _whereabouts(renames, failed)
        except (ValueError, IndexError) as error:
            raise RemoteProtocolError("the peer did not rename what it was not told to rename") from error
        gone = tuple(self.mirror.owed)
        self.mirror.settle()
        lost = self._left_behind(_left(renames, failed), again, gone)
        return RoundResult(sender.tally, sender.sent_at, time.monotonic(), tuple(again), tuple(lost), len(failed) > MAX_FOLLOWED)

    def _left_behind(self, left: Sequence[bytes], again: Sequence[bytes], gone: Sequence[bytes]) -> list[bytes]:
        """Doubt what the peer did not rename; return what it may have where that was `left`, what is in a directory before it.

        What was said in the same round to be `gone` from the new places is still in the old ones.
        """
        lost: set[bytes] = set()
        for old, there in zip(left, again, strict=True):
            for path in [*self.mirror.paths(there), there]:
                self.mirror.doubt(path)
                lost.add(old + path[len(there) :])
            lost.update(old + path[len(there) :] for path in gone if path.startswith(there + b"/"))
        owed = sorted((path for path in lost if self.mirror.lacks(path)), key=lambda path: (-path.count(b"/"), path))
        self.mirror.owed += owed
        return owed

    def finish(self, peer: Peer, reporter: Reporter) -> None:
        """End the session in order.

        Raises:
            DeltasyncError: The session failed.
        """
        peer.send(SenderDone(0, 0, 0))
        message = peer.receive()
        while message is not None and reporter.take(message):
            message = peer.receive()
        if not isinstance(message, ReceiverDone):
            raise RemoteProtocolError(f"the peer sent {type(message).__name__} at the end of a live session")

    @staticmethod
    def anew(paths: Sequence[bytes], lost: Sequence[bytes], now: float) -> Batch:
        """Return a batch that has paths listed with all that is beneath them, and the times of those set in which others are deleted."""
        batch = Batch()
        for path in lost:
            batch.names.setdefault(split(path)[0], {})
        for path in paths:
            directory, name = split(path)
            batch.names.setdefault(directory, {})[name] = Dirty(Mark.LOOK | Mark.WRITTEN | Mark.TREE, now, now)
        return batch


def _left(renames: Sequence[tuple[bytes, bytes]], failed: Sequence[int]) -> list[bytes]:
    """Return where the peer has what it did not rename: in its old place, unless it took it from there for what was renamed later."""
    places: dict[int, bytes] = {}
    numbers = {*failed}
    for at, (old, new) in enumerate(renames):
        if at in numbers:
            places[at] = old
            continue
        for other, path in [*places.items()] if len(places) <= MAX_FOLLOWED else []:
            if path == old or path.startswith(old + b"/"):
                places[other] = new + path[len(old) :]
    return [places[at] for at in failed]


def _whereabouts(renames: Sequence[tuple[bytes, bytes]], failed: Sequence[int]) -> list[bytes]:
    """Return where the entries of some renames, given by their numbers in ascending order, are after all renames."""
    places: dict[int, bytes] = {}
    numbers = {*failed}
    for at, (old, new) in enumerate(renames):
        for other, path in [*places.items()] if len(places) <= MAX_FOLLOWED else []:
            if path == old or path.startswith(old + b"/"):
                places[other] = new + path[len(old) :]
        if at in numbers:
            places[at] = new
    return [places[at] for at in failed]
