"""Sessions that end otherwise than well: silence, defects at the far end, connections that break and are made again."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.channel.loopback import plain_links
from deltasync.engine import run as running
from deltasync.engine import serve
from deltasync.engine.job import Job, Summary
from deltasync.engine.peer import Peer
from deltasync.engine.run import run
from deltasync.engine.transfer import Transfer
from deltasync.errors import ConnectionLost, DeadlineExceeded, DeltasyncError, ExitCode, Interrupted, PeerFailure, TransportError
from deltasync.wire.messages import Hello, Message, Ping, Setup
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

    monkeypatch.setattr(serve, "open_destination", broken)
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
    assert (tmp_path / "g").read_text() == "x"


def test_retries_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After as many as asked for the loss is the run's."""
    attempts = failing(monkeypatch, *[ConnectionLost("cut")] * 9)
    with pytest.raises(ConnectionLost) as caught:
        run(job_of(tmp_path, retries=2), Heard(), threading.Event())
    assert caught.value.exit_code == ExitCode.CONNECTION
    assert len(attempts) == 3


def test_a_connection_that_never_stood_is_not_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries are for what had once worked."""
    attempts = failing(monkeypatch, TransportError("refused"))
    with pytest.raises(TransportError):
        run(job_of(tmp_path), Heard(), threading.Event())
    assert len(attempts) == 1
