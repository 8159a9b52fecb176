"""One push or pull over one connection, from the first message to the sum.

Of the two roles only that one is loaded which is needed, while the connection is being made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from deltasync._native import engine_name
from deltasync.channel.moving import MovingLink
from deltasync.engine.connecting import Connection, Connector
from deltasync.engine.handshake import ask, opening
from deltasync.engine.job import Job, Observer, Summary, channel_of
from deltasync.engine.peer import Peer
from deltasync.engine.reporter import LocalReporter, reason
from deltasync.engine.tally import NOTHING
from deltasync.errors import ConnectionLost, DeltasyncError, Interrupted, RemoteProtocolError, UsageError, worst
from deltasync.tree.filters import Filters
from deltasync.tree.names import shown
from deltasync.tree.sources import top_names
from deltasync.wire.messages import Setup, Tree

if TYPE_CHECKING:
    from deltasync.engine.receiver import Receiver
    from deltasync.engine.sender import Sender

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
        self._role: Sender | Receiver | None = None
        self._sender: Sender | None = None
        self._sent = self._received = 0
        self._cipher = "none"
        self._channel = channel_of(job.remote)

    def run(self) -> Summary:
        """Do it.

        Raises:
            UsageError: A filter rule is malformed.
            DeltasyncError: The run as a whole failed; what had been done stays.
        """
        try:
            filters = Filters.from_wire(self._job.settings.rules)
        except ValueError as error:
            raise UsageError(f"a filter rule is malformed: {error}") from error
        if self._job.direction == "push":
            self._push()
        else:
            self._pull(filters)
        return self.reached()

    def reached(self) -> Summary:
        """Return how far the attempt has come, by what this side knows: the sum of one that is complete, the remains of one that failed."""
        tally = NOTHING if self._role is None else self._role.tally
        return replace(
            tally.summary(),
            bytes_sent=self._sent,
            bytes_received=self._received,
            problems=tuple(self._reporter.problems),
            elapsed_s=time.monotonic() - self._began_at,
            channel=self._channel,
            cipher=self._cipher,
            engine=engine_name() if self._job.engine == "auto" else self._job.engine,
            exit_code=worst(*self._reporter.codes),
        )

    @property
    def deleted(self) -> int | None:
        """How many entries an attempt that broke has deleted; None if that may be any number, which only the far end knows."""
        if self._sender is not None:
            return None if self._sender.sent_all else 0
        return 0 if self._role is None else self._role.tally.receiver.files_deleted

    def _push(self) -> None:
        from deltasync.detect.sources import Sources
        from deltasync.engine.sender import Sender

        job = self._job
        sources = Sources(job.sources, recursive=job.settings.recursive, dirs=job.settings.dirs, relative=job.settings.relative)
        try:
            if not sources.roots and sources.missing:
                for path, error in sources.missing:
                    self._reporter.problem(path, reason(error, "this source can't be sent"))
                return
            sender = Sender(sources, job.settings, self._observer.progress, self._check, threads=job.threads, engine=job.engine)
            with closing(sender), self._session(Setup(True, (job.dest,), job.settings), sender.scan_ahead) as peer:
                self._role = self._sender = sender
                sender.run(peer, self._reporter)
        finally:
            sources.close()

    def _pull(self, filters: Filters) -> None:
        from deltasync.engine.receiver import Receiver
        from deltasync.engine.receiving import receiving

        job = self._job
        with self._session(Setup(False, job.sources, job.settings), lambda: False) as peer:
            tree = self._tree(peer)
            place = receiving(peer, tree, job.dest, job.settings, filters, self._reporter, to_remote=False, beneath=None)
            with place as (ground, destination):
                receiver = Receiver(peer, ground, destination, tree, self._observer.progress, threads=job.threads, engine=job.engine)
                self._role = receiver
                receiver.run()

    def _tree(self, peer: Peer) -> Tree:
        """Take the sender's first message, and refuse a tree that is not what was asked for."""
        tree = opening(peer, self._reporter.take)
        if not set(tree.tops) <= set(top_names(self._job.sources, relative=self._job.settings.relative)):
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

    @contextmanager
    def _session(self, setup: Setup, meanwhile: Callable[[], bool]) -> Generator[Peer]:
        """Give a session that has been agreed on; it is finished when all went well, and broken off with a word to the peer otherwise.

        Raises:
            DeltasyncError: There is no connection, or the session failed, in the words of who knows where the peer is.
        """
        connection = self._connect(meanwhile)
        self._cipher = connection.link.cipher
        try:
            peer = ask(connection.link, setup, self._stop, meanwhile, connection.data)
            try:
                yield peer
                peer.finish()
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
            if isinstance(connection.link, MovingLink) and connection.link.moved:
                self._channel = f"{self._channel}+tcp"
            self._sent, self._received = connection.link.bytes_sent, connection.link.bytes_received
            for line in connection.heard:
                self._observer.note(f"{self._job.remote}: {shown(line)}")
