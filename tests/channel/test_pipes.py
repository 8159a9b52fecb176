"""The stream over descriptors passes what every stream must, over pipes and over sockets, and leaves alone what is not its own."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deltasync.channel.pipes import PIPE_BYTES, PipeStream
from deltasync.channel.stream import ByteStream
from deltasync.errors import DeadlineExceeded
from tests.channel.conformance import PATIENCE_S, SHORT_S, StreamConformance, receive


class TestPipes(StreamConformance):
    """Over two pipes."""

    @contextmanager
    def connected(self) -> Generator[tuple[ByteStream, ByteStream], None, None]:
        """Give two ends over two pipes."""
        there, back = os.pipe(), os.pipe()
        yield PipeStream(back[0], there[1]), PipeStream(there[0], back[1])


class TestOneSocket(StreamConformance):
    """Over one socket that serves both ways, as a session's standard input and output may be under sshd."""

    @contextmanager
    def connected(self) -> Generator[tuple[ByteStream, ByteStream], None, None]:
        """Give the ends of a pair of sockets; one of them has two descriptors for its socket."""
        here, there = (end.detach() for end in socket.socketpair())
        yield PipeStream(here, here), PipeStream(there, os.dup(there))


class Beside:
    """A pipe beside a stream, of which every byte is kept."""

    def __init__(self) -> None:
        self.fd, self.writing = os.pipe()
        self.kept = b""

    def fileno(self) -> int:
        """Return the reading end."""
        return self.fd

    def drain(self) -> bool:
        """Take one piece, which is there when this is called."""
        data = os.read(self.fd, 100)
        self.kept += data
        return bool(data)


def test_what_lies_beside_is_drained_while_the_stream_waits() -> None:
    """It does not put off the deadline, and its end does not disturb the stream."""
    beside = Beside()
    here, there = (end.detach() for end in socket.socketpair())
    one, other = PipeStream(here, here, beside), PipeStream(there, there)
    one.timeout_s = SHORT_S
    os.write(beside.writing, b"a warning")
    with pytest.raises(DeadlineExceeded):
        one.recv_into(memoryview(bytearray(1)))
    assert beside.kept == b"a warning"
    os.close(beside.writing)
    with pytest.raises(DeadlineExceeded):
        one.recv_into(memoryview(bytearray(1)))
    one.timeout_s = PATIENCE_S
    other.send(b"still there")
    assert receive(one, 11) == b"still there"
    one.close()
    other.close()
    os.close(beside.fd)


def test_pipes_are_widened() -> None:
    """A pipe holds as much as a plain user's may."""
    reading, writing = os.pipe()
    stream = PipeStream(reading, writing)
    limit = int(Path("/proc/sys/fs/pipe-max-size").read_text(encoding="ascii"))
    assert fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ) == min(PIPE_BYTES, limit)
    stream.close()


def test_a_shared_descriptor_is_left_as_it_was() -> None:
    """A terminal that was blocking for the shell is blocking again after `close`."""
    reading, writing = os.pipe()
    shells = os.dup(reading), os.dup(writing)
    stream = PipeStream(reading, writing)
    assert not os.get_blocking(shells[0])
    stream.close()
    assert os.get_blocking(shells[0])
    assert os.get_blocking(shells[1])
    for fd in shells:
        os.close(fd)


STANDARD = """
import os
from deltasync.channel.pipes import PipeStream
stream = PipeStream(0, 1)
stream.send(b"sent")
stream.close()
assert os.open("/dev/zero", os.O_RDONLY) > 2
assert os.read(0, 1) == b""
os.write(1, b"lost")
"""


def test_standard_descriptors_stay_taken() -> None:
    """What is opened after `close` gets no standard number, and what is printed then reaches nobody."""
    result = subprocess.run([sys.executable, "-c", STANDARD], input=b"", capture_output=True, check=False)
    assert (result.stdout, result.stderr) == (b"sent", b"")
