"""`push --watch`: a full sync first, then what changes, over one connection that is made again whenever it breaks."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from deltasync._native import engine_name
from deltasync.channel.moving import MovingLink
from deltasync.detect.detector import Detector
from deltasync.detect.guard import Guard, Why
from deltasync.detect.sources import Sources
from deltasync.detect.worklist import Batch, Mark
from deltasync.engine.bulletin import Bulletin
from deltasync.engine.connecting import Connector
from deltasync.engine.handshake import ROUNDS, ask
from deltasync.engine.job import Job, Summary, channel_of
from deltasync.engine.latency import Latencies
from deltasync.engine.live import BatchDone, LiveObserver, Watched, WatchOptions
from deltasync.engine.live_reporter import LiveReporter
from deltasync.engine.live_sender import LiveSender, RoundResult
from deltasync.engine.marks import LOST_S, Marks
from deltasync.engine.peer import Peer
from deltasync.engine.polling import Schedule
from deltasync.errors import (
    ConnectionLost,
    DeltasyncError,
    ExitCode,
    Interrupted,
    RemoteProtocolError,
    SourceTrouble,
)
from deltasync.tree.names import join, split
from deltasync.wire.messages import Setup

if TYPE_CHECKING:
    pass

__all__ = ["Watch"]

SOURCE_POLL_S = 0.5
"""How often it is looked whether a source is back."""
BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0)
"""Waits before a broken connection is made again; the last one repeats."""
VANISHED_S = 0.01
"""How long a directory that is not in its place may need to show up in another."""
GRACE_S = 0.5
"""How long a round may go on when the user asks for the end."""


class _LateStop(threading.Event):
    """A stop for the session, set a moment after the user's: what is under way may come to its end."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop
        self._asked_at: float | None = None

    def is_set(self) -> bool:
        """Tell whether the session must end."""
        if not self._stop.is_set():
            return False
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        return time.monotonic() - self._asked_at > GRACE_S


class Watch:
    """The watch for one destination, over all the sessions that it takes.

    Args:
        job: What to push, and where.
        options: How changes are watched.
        observer: Hears of everything.
        stop: Set to end; it ends within a second.
        marks: What the events mark for this destination.
        detector: What watches the directories that are listed.
        latencies: Count how long files take until they have been sent, and until they are in place.
    """

    def __init__(
        self,
        job: Job,
        options: WatchOptions,
        observer: LiveObserver,
        stop: threading.Event,
        marks: Marks,
        detector: Detector,
        latencies: tuple[Latencies, Latencies],
    ) -> None:
        self._job = job
        self._observer = observer
        self._stop = stop
        self._marks = marks
        self._schedule = Schedule(detector, options.rescan_s, observer)
        self._told_overflow = False
        self._bulletin = Bulletin(observer.standing, options.alive_s, marks.__len__)
        self._began_at = time.monotonic()
        self._sender = LiveSender(job, detector.enter, self._check, observer.progress, deletes=options.deletes, may_delete=self._may_delete)
        self._reporter = LiveReporter(observer)
        self._total = Summary(channel=channel_of(job.remote), engine=engine_name() if job.engine == "auto" else job.engine)
        self._sent, self._applied = latencies
        self._attempts = self._batches = self._connections = 0
        self._told_down = False
        self._guard = Guard(job.sources, may_be_empty=job.settings.force_empty)
        self._guard.learn()

    def _check(self) -> None:
        self._bulletin.tell()
        if self._stop.is_set():
            raise Interrupted("interrupted")

    def run(self) -> Watched:
        """Watch until the end is asked for.

        Raises:
            DeltasyncError: What no further attempt can mend.
        """
        while not self._stop.is_set():
            try:
                self._await_source()
                self._session()
            except Interrupted:
                break
            except SourceTrouble:
                continue
            except DeltasyncError as error:
                if not self._may_pass(error):
                    self._observer.broken_off(self._total)
                    raise
                self._down(error)
        self._reporter.tell_rest(self._sender.mirror.lacks)
        done = replace(self._total, elapsed_s=time.monotonic() - self._began_at, exit_code=ExitCode.OK)
        return Watched(done, self._sent.figures(), self._applied.figures(), self._batches, max(self._connections - 1, 0))

    def _await_source(self) -> None:
        """Wait until the source is what it was; say so once."""
        paused = False
        while (verdict := self._guard.look(self._sender.entries)).why is not Why.NOTHING:
            if verdict.why is Why.REPLACED:
                self._observer.note(verdict.text)
                self._sender.forget()
                break
            self._bulletin.tell()
            if not paused:
                paused = True
                self._bulletin.set(state="paused")
                self._observer.paused(verdict.text)
            if self._stop.wait(SOURCE_POLL_S):
                raise Interrupted("interrupted")
        if paused:
            self._observer.note("the source is back")
        self._guard.learn()
        self._marks.ended = False

    def _may_delete(self, entries: int) -> None:
        verdict = self._guard.look(entries)
        if verdict.why is not Why.NOTHING:
            raise SourceTrouble(verdict.text)

    def _may_pass(self, error: DeltasyncError) -> bool:
        """Tell whether what ended a session may be mended by waiting: the peer is away, or, once it was in sync, has trouble of its own."""
        passing = {ExitCode.CONNECTION, ExitCode.TIMEOUT, ExitCode.INTERRUPTED}
        if self._schedule.mode:
            passing.add(ExitCode.LOCAL_IO)
        return error.exit_code in passing

    def _down(self, error: DeltasyncError) -> None:
        """Say once that the peer is away, and wait a while before it is tried again."""
        wait_s = BACKOFF_S[min(self._attempts, len(BACKOFF_S) - 1)]
        self._attempts += 1
        self._bulletin.set(state="away")
        if not self._told_down:
            self._told_down = True
            self._observer.connection("down", str(error))
        until = time.monotonic() + wait_s
        while (left_s := until - time.monotonic()) > 0 and not self._stop.wait(max(min(left_s, self._bulletin.left_s()), 0.0)):
            self._bulletin.tell()

    def _session(self) -> None:
        job = self._job
        sources = Sources(job.sources, recursive=job.settings.recursive)
        tree = self._sender.tree(sources)
        try:
            with self._connected(tree.scan_ahead) as peer:
                self._told_down = False
                self._connections += 1
                self._observer.connection("up", "")
                self._bulletin.set(state="syncing", reconnects=max(self._connections - 1, 0))
                self._marks.wakes(peer.wake)
                try:
                    result = self._sender.send_tree(tree, peer, self._reporter)
                finally:
                    sources.close()
                self._attempts = 0
                self._count(result)
                self._try_again(Batch())
                if result.lost:
                    self._round(peer, LiveSender.anew((), result.lost, 0.0), result.lost)
                self._schedule.scanned()
                self._schedule.tell(anew=True)
                self._bulletin.set(state="watching", mode=self._schedule.mode)
                self._rounds(peer)
                self._sender.finish(peer, self._reporter)
                peer.finish()
        finally:
            tree.close()
            sources.close()

    @contextmanager
    def _connected(self, meanwhile: Callable[[], bool]) -> Generator[Peer]:
        job = self._job
        setup = Setup(True, (job.dest,), job.settings)
        late = _LateStop(self._stop)
        with Connector(job.remote, timeout_s=job.settings.timeout_s or None, data=job.data, e2e=job.e2e) as connector:
            while not connector.settled(0.0) and meanwhile():
                pass
            while not connector.settled(0.1):
                self._check()
            connection = connector.result()
            try:
                peer = ask(connection.link, setup, late, meanwhile, connection.data)
                try:
                    if ROUNDS not in peer.features:
                        raise RemoteProtocolError("the deltasync at the far end can't watch; install a newer one there")
                    yield peer
                except DeltasyncError as error:
                    if not isinstance(error, ConnectionLost):
                        peer.say_why(error.exit_code, str(error))
                    raise
                finally:
                    peer.close()
            except DeltasyncError as error:
                explained = connection.explain(error)
                if explained is error:
                    raise
                raise explained from error
            finally:
                link = connection.link
                sums = {"bytes_sent": link.bytes_sent, "bytes_received": link.bytes_received}
                if isinstance(link, MovingLink) and link.moved:
                    self._total = replace(self._total, channel="ssh+tcp")
                self._total = replace(
                    self._total, cipher=link.cipher, **{name: getattr(self._total, name) + more for name, more in sums.items()}
                )

    def _rounds(self, peer: Peer) -> None:
        """Send what is marked, batch by batch, until the end is asked for."""
        while not self._stop.is_set():
            message = peer.idle(self._left_s)
            self._bulletin.tell()
            if message is not None:
                if not self._reporter.take(message):
                    raise RemoteProtocolError(f"the peer sent {type(message).__name__} while nothing was under way")
                continue
            if self._marks.ended:
                self._marks.ended = False
                self._may_delete(self._sender.entries)
            batch = self._marks.take()
            if batch is not None:
                self._round(peer, batch, ())
            self._look_unasked(peer)
            self._schedule.tell()
            self._bulletin.set(mode=self._schedule.mode)
            self._bulletin.tell()

    def _left_s(self) -> float:
        if self._stop.is_set() or self._marks.ended:
            return 0.0
        return min(self._marks.left_s(), self._schedule.left_s(), self._bulletin.left_s())

    def _look_unasked(self, peer: Peer) -> None:
        """Poll what is to be polled, and look at the whole tree when it is time."""
        if self._marks.overflows and not self._told_overflow:
            self._told_overflow = True
            self._observer.note("changes came faster than the kernel keeps them, so the whole tree was looked at; nothing is missed")
        if self._schedule.rescan_due():
            found = self._round(peer, Batch(everything=time.monotonic()), ()).tally.summary()
            self._schedule.scanned()
            missed = found.entries_changed + found.files_deleted
            if missed:
                self._observer.note(f"a look at the whole tree found {missed:,} changes that no event had told of")
        began_at, began_cpu_s = time.monotonic(), time.thread_time()
        directories = self._schedule.poll()
        if directories:
            result = self._round(peer, Batch(directories=dict(directories)), ())
            self._schedule.polled([*directories], result.differing, began_at, time.thread_time() - began_cpu_s)
            self._schedule.forget(path for path in directories if self._sender.mirror.directory(path) is None)

    def _round(self, peer: Peer, batch: Batch, lost: tuple[bytes, ...]) -> RoundResult:
        """Send one batch."""
        job = self._job
        sources = Sources(job.sources, recursive=job.settings.recursive)
        try:
            result = self._sender.send_round(sources, batch, peer, self._reporter, lost)
        except DeltasyncError:
            self._marks.give_back(batch)
            raise
        finally:
            sources.close()
        self._count(result)
        self._try_again(batch)
        self._measure(batch, result)
        if result.search:
            self._marks.doubt_everything(LOST_S)
        for directory, names in result.vanished:
            self._marks.mark(*split(directory), Mark.LOOK, VANISHED_S)
            for name, mark in names.items():
                self._marks.mark_again(join(directory, name), mark, VANISHED_S)
        if result.again or result.lost:
            self._round(peer, LiveSender.anew(result.again, result.lost, time.monotonic()), result.lost)
        return result

    def _try_again(self, batch: Batch) -> None:
        """Mark what failed, to be looked at in a while."""
        failed = self._reporter.failed()
        paths = {path for path, _ in failed}
        for directory, names in batch.names.items():
            for path in {join(directory, name) for name in names} - paths:
                self._reporter.succeeded(path)
        for path, wait_s in failed:
            if path not in (b"", b"."):
                # Where a directory failed, what is in it was passed over without a word.
                self._sender.mirror.doubt(path, beneath=True)
                self._marks.mark_again(path, Mark.LOOK | Mark.WRITTEN | Mark.TREE, wait_s)

    def _count(self, result: RoundResult) -> None:
        total, done = self._total, result.tally.summary()
        # What was considered is what the first sync considered: rounds look at some of it again.
        considered = {name: getattr(total, name) or getattr(done, name) for name in ("files_total", "bytes_total")}
        self._total = replace(done.after(total), channel=total.channel, engine=total.engine, cipher=total.cipher, **considered)
        self._bulletin.set(files=self._total.files_sent)

    def _measure(self, batch: Batch, result: RoundResult) -> None:
        """Count how long the files of a batch took, and tell of it if it changed anything."""
        done = result.tally.summary()
        if not (done.entries_changed or done.files_deleted):
            return
        self._batches += 1
        seen = [
            dirty.seen_at
            for names in batch.names.values()
            for dirty in names.values()
            if dirty.seen_at < math.inf and dirty.mark & Mark.WRITTEN
        ]
        for seen_at in seen:
            self._sent.add(result.sent_at - seen_at)
            self._applied.add(result.applied_at - seen_at)
        offset_s = time.time() - time.monotonic()
        detected_at = min(seen, default=result.sent_at)
        changes = done.entries_changed + done.files_deleted
        applied_at = result.applied_at + offset_s
        self._bulletin.set(batches=self._batches, last_at=applied_at, last_changes=changes, last_s=result.applied_at - detected_at)
        self._observer.batch(BatchDone(done, detected_at + offset_s, result.sent_at + offset_s, applied_at))
