"""A child that carries a stream outlives the user's Ctrl-C, and nothing else."""

from __future__ import annotations

import os
import signal

import pytest

from deltasync.channel import child as child_module
from deltasync.channel.child import Child
from deltasync.channel.said import KEPT_BYTES
from deltasync.errors import TransportError
from tests.channel.conformance import PATIENCE_S


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here ends by chance, and what must be killed is killed soon."""
    monkeypatch.setattr(child_module, "GRACE_S", 0.1)


def start(script: str, *, first: str = ":") -> tuple[Child, int]:
    """Run a script as the child; returns it and its process id, which it has printed once the `first` of it was done."""
    child = Child(["sh", "-c", f"{first}; echo $$; {script}"], "HOST")
    child.socket.settimeout(PATIENCE_S)
    return child, int(child.socket.makefile("rb", 0).readline())


def test_it_ignores_the_users_interrupt() -> None:
    """INT does nothing to it or to what it starts."""
    child, pid = start("cat")
    os.kill(pid, signal.SIGINT)
    child.socket.send(b"alive")
    assert child.socket.recv(10) == b"alive"
    child.socket.close()
    child.end(PATIENCE_S)
    assert child.wait(0) == 0


def test_it_ends_by_itself_when_its_stream_does() -> None:
    """Its exit code is known, and its last words are kept."""
    child, _ = start("cat; echo 'the last' >&2; exit 7")
    child.socket.close()
    child.end(PATIENCE_S)
    assert child.wait(0) == 7
    assert child.said.kept() == b"the last\n"


@pytest.mark.parametrize(("first", "signal_number"), [(":", signal.SIGTERM), ("trap '' TERM", signal.SIGKILL)])
def test_it_is_ended_if_it_does_not(first: str, signal_number: int) -> None:
    """First it is told to, then it is made to; it is reaped in any case."""
    child, pid = start("while :; do sleep 0.1; done", first=first)
    child.socket.close()
    child.end(0)
    assert child.wait(0) == -signal_number
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_talkative_child_is_not_held_up() -> None:
    """The end of what it says is kept, once it is drained."""
    child, _ = start("yes | head -c 100000 >&2; echo end >&2; echo done")
    while child.said.drain():
        if child.wait(0.01) is not None:
            break
    child.socket.close()
    child.end(PATIENCE_S)
    kept = child.said.kept()
    assert len(kept) == KEPT_BYTES
    assert kept.endswith(b"y\nend\n")


def test_a_command_that_is_not_here_is_told() -> None:
    """It must not look as if the far end lacked something."""
    with pytest.raises(TransportError, match="no command `no-such-ssh` here"):
        Child(["no-such-ssh", "host"], "HOST")
