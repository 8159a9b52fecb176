"""The listener: one thread that receives strangers, and gives each that is let in a process of its own."""

from __future__ import annotations

import selectors
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from deltasync.channel.tcp import prepare
from deltasync.engine.admission import Admission
from deltasync.engine.half_open import LINGER_S, Guest, HalfOpen
from deltasync.engine.listen_log import ListenLog
from deltasync.engine.listen_sessions import STOP_S, WITHDRAWN_S, Session, Sessions
from deltasync.errors import AuthenticationError, DeltasyncError, ExitCode, StateError
from deltasync.wire.keys import encode
from deltasync.wire.messages import Failure
from deltasync.wire.preamble import Suite
from deltasync.wire.reception import Arrival, OtherVersion, Reception
from deltasync.wire.records import Sealer
from deltasync.wire.session import Outbound, Speaker

__all__ = ["MAX_PEERS", "Listener", "Rules"]

MAX_PEERS = 32
"""How many sessions there may be at once, unless `--max-peers` says otherwise."""

ACCEPT_BATCH = 16
"""How many connections are taken before those that are there are looked at again."""
END_S = 0.05
"""How long a process that has closed its output is waited for."""
TICK_S = 0.25
"""How often it is looked whether to stop, whose time is over, and what the list of trusted clients says."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a listener behaves.

    Attributes:
        private: Its private key, 32 bytes.
        max_peers: How many sessions there may be at once.
        once: Whether it ends with the first session.
    """

    private: bytes
    max_peers: int = MAX_PEERS
    once: bool = False


class Listener:
    """Everything that a listener holds.

    Args:
        sockets: Where it listens; they are closed at the end.
        rules: How it behaves.
        admission: Who may do what.
        sessions: Where sessions are made.
        log: Where it tells what happens.
    """

    def __init__(self, sockets: list[socket.socket], rules: Rules, admission: Admission, sessions: Sessions, log: ListenLog) -> None:
        self._sockets = sockets
        self._rules = rules
        self._admission = admission
        self._sessions = sessions
        self._log = log
        self._guests = HalfOpen()
        self._selector = selectors.DefaultSelector()
        self._accepting = False
        self._full = False
        self._code: int | None = None

    def run(self, stop: threading.Event) -> int:
        """Listen until `stop` is set, or the only session is over; return the exit code."""
        for listening in self._sockets:
            listening.setblocking(False)
        self._accept_again()
        self._look_at_trust()
        look_at = 0.0
        try:
            while not stop.is_set() and self._code is None:
                # Those that are there come first: whoever has sent something shall not give way to who has only just connected.
                ready = self._selector.select(TICK_S)
                for key, _ in sorted(ready, key=lambda found: found[0].data is None):
                    self._turn(key.fileobj, key.data)
                if monotonic() >= look_at:
                    look_at = monotonic() + TICK_S
                    self._look_around()
            return ExitCode.OK if self._code is None else self._code
        finally:
            self._close()

    def _turn(self, fileobj: object, whose: object) -> None:
        if isinstance(whose, Guest):
            if whose in self._guests:
                self._hear(whose)
        elif isinstance(whose, Session):
            # Of several that are ready at once an earlier one may have had this one reaped.
            if whose in self._sessions and not whose.hear():
                self._selector.unregister(whose)
                # It is ending; whoever only pretends to is not waited for.
                with suppress(subprocess.TimeoutExpired):
                    whose.process.wait(END_S)
                self._sessions.reap(self._over)
        elif isinstance(fileobj, socket.socket):
            self._accept(fileobj)

    def _look_around(self) -> None:
        for guest in self._guests.expired():
            if not guest.leaving:
                self._log.stranger("refused", guest.address, why="it took too long")
            self._drop(guest)
        self._look_at_trust()
        self._sessions.reap(self._over)
        if self._full:
            self._full = False
            self._accept_again()

    def _look_at_trust(self) -> None:
        """Read the list of trusted clients if it changed, and end the sessions that it does not carry any more."""
        before = self._admission.trouble
        if not self._admission.refresh():
            return
        if self._admission.trouble is not None and self._admission.trouble != before:
            self._log.event("trust-unclear", why=self._admission.trouble)
        for session in self._sessions:
            now = self._admission.grant(session.key, session.grant.root.name.encode())
            if (now is None or (now.read_only and not session.grant.read_only)) and session.kill_at is None:
                self._log.event("withdrawn", **session.fields)
                self._sessions.end(session, signal.SIGUSR1, WITHDRAWN_S)

    def _accept_again(self) -> None:
        if not self._accepting:
            self._accepting = True
            for listening in self._sockets:
                self._selector.register(listening, selectors.EVENT_READ)

    def _accept_no_more(self) -> None:
        if self._accepting:
            self._accepting = False
            for listening in self._sockets:
                self._selector.unregister(listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPT_BATCH):
            if not self._accepting:
                return
            try:
                connected, place = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors or memory: nobody is taken in until the next look around.
                self._log.stranger("short", "", why=error.strerror or str(error))
                self._accept_no_more()
                self._full = True
                return
            connected.setblocking(False)
            try:
                prepare(connected)
            except OSError:
                # It is gone already.
                connected.close()
                continue
            guest = Guest(connected, str(place[0]), Reception(self._rules.private, self._admission.token))
            self._selector.register(connected, selectors.EVENT_READ, guest)
            loser = self._guests.add(guest)
            if loser is not None:
                self._log.stranger("refused", loser.address, why="others came")
                self._selector.unregister(loser.socket)
                loser.socket.close()

    def _drop(self, guest: Guest) -> None:
        if guest in self._guests:
            self._guests.remove(guest)
            self._selector.unregister(guest.socket)
        guest.socket.close()

    def _hear(self, guest: Guest) -> None:
        """Take what a guest has sent; whoever does not keep to the handshake is out without a word."""
        try:
            if guest.leaving:
                if not guest.socket.recv(4096):
                    self._drop(guest)
                return
            while guest.reception.wanted:
                data = guest.socket.recv(guest.reception.wanted)
                if not data:
                    raise AuthenticationError("it closed the connection")
                answer = guest.reception.feed(data)
                if answer and guest.socket.send(answer) != len(answer):
                    raise AuthenticationError("it does not take its answer")
            assert guest.reception.arrival is not None
            self._admit(guest, guest.reception.arrival)
        except BlockingIOError:
            return
        except OtherVersion as error:
            self._log.stranger("refused", guest.address, why=str(error))
            self._leave(guest, error.answer)
        except DeltasyncError as error:
            self._log.stranger("refused", guest.address, why=str(error))
            self._drop(guest)
        except OSError as error:
            self._log.stranger("refused", guest.address, why=error.strerror or "it is gone")
            self._drop(guest)
        except Exception as error:  # noqa: BLE001 - a defect that one client meets shall not end the sessions of all others.
            self._log.event("defect", address=guest.address, why=f"{type(error).__name__}: {error}; please report it")
            self._drop(guest)

    def _leave(self, guest: Guest, last_words: bytes | memoryview) -> None:
        """Say something and end; the connection stays until it was heard, since to close it with something unread would take it back."""
        guest.socket.send(last_words)
        guest.socket.shutdown(socket.SHUT_WR)
        guest.leaving = True
        guest.deadline = monotonic() + LINGER_S

    def _admit(self, guest: Guest, arrival: Arrival) -> None:
        if arrival.suite is Suite.XKPSK3:
            self._pair(guest, arrival)
            return
        self._look_at_trust()
        grant = self._admission.grant(arrival.key, arrival.request)
        if grant is None:
            key, request = encode(arrival.key), arrival.request.decode("ascii", "backslashreplace")
            self._log.stranger("refused", guest.address, why="it is not allowed", key=key, root=request)
            self._drop(guest)
            return
        if len(self._sessions) >= self._rules.max_peers:
            self._log.stranger("refused", guest.address, why="there are too many sessions", key=encode(arrival.key), root=grant.root.name)
            text = f"the listener has {self._rules.max_peers} sessions already, which is its limit; try again later"
            failure = Outbound(Speaker.RESPONDER).send(Failure(ExitCode.CONNECTION, text))
            self._leave(guest, b"".join(map(bytes, Sealer(arrival.keys.send).seal(failure))))
            return
        self._guests.remove(guest)
        self._selector.unregister(guest.socket)
        try:
            session = self._sessions.begin(guest.socket, guest.address, arrival.key, arrival.keys, grant)
        except OSError as error:
            self._log.event("session-failed", address=guest.address, key=encode(arrival.key), why=error.strerror or str(error))
            return
        self._selector.register(session, selectors.EVENT_READ, session)
        self._log.event("session-begin", **session.fields)
        if self._rules.once:
            self._turn_away()

    def _pair(self, guest: Guest, arrival: Arrival) -> None:
        if self._admission.token is None:
            # The token was used between this client's first message and its third.
            raise AuthenticationError("it wants to pair, and no pairing is open")
        try:
            peer = self._admission.pair(arrival.key, arrival.request)
        except StateError as error:
            self._log.event("pairing-failed", address=guest.address, key=encode(arrival.key), why=str(error))
            self._drop(guest)
            return
        self._log.event("paired", address=guest.address, key=encode(arrival.key), client=peer.name)
        self._leave(guest, Sealer(arrival.keys.send).finish())

    def _over(self, session: Session, code: int) -> None:
        if session in {key.data for key in self._selector.get_map().values()}:
            session.hear()
            self._selector.unregister(session)
        sent, received = session.counts()
        elapsed_s = round(monotonic() - session.began_at, 3)
        self._log.event("session-end", **session.fields, exit_code=code, sent=sent, received=received, elapsed_s=elapsed_s)
        if self._rules.once:
            self._code = code

    def _turn_away(self) -> None:
        """Take nobody in any more, and send away who is not in yet."""
        self._accept_no_more()
        for listening in self._sockets:
            listening.close()
        self._sockets = []
        for guest in self._guests:
            self._drop(guest)

    def _close(self) -> None:
        """End everything: no new sessions, and those that there are finish what they are committing."""
        self._turn_away()
        if len(self._sessions):
            self._log.event("stopping", sessions=len(self._sessions))
        for session in self._sessions:
            self._sessions.end(session, signal.SIGTERM, STOP_S)
        while len(self._sessions):
            self._selector.select(TICK_S)
            self._sessions.reap(self._over)
        self._selector.close()
