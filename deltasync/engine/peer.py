"""The peer as the control thread sees it: messages in, messages out, over a link; and the threads that stand behind that."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from deltasync.channel.moving import MovingLink
from deltasync.channel.stream import Link
from deltasync.engine.weights import weight
from deltasync.errors import ConnectionLost, DeltasyncError, Interrupted, LocalProtocolError, PeerFailure, RemoteProtocolError
from deltasync.tree.names import shown
from deltasync.wire.messages import DataAt, DataKey, Failure, Message, Moved, Ping
from deltasync.wire.session import Inbound, Outbound, Speaker

__all__ = ["Beside", "Peer"]

MAX_QUEUED_BYTES = 4 << 20
"""What waits for the control thread; beyond it the reader stops reading, and so the peer stops sending."""
MAX_BACKLOG_BYTES = 64 << 20
"""More than this waiting is a peer gone wild: the sender of a tree reads while it sends, whatever waits, or both sides would wait."""
STOP_GRACE_S = 0.25
BREAK_GRACE_S = 5.0
"""How long a peer that broke the session may take to read what was sent to it, and why it ends."""
POLL_S = 0.1
IDLE_POLL_S = 0.25
"""How often a session in which nothing happens looks whether it shall end."""
WATCH_S = 0.25


class Beside(Protocol):
    """What is agreed on beside the session's work: the connection that it moves to."""

    def take(self, message: DataKey | DataAt | Moved) -> None:
        """Take a message, on the thread that receives; raises `RemoteProtocolError` where it is not due."""

    def close(self) -> None:
        """End it."""


class Peer:
    """One session's two directions.

    A reader thread takes bytes from the link, opens them and queues messages; the control thread sends and takes. When `stop` is set,
    waiting ends with `Interrupted`, and a send that is stuck is broken off after a quarter of a second; after five seconds if the session
    is broken and the peer does not read.

    Args:
        link: The open link; closed by `close`.
        speaker: Whether this side connected.
        stop: Set to end the session from outside.
        ping_s: Send a sign of life when nothing was sent for so long; 0 for never.
        beside: Makes, from this, what takes the messages about a data connection; None where there can be none.

    Attributes:
        features: The optional features that are in force.
        software, engine: What the far end says that it is, and that it computes checksums with; empty until it has.
    """

    def __init__(
        self,
        link: Link,
        speaker: Speaker,
        stop: threading.Event,
        *,
        ping_s: float = 0.0,
        beside: Callable[[Peer], Beside] | None = None,
    ) -> None:
        other = Speaker.RESPONDER if speaker is Speaker.INITIATOR else Speaker.INITIATOR
        self.link = link
        self.stop = stop
        self.features: frozenset[str] = frozenset()
        self.software = self.engine = ""
        self.outbound = Outbound(speaker)
        self.inbound = Inbound(other)
        self._ping_s = ping_s
        self._sending = threading.Lock()
        self._sent_at = time.monotonic()
        self._queue: deque[Message | DeltasyncError | None] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._ended = self._broken = self._sends = False
        self._beside = None if beside is None else beside(self)
        self._threads = [
            threading.Thread(target=self._read, name="deltasync-reader", daemon=True),
            threading.Thread(target=self._watch, name="deltasync-watch", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def keep_alive(self, ping_s: float) -> None:
        """Send a sign of life from now on when nothing was sent for `ping_s` seconds."""
        self._ping_s = ping_s

    def take_role(self, *, sends: bool) -> None:
        """Say whether this side is the sender of the tree."""
        self._sends = sends
        self.outbound.take_role(sends=sends)
        self.inbound.take_role(sends=not sends)

    def send(self, message: Message, *, squeeze: bool = False) -> None:
        """Send a message.

        Raises:
            ConnectionLost, DeadlineExceeded: The link failed.
            Interrupted: `stop` is set and the link does not take anything.
            LocalProtocolError: The message may not be sent now.
        """
        with self._sending:
            parts = self.outbound.send(message, squeeze=squeeze)
            try:
                self.link.send(parts)
            except ConnectionLost:
                if self.stop.is_set():
                    raise Interrupted("interrupted") from None
                self._raise_last_words()
                raise
            self._sent_at = time.monotonic()

    def move(self, link: MovingLink) -> None:
        """Have what is sent from now on go over the other connection of this session's link, unless all has been said; raises as `send`."""
        with self._sending:
            if self.outbound.may_move:
                self.link.send(self.outbound.send(Moved()))
                link.move()

    def _raise_last_words(self) -> None:
        """Raise what the peer said before it closed the connection, if it said why."""
        deadline = time.monotonic() + STOP_GRACE_S
        with self._changed:
            while time.monotonic() < deadline:
                for message in self._queue:
                    if isinstance(message, Failure):
                        raise _as_error(message)
                    if isinstance(message, DeltasyncError):
                        raise message
                    if message is None:
                        return
                self._changed.wait(POLL_S)

    def wake(self) -> None:
        """Have whoever waits in `receive` look again at what it waits for; called by any thread."""
        with self._changed:
            self._changed.notify_all()

    def receive(self, *, wait: bool = True, until: Callable[[], bool] | None = None) -> Message | None:
        """Return the next message; without `wait`, None when there is none yet.

        With `until`, waiting also ends, and None is returned, when that is true; whoever makes it true calls `wake`.

        Raises:
            PeerFailure: The peer ended the session and said why.
            RemoteProtocolError, ConnectionLost, DeadlineExceeded: The session broke; a stream that ends early is `ConnectionLost`.
            Interrupted: `stop` is set.
        """
        if self.stop.is_set():
            raise Interrupted("interrupted")
        if not wait and not self._queue:
            return None
        with self._changed:
            while not self._queue:
                if self.stop.is_set():
                    raise Interrupted("interrupted")
                if until is not None and until():
                    return None
                self._changed.wait(POLL_S)
            message = self._queue[0]
            if message is None or isinstance(message, DeltasyncError):
                if self.stop.is_set():
                    raise Interrupted("interrupted")
                raise message or ConnectionLost("the connection ended before the session was finished")
            self._queue.popleft()
            self._queued_bytes -= weight(message)
            self._changed.notify_all()
        if isinstance(message, Failure):
            raise _as_error(message)
        return message

    def idle(self, left_s: Callable[[], float]) -> Message | None:
        """Wait with nothing under way; return a message, or None once `left_s` gives no more seconds to wait; `wake` has it asked again.

        Raises:
            DeltasyncError: As `receive`.
        """
        while not self._queue and not self.stop.is_set():
            with self._changed:
                wait_s = left_s()
                if wait_s <= 0:
                    return None
                if not self._queue:
                    self._changed.wait(min(wait_s, IDLE_POLL_S))
        return self.receive(wait=False)

    def check(self) -> None:
        """Raise what ends the session, if anything has; for work that takes long and neither sends nor receives.

        Raises:
            Interrupted: `stop` is set.
            DeltasyncError: The link broke, or the peer ended the session and said why; one that finished in order is no error.
        """
        if self.stop.is_set():
            raise Interrupted("interrupted")
        if not self._ended:
            return
        with self._changed:
            for message in self._queue:
                if isinstance(message, Failure):
                    raise _as_error(message)
                if isinstance(message, DeltasyncError):
                    raise message

    def pause(self, wait_s: float) -> None:
        """Wait for so long, or until the session ends."""
        deadline = time.monotonic() + wait_s
        with self._changed:
            while not self._ended and not self.stop.is_set() and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(min(left_s, POLL_S))

    def finish(self) -> None:
        """Say that nothing more follows, and wait for the peer to say the same.

        Raises:
            ConnectionLost, RemoteProtocolError: The peer's end is missing or wrong.
        """
        with self._sending:
            self.link.finish()
        while True:
            with self._changed:
                while not self._queue:
                    if self.stop.is_set():
                        raise Interrupted("interrupted")
                    self._changed.wait(POLL_S)
                message = self._queue.popleft()
            if message is None:
                return
            if isinstance(message, DeltasyncError):
                raise message

    def say_why(self, exit_code: int, text: str) -> None:
        """Tell the peer why the session ends here, and give it a moment to hear it; it may be gone already, and then nobody is told."""
        self._broken = True
        with suppress(DeltasyncError), self._sending:
            self.link.send(self.outbound.send(Failure(exit_code, text[:1000])))
            self.link.finish()
        deadline = time.monotonic() + STOP_GRACE_S
        with self._changed:
            while time.monotonic() < deadline and not any(last is None or isinstance(last, DeltasyncError) for last in self._queue):
                self._queued_bytes = -(1 << 62)
                self._queue.clear()
                self._changed.notify_all()
                self._changed.wait(POLL_S)

    def close(self) -> None:
        """Close the link and join the threads."""
        self._closed.set()
        self.link.close()
        if self._beside is not None:
            self._beside.close()
        with self._changed:
            self._queue.clear()
            self._queued_bytes = -(1 << 62)
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        last: DeltasyncError | None = None
        try:
            while (data := self.link.recv(self.inbound.room)) is not None:
                moved = False
                for message in self.inbound.feed(data):
                    if moved:
                        raise RemoteProtocolError("the peer moved to another connection, and went on in this one")
                    if isinstance(message, (DataKey, DataAt, Moved)):
                        self._set_aside(message)
                        moved = isinstance(message, Moved)
                    elif not isinstance(message, Ping):
                        self._put(message)
                if moved and not self.inbound.at_boundary:
                    raise RemoteProtocolError("the peer moved to another connection in the middle of a message")
            if not self.inbound.at_boundary:
                last = RemoteProtocolError("the peer finished in the middle of a message")
            elif not self.inbound.done:
                last = ConnectionLost("the peer ended the session early")
        except DeltasyncError as error:
            last = error
        except Exception as error:  # noqa: BLE001 - whoever waits for the peer must hear of a defect too, or would wait for ever.
            last = LocalProtocolError(f"internal error while reading: {type(error).__name__}: {error}; please report it")
        with self._changed:
            self._ended = True
            self._broken = self._broken or last is not None
            self._queue.append(last)
            self._changed.notify_all()

    def _set_aside(self, message: DataKey | DataAt | Moved) -> None:
        if self._beside is None:
            raise RemoteProtocolError(f"the peer sent {type(message).__name__}, of a feature that is not in force")
        self._beside.take(message)

    def _put(self, message: Message) -> None:
        with self._changed:
            while self._queued_bytes > MAX_QUEUED_BYTES and not (self._sends and self._sending.locked()):
                if self._closed.is_set():
                    return
                self._changed.wait(POLL_S)
            if self._queued_bytes > MAX_BACKLOG_BYTES:
                raise RemoteProtocolError("the peer sends more than can be taken while it takes nothing")
            self._queue.append(message)
            self._queued_bytes += weight(message)
            self._changed.notify_all()

    def _watch(self) -> None:
        """Keep the connection alive, and break off what is stuck once `stop` is set or the session is broken."""
        while not self._closed.wait(WATCH_S):
            if self.stop.is_set():
                if not self._closed.wait(STOP_GRACE_S):
                    self.link.close()
                return
            if self._broken and self._sending.locked():
                if not self._closed.wait(BREAK_GRACE_S) and self._sending.locked():
                    self.link.close()
                continue
            if self._ping_s and time.monotonic() - self._sent_at > self._ping_s and self._sending.acquire(blocking=False):
                try:
                    if self.outbound.open:
                        self.link.send(self.outbound.send(Ping()))
                        self._sent_at = time.monotonic()
                except DeltasyncError:
                    return
                finally:
                    self._sending.release()


def _as_error(failure: Failure) -> PeerFailure:
    try:
        return PeerFailure(failure.exit_code, shown(failure.text))
    except ValueError:
        raise RemoteProtocolError(f"the peer failed with the unknown exit code {failure.exit_code}") from None
