"""One push or pull over one connection, from the first message to the sum."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from deltasync._native import engine_name
from deltasync.channel.stream import Link
from deltasync.detect.sources import Sources
from deltasync.engine.connecting import Connection, Connector
from deltasync.engine.destination import open_destination
from deltasync.engine.handshake import ask, opening
from deltasync.engine.job import Job, Observer, Summary
from deltasync.engine.peer import Peer
from deltasync.engine.receiver import Receiver
from deltasync.engine.reporter import LocalReporter, reason
from deltasync.engine.sender import Sender
from deltasync.engine.serve import make_ground
from deltasync.errors import ConnectionLost, DeltasyncError, ExitCode, Interrupted, RemoteProtocolError, worst
from deltasync.tree.names import shown
from deltasync.tree.sources import top_names
from deltasync.wire.messages import Setup, Tree

__all__ = ["Transfer"]


class Transfer:
    """One attempt at a job.

    Args:
        job: What to do.
        observer: Hears of items, problems and progress.
        stop: Set to end the run.
        connector: The connection that is being made.
        began_at: When the run began, by the monotonic clock.
    """

    def __init__(self, job: Job, observer: Observer, stop: threading.Event, connector: Connector, began_at: float) -> None:
        self._job = job
        self._observer = observer
        self._stop = stop
        self._connector = connector
        self._began_at = began_at
        self._reporter = LocalReporter(observer)
        self.sent = self.received = 0
        self._cipher = "none"

    def run(self) -> Summary:
        """Do it.

        Raises:
            DeltasyncError: The run as a whole failed; what had been done stays.
        """
        return self._push() if self._job.direction == "push" else self._pull()

    def _push(self) -> Summary:
        job = self._job
        sources = Sources(job.sources, recursive=job.settings.recursive)
        try:
            if not sources.roots and sources.missing:
                for path, error in sources.missing:
                    self._reporter.problem(path, reason(error, "this source can't be sent"))
                return self._summary(Summary())
            sender = Sender(sources, job.settings, self._observer.progress, self._check, threads=job.threads, engine=job.engine)
            connection = self._connect(sender.scan_ahead)
            peer = self._ask(connection, Setup(True, (job.dest,), job.settings), sender.scan_ahead)
            with _Session(self, peer, connection):
                done = sender.run(peer, self._reporter)
        finally:
            sources.close()
        return self._summary(
            Summary(
                files_total=sender.entries + sources.whole,
                files_sent=done.files_written,
                entries_changed=done.entries_changed,
                files_deleted=done.files_deleted,
                bytes_total=sender.file_bytes,
                literal_bytes=sender.literal_bytes,
                matched_bytes=done.matched_bytes,
                resent_whole=done.resent_whole,
                update_modes={"clone": done.cloned, "stage": done.staged, "inplace": done.in_place},
            )
        )

    def _pull(self) -> Summary:
        job = self._job
        connection = self._connect(lambda: False)
        peer = self._ask(connection, Setup(False, job.sources, job.settings), lambda: False)
        with _Session(self, peer, connection):
            tree = self._tree(peer)
            destination = open_destination(job.dest, tree, job.settings)
            try:
                ground = make_ground(destination.root, job.settings, self._reporter, peer.check, to_remote=False)
                receiver = Receiver(peer, ground, destination, tree, self._observer.progress, threads=job.threads, engine=job.engine)
                done = receiver.run()
            finally:
                if destination.root is not None:
                    destination.root.close()
        counts = ground.counts
        return self._summary(
            Summary(
                files_total=receiver.entries + tree.whole,
                files_sent=counts.files_written,
                entries_changed=counts.entries_changed,
                files_deleted=counts.files_deleted,
                bytes_total=done.bytes_total,
                literal_bytes=done.literal_bytes,
                matched_bytes=counts.matched_bytes,
                resent_whole=counts.resent_whole,
                update_modes={"clone": 0, "stage": ground.staged, "inplace": 0},
            )
        )

    def _tree(self, peer: Peer) -> Tree:
        """Take the sender's first message, and refuse a tree that is not what was asked for."""
        tree = opening(peer, self._reporter.take)
        if not set(tree.tops) <= set(top_names(self._job.sources)):
            raise RemoteProtocolError("the peer sends another tree than was asked for")
        return tree

    def _check(self) -> None:
        if self._stop.is_set():
            raise Interrupted("interrupted")

    def _connect(self, meanwhile: Callable[[], bool]) -> Connection:
        """Wait for the connection, doing something useful as long as there is anything."""
        while not self._connector.settled(0.0) and meanwhile():
            pass
        while not self._connector.settled(0.1):
            if self._stop.is_set():
                raise Interrupted("interrupted")
        return self._connector.result()

    def _ask(self, connection: Connection, setup: Setup, meanwhile: Callable[[], bool]) -> Peer:
        self._cipher = connection.link.cipher
        try:
            return ask(connection.link, setup, self._stop, meanwhile)
        except DeltasyncError as error:
            self.count(connection.link)
            raise connection.explain(error) from error

    def count(self, link: Link) -> None:
        """Add a link's bytes to those of the run."""
        self.sent += link.bytes_sent
        self.received += link.bytes_received

    def pass_on(self, connection: Connection) -> None:
        """Tell the user what ssh or the far end wrote to standard error."""
        for line in connection.heard:
            self._observer.note(f"{self._job.remote}: {shown(line)}")

    def _summary(self, counted: Summary) -> Summary:
        return replace(
            counted,
            bytes_sent=self.sent,
            bytes_received=self.received,
            problems=tuple(self._reporter.problems),
            elapsed_s=time.monotonic() - self._began_at,
            channel="local" if self._job.remote is None else "ssh",
            cipher=self._cipher,
            engine=engine_name() if self._job.engine == "auto" else self._job.engine,
            exit_code=worst(*self._reporter.codes, ExitCode.OK),
        )


class _Session:
    """One session from its first message to its end: finished when all went well, broken off with a word to the peer otherwise."""

    def __init__(self, owner: Transfer, peer: Peer, connection: Connection) -> None:
        self._owner = owner
        self._peer = peer
        self._connection = connection

    def __enter__(self) -> None:
        """Nothing is to be done."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Finish, or break off."""
        peer = self._peer
        try:
            if error is None:
                peer.finish()
            elif isinstance(error, DeltasyncError) and not isinstance(error, ConnectionLost):
                peer.say_why(error.exit_code, str(error))
        finally:
            self._owner.count(peer.link)
            peer.close()
            self._owner.pass_on(self._connection)
