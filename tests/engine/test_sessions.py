"""Sessions that end otherwise than well: silence, defects at the far end, connections that break and are made again."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deltasync.channel.loopback import plain_links
from deltasync.engine import run as running
from deltasync.engine.connecting import Connection, Connector
from deltasync.engine.contents import Contents
from deltasync.engine.handshake import accept, ready
from deltasync.engine.job import Direction, Job, Summary
from deltasync.engine.peer import Peer
from deltasync.engine.receiver import Receiver
from deltasync.engine.run import run
from deltasync.engine.sender import Sender
from deltasync.engine.transfer import Transfer
from deltasync.errors import (
    ConnectionLost,
    DeadlineExceeded,
    DeltasyncError,
    ExitCode,
    Interrupted,
    PeerFailure,
    TransportError,
    Unanswered,
    UsageError,
)
from deltasync.wire.messages import Hello, Message, Ping, ReceiverDone, Setup
from deltasync.wire.session import Speaker
from deltasync.wire.settings import Settings
from tests.engine.runs import Heard, push


def job_of(tmp_path: Path, *, retries: int = 5) -> Job:
    """A push of one file to a new place."""
    (tmp_path / "f").write_text("x")
    return Job("push", (os.fsencode(tmp_path / "f"),), os.fsencode(tmp_path / "g"), Settings(), retries=retries)


def test_silence_beyond_the_timeout_is_30() -> None:
    """A peer that says nothing for too long ends the session."""
    near, far = plain_links()
    near.timeout_s = 0.05
    peer = Peer(near, Speaker.INITIATOR, threading.Event())
    with pytest.raises(DeadlineExceeded) as caught:
        peer.receive()
    assert caught.value.exit_code == ExitCode.TIMEOUT
    peer.close()
    far.close()


def test_signs_of_life_are_sent_and_not_heard() -> None:
    """A side with nothing to say pings, so that the other's timeout does not strike; the ping itself is no message to anybody."""
    near, far = plain_links()
    stop = threading.Event()
    busy, waiting = Peer(near, Speaker.INITIATOR, stop, ping_s=0.01), Peer(far, Speaker.RESPONDER, stop)
    busy.send(Hello("x"))
    assert waiting.receive() == Hello("x")
    assert not busy.outbound.open
    pinged = threading.Event()
    feed = waiting.inbound.feed

    def feeding(data: bytes | bytearray | memoryview) -> Iterator[Message]:
        for message in feed(data):
            if isinstance(message, Ping):
                pinged.set()
            yield message

    waiting.inbound.feed = feeding  # type: ignore[method-assign]
    busy.send(Setup(False, (b"s",), Settings()))
    busy.take_role(sends=False)
    waiting.take_role(sends=True)
    assert isinstance(waiting.receive(), Setup)
    assert pinged.wait(10)
    assert waiting.receive(wait=False) is None
    busy.close()
    waiting.close()


def test_a_stop_ends_a_wait() -> None:
    """Whoever waits for the peer is interrupted when the run shall stop."""
    near, far = plain_links()
    stop = threading.Event()
    peer = Peer(near, Speaker.INITIATOR, stop)
    stop.set()
    with pytest.raises(Interrupted):
        peer.receive()
    peer.close()
    far.close()


def test_a_defect_at_the_far_end_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that should never be reaches the user as a failure of the session, and is not tried again."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr("deltasync.engine.receiving.open_destination", broken)
    (tmp_path / "f").write_text("x")
    with pytest.raises(PeerFailure, match="internal error at the far end: RuntimeError: bug") as caught:
        push(tmp_path / "f", tmp_path / "g")
    assert caught.value.exit_code == ExitCode.PROTOCOL


def failing(monkeypatch: pytest.MonkeyPatch, *errors: DeltasyncError) -> list[int]:
    """Let the first attempts fail; returns a list that grows with each attempt."""
    attempts: list[int] = []
    real = Transfer.run

    def attempt(self: Transfer) -> Summary:
        attempts.append(len(attempts))
        if len(attempts) <= len(errors):
            raise errors[len(attempts) - 1]
        return real(self)

    monkeypatch.setattr(Transfer, "run", attempt)
    monkeypatch.setattr(running, "BACKOFF_S", (0.0,))
    return attempts


def test_a_lost_connection_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on with another connection, and says so once for each."""
    attempts = failing(monkeypatch, ConnectionLost("cut"), ConnectionLost("cut"))
    heard = Heard()
    assert run(job_of(tmp_path), heard, threading.Event()).exit_code == ExitCode.OK
    assert len(attempts) == 3
    assert heard.notes == ["cut; trying again in 0 s"] * 2
    assert heard.reached is None
    assert (tmp_path / "g").read_text() == "x"


def test_a_connection_that_breaks_in_the_handshake_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To be closed without a word is how a listener refuses; but not one that had let us in, until it does so every time."""
    attempts = failing(monkeypatch, ConnectionLost("cut"), Unanswered("closed"), TransportError("no route"))
    assert run(job_of(tmp_path), Heard(), threading.Event()).exit_code == ExitCode.OK
    assert len(attempts) == 4
    attempts = failing(monkeypatch, ConnectionLost("cut"), *[Unanswered("closed")] * 9)
    with pytest.raises(Unanswered) as caught:
        run(job_of(tmp_path, retries=2), Heard(), threading.Event())
    assert (caught.value.exit_code, len(attempts)) == (ExitCode.AUTHENTICATION, 3)
    attempts = failing(monkeypatch, Unanswered("closed"))
    with pytest.raises(Unanswered):
        run(job_of(tmp_path), Heard(), threading.Event())
    assert len(attempts) == 1


def test_retries_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After as many as asked for the loss is the run's."""
    attempts = failing(monkeypatch, *[ConnectionLost("cut")] * 9)
    with pytest.raises(ConnectionLost) as caught:
        run(job_of(tmp_path, retries=2), Heard(), threading.Event())
    assert caught.value.exit_code == ExitCode.CONNECTION
    assert str(caught.value) == "cut; run again: what is there is not sent once more"
    assert len(attempts) == 3


def test_a_connection_that_never_stood_is_not_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries are for what had once worked."""
    attempts = failing(monkeypatch, TransportError("refused"))
    with pytest.raises(TransportError):
        run(job_of(tmp_path), Heard(), threading.Event())
    assert len(attempts) == 1


def cut(monkeypatch: pytest.MonkeyPatch, times: int = 1) -> None:
    """Let the connection break so many times when all is done but the last words of the receiver, whichever side that is."""
    left = [None] * times
    real_finish, real_take = Receiver._finish, Sender._take

    def finish(self: Receiver) -> None:
        real_finish(self)
        if threading.current_thread() is threading.main_thread() and left:
            left.pop()
            raise ConnectionLost("cut")

    def take(self: Sender, message: Message) -> None:
        if isinstance(message, ReceiverDone) and threading.current_thread() is threading.main_thread() and left:
            left.pop()
            raise ConnectionLost("cut")
        real_take(self, message)

    monkeypatch.setattr(Receiver, "_finish", finish)
    monkeypatch.setattr(Sender, "_take", take)
    monkeypatch.setattr(running, "BACKOFF_S", (0.0,))


def counts(summary: Summary) -> tuple[int, ...]:
    """What a summary counts of content and entries."""
    return (summary.files_total, summary.files_sent, summary.entries_changed, summary.bytes_total, summary.literal_bytes)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory of two small files, an empty one, a large one and a symlink: 6 entries with the root, 4 of them files."""
    made = tmp_path / "tree"
    made.mkdir()
    for name, content in (("a", b"a" * 10), ("b", b"b" * 20), ("c", b""), ("large", os.urandom(3 << 20))):
        (made / name).write_bytes(content)
    (made / "link").symlink_to("a")
    return made


CONTENT_BYTES = 30 + (3 << 20)


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_a_run_that_breaks_off_tells_what_it_has_done(
    direction: Direction, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts, the bytes on the way and the problems are those of a run that is complete, as far as this side knows."""
    cut(monkeypatch)
    gone = os.fsencode(tmp_path / "gone")
    job = Job(direction, (os.fsencode(tree) + b"/", gone), os.fsencode(tmp_path / "dst"), Settings(), retries=0)
    heard = Heard()
    with pytest.raises(ConnectionLost):
        run(job, heard, threading.Event())
    reached = heard.reached
    assert reached is not None
    complete = run(replace(job, dest=os.fsencode(tmp_path / "other")), Heard(), threading.Event())
    assert counts(complete) == (6, 4, 6, CONTENT_BYTES, CONTENT_BYTES)
    if direction == "pull":
        assert (counts(reached), reached.update_modes) == (counts(complete), complete.update_modes)
    else:
        # Of a push only the far end knows of more than files that were sent.
        assert counts(reached) == (6, 4, 4, CONTENT_BYTES, CONTENT_BYTES)
    assert (reached.problems, reached.channel, reached.engine) == (complete.problems, complete.channel, complete.engine)
    assert reached.bytes_sent + reached.bytes_received > CONTENT_BYTES
    assert reached.elapsed_s > 0


def test_what_all_attempts_have_done_adds_up(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a pull that is made again nothing is done twice: the sums are those of one attempt; totals and problems are not added."""
    cut(monkeypatch)
    job = Job("pull", (os.fsencode(tree) + b"/", b"/nowhere"), os.fsencode(tmp_path / "dst"), Settings())
    heard = Heard()
    assert counts(run(job, heard, threading.Event())) == (6, 4, 6, CONTENT_BYTES, CONTENT_BYTES)
    assert heard.reached is None
    assert len(heard.problems) == 1


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_all_attempts_together_keep_to_max_delete(
    direction: Direction, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt deletes what those before it have left of the limit; where only the far end knew how much that is, nothing."""
    cut(monkeypatch, times=2)
    extras = [tmp_path / "dst" / f"extra{number}" for number in range(9)]
    extras[0].parent.mkdir()
    for extra in extras:
        extra.touch()
    job = Job(direction, (os.fsencode(tree) + b"/",), os.fsencode(tmp_path / "dst"), Settings(delete=True, max_delete=2))
    heard = Heard()
    assert run(job, heard, threading.Event()).exit_code == ExitCode.DELETION_GUARD
    assert sum(extra.exists() for extra in extras) == 7
    assert any("--max-delete holds" in note for note in heard.notes) == (direction == "push")


def test_a_cut_before_any_deletion_takes_nothing_from_max_delete(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While contents are still to be sent, nothing has been deleted."""
    left = [None]
    advance = Contents.advance

    def broken(self: Contents) -> None:
        if self.streaming and left:
            left.pop()
            raise ConnectionLost("cut")
        advance(self)

    monkeypatch.setattr(Contents, "advance", broken)
    monkeypatch.setattr(running, "BACKOFF_S", (0.0,))
    (tmp_path / "dst").mkdir()
    (tmp_path / "dst" / "extra").touch()
    job = Job("push", (os.fsencode(tree) + b"/",), os.fsencode(tmp_path / "dst"), Settings(delete=True, max_delete=2))
    summary = run(job, Heard(), threading.Event())
    assert (left, summary.exit_code, summary.files_deleted) == ([], ExitCode.OK, 1)


def test_the_work_of_earlier_attempts_is_told_when_no_connection_is_made_again(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that never got to a session takes nothing away from what was done before."""
    cut(monkeypatch)
    connect = Transfer._connect
    attempts: list[int] = []

    def once(self: Transfer, meanwhile: Callable[[], bool]) -> Connection:
        attempts.append(len(attempts))
        if len(attempts) > 1:
            raise TransportError("refused")
        return connect(self, meanwhile)

    monkeypatch.setattr(Transfer, "_connect", once)
    heard = Heard()
    job = Job("pull", (os.fsencode(tree) + b"/",), os.fsencode(tmp_path / "dst"), Settings(), retries=2)
    with pytest.raises(TransportError, match=r"^refused$"):
        run(job, heard, threading.Event())
    assert len(attempts) == 3
    assert heard.reached is not None
    assert counts(heard.reached) == (6, 4, 6, CONTENT_BYTES, CONTENT_BYTES)
    assert heard.reached.bytes_received > CONTENT_BYTES


def test_a_run_that_never_began_has_done_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told all the same."""
    failing(monkeypatch, TransportError("refused"))
    heard = Heard()
    with pytest.raises(TransportError):
        run(job_of(tmp_path), heard, threading.Event())
    assert heard.reached is not None
    assert counts(heard.reached) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_a_malformed_rule_of_our_own_is_a_usage_error(direction: Direction, tmp_path: Path) -> None:
    """It is found before anything is said to the peer, which is not to blame for it."""
    (tmp_path / "f").write_text("x")
    job = Job(direction, (os.fsencode(tmp_path / "f"),), os.fsencode(tmp_path / "g"), Settings(rules=(b"? x",)))
    with pytest.raises(UsageError, match="a filter rule is malformed: "):
        run(job, Heard(), threading.Event())


def test_a_broken_session_is_told_in_the_words_of_who_knows_the_peer(tree: Path, tmp_path: Path) -> None:
    """Whatever breaks after the connection stood is explained by it, and the peer is told what it can still hear."""
    near, far = plain_links()
    stop = threading.Event()

    class Connected(Connector):
        """A connector whose connection stands already."""

        def settled(self, wait_s: float) -> bool:
            """It is there."""
            return True

        def result(self) -> Connection:
            """Give it."""
            return Connection(near, lambda error: ConnectionLost(f"HOST: {error}"), deque([b"last words"]))

    def hang_up() -> None:
        peer = Peer(far, Speaker.RESPONDER, stop)
        accept(peer)
        ready(peer)
        peer.close()

    server = threading.Thread(target=hang_up)
    server.start()
    heard = Heard()
    job = Job("push", (os.fsencode(tree),), b"dst", Settings())
    with pytest.raises(ConnectionLost, match=r"^HOST: the connection "):
        Transfer(job, heard, stop, Connected(None, timeout_s=None), 0.0).run()
    server.join()
    assert heard.notes == ["None: last words"]
