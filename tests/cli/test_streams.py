"""Lines reach their reader at once and whole, or are given up quietly."""

from __future__ import annotations

import errno
import os
import select
import signal
import threading

import pytest

from deltasync.cli.streams import LineWriter


def test_a_line_is_utf8_whatever_it_holds() -> None:
    """No locale and no stray surrogate keeps a line from being written."""
    reader, writer = os.pipe()
    LineWriter(writer).line("\u00e9 \udcff")
    assert os.read(reader, 100) == b"\xc3\xa9 \\udcff\n"
    os.close(reader)
    os.close(writer)


def test_a_reader_that_left_is_no_error() -> None:
    """Nothing is raised or kept, and what follows is dropped."""
    reader, writer = os.pipe()
    os.close(reader)
    lines = LineWriter(writer)
    lines.line("one")
    lines.line("two")
    assert lines.error is None
    os.close(writer)


def test_a_full_disk_is_an_error_to_be_told() -> None:
    """The error is kept; writing never raises."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    lines = LineWriter(descriptor)
    lines.line("one")
    assert lines.error is not None
    assert lines.error.errno == errno.ENOSPC
    os.close(descriptor)


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    """A line larger than what the pipe takes arrives as a whole."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    got = bytearray()

    def read() -> None:
        while data := os.read(reader, 65536):
            got.extend(data)

    thread = threading.Thread(target=read)
    text = "x" * 1_000_000
    lines = LineWriter(writer)
    assert lines.takes_at_once()
    thread.start()
    lines.line(text)
    os.close(writer)
    thread.join(30)
    os.close(reader)
    assert got.decode() == text + "\n"


def test_a_full_pipe_takes_nothing_at_once() -> None:
    """So that what must not wait does not begin to write."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 65536)
    except BlockingIOError:
        assert not LineWriter(writer).takes_at_once()
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("non_blocking", [False, True])
def test_a_reader_that_does_not_read_is_given_up_after_a_stop(non_blocking: bool) -> None:
    """A full pipe is waited for as long as the run goes on, and not when it is to end; what was begun is never followed by another line."""
    reader, writer = os.pipe()
    os.set_blocking(writer, not non_blocking)
    stop = threading.Event()
    lines = LineWriter(writer, stop)
    thread = threading.Thread(target=lines.line, args=("x" * 1_000_000,))
    thread.start()
    while select.select([], [writer], [], 0)[1]:
        assert thread.is_alive()
    assert thread.is_alive()
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert lines.error is None
    lines.line("more")
    os.close(writer)
    with open(reader, "rb") as left:
        assert set(left.read()) == {ord("x")}


def test_a_stop_keeps_no_line_from_a_reader_that_reads() -> None:
    """The last lines of a run that was interrupted arrive."""
    reader, writer = os.pipe()
    stop = threading.Event()
    stop.set()
    LineWriter(writer, stop).line("last")
    assert os.read(reader, 100) == b"last\n"
    os.close(reader)
    os.close(writer)


def test_a_signal_handler_may_write_while_a_line_waits() -> None:
    """The last words of a second signal do not stumble over the line that nobody reads."""
    reader, writer = os.pipe()
    stop = threading.Event()
    lines = LineWriter(writer, stop)
    handled: list[bool] = []

    def handle(*_: object) -> None:
        stop.set()
        lines.write(b"last words")
        handled.append(True)

    def interrupt() -> None:
        while select.select([], [writer], [], 0)[1]:
            pass
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        lines.line("x" * 1_000_000)
        thread.join(30)
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(reader)
        os.close(writer)
    assert handled == [True]
    assert lines.error is None
