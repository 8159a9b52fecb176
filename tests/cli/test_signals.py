"""The first signal asks, the second one ends."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from deltasync.cli.signals import StopEvent, caught, raised
from deltasync.errors import Interrupted
from tests.cli.commands import start

ASKED_TWICE = """
import os, signal, sys, threading
from deltasync.cli.signals import StopEvent, caught
stop = StopEvent()
with caught(stop, lambda: os.write(1, b"abandoned")):
    os.kill(os.getpid(), signal.{first})
    assert stop.wait(5)
    os.kill(os.getpid(), signal.{second})
    os.write(1, b"never")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_sets_the_event_and_the_old_handler_comes_back(number: signal.Signals) -> None:
    """Nothing else happens; behind the block the signal means what it meant before."""
    before = signal.getsignal(number)
    stop = StopEvent()
    with caught(stop):
        os.kill(os.getpid(), number)
        assert stop.wait(5)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("first", "second"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGHUP", "SIGTERM")])
def test_a_second_signal_ends_at_once(first: str, second: str) -> None:
    """After the last words, with 20."""
    process = start(code=ASKED_TWICE.format(first=first, second=second))
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (20, b"abandoned")


def test_nohup_stays() -> None:
    """A HUP that was ignored at the start stays ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = StopEvent()
        with caught(stop):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.wait(5)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_all_who_wait_are_woken() -> None:
    """With and without a time limit; and who comes later does not wait."""
    stop = StopEvent()
    assert not stop.wait(0)
    assert not stop.wait(0.001)
    woken: list[bool] = []
    threads = [threading.Thread(target=lambda limit=limit: woken.append(stop.wait(limit))) for limit in (None, 30.0, None)]
    for thread in threads:
        thread.start()
    stop.set()
    stop.set()
    for thread in threads:
        thread.join(30)
    assert woken == [True, True, True]
    assert stop.is_set()
    assert stop.wait(0)
    with pytest.raises(RuntimeError, match="final"):
        stop.clear()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_wait_without_a_stop_is_broken_off(number: signal.Signals) -> None:
    """Within `raised` the signal is an error, and behind it the event again."""

    def wait() -> None:
        with raised():
            os.kill(os.getpid(), number)
            threading.Event().wait(5)

    stop = StopEvent()
    with caught(stop):
        with pytest.raises(Interrupted):
            wait()
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
