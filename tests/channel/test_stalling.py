"""A network that takes nothing any more holds nobody for ever, whichever SSH is used."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest

from deltasync.channel.address import Remote
from deltasync.channel.ssh import SshStream, connect
from deltasync.channel.stalling import StallingSocket
from deltasync.errors import ConnectionLost, DeadlineExceeded
from tests.channel.conformance import PATIENCE_S, SHORT_S, Worker, receive
from tests.sshd import Sshd

BACKENDS = [pytest.param("openssh", marks=pytest.mark.needs("ssh")), "paramiko"]
SMALL_BYTES = 16 << 10
FLOOD = bytes(64 << 20)


class Way:
    """A relay to a server, over which at some time nothing goes any more towards it."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
        self.port: int = self._listener.getsockname()[1]
        self.stalled = threading.Event()
        self._over = threading.Event()
        self._worker = Worker(self._relay)

    def _relay(self) -> None:
        near, _ = self._listener.accept()
        with near, socket.create_connection(("127.0.0.1", self._server_port)) as far:
            back = Worker(lambda: self._pump(far, near))
            self._pump(near, far, self.stalled)
            far.shutdown(socket.SHUT_RDWR)
            back.result()

    def _pump(self, source: socket.socket, target: socket.socket, stalled: threading.Event | None = None) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                if stalled is not None and stalled.is_set():
                    self._over.wait(PATIENCE_S)
                    return
                target.sendall(data)

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._worker.result()
        self._listener.close()


@contextmanager
def stalled_session(sshd: Sshd, ssh: Literal["openssh", "paramiko"], folder: Path) -> Generator[SshStream, None, None]:
    """Give a session that has stood, over a way that is stalled now."""
    way = Way(sshd.port)
    config = sshd.config(folder, known_hosts=f"[127.0.0.1]:{way.port} {sshd.public_key()}\n")
    stream = connect(Remote("127.0.0.1", port=way.port, ssh=ssh, ssh_config=config, remote_path="cat;:"))
    try:
        stream.timeout_s = PATIENCE_S
        stream.send(b"it stands")
        assert receive(stream, 9) == b"it stands"
        way.stalled.set()
        yield stream
    finally:
        stream.close()
        way.close()


@pytest.fixture(autouse=True)
def _small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let connections hold little, as over a real network: here a kernel holds more than all the windows of SSH."""
    original = socket.socket.connect

    def connect_small(self: socket.socket, address: tuple[str, int]) -> None:
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)
        original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_small)


@pytest.mark.parametrize("ssh", BACKENDS)
def test_a_stalled_way_has_a_deadline(sshd: Sshd, ssh: Literal["openssh", "paramiko"], tmp_path: Path) -> None:
    """`timeout_s` counts wherever the bytes lie."""
    with stalled_session(sshd, ssh, tmp_path) as stream:
        stream.timeout_s = 4 * SHORT_S
        with pytest.raises(DeadlineExceeded):
            stream.send(FLOOD)


@pytest.mark.parametrize("ssh", BACKENDS)
def test_closing_frees_who_sends_over_a_stalled_way(sshd: Sshd, ssh: Literal["openssh", "paramiko"], tmp_path: Path) -> None:
    """And `close` itself does not wait for it."""
    with stalled_session(sshd, ssh, tmp_path) as stream:
        stream.timeout_s = None
        sending = Worker(lambda: stream.send(FLOOD))
        sending.wait_until_in("write_all" if ssh == "paramiko" else "_wait")
        Worker(stream.close).result()
        with pytest.raises(ConnectionLost):
            sending.result()


def test_a_socket_gives_up_after_its_limit() -> None:
    """Not before: what is taken meanwhile begins the time anew."""
    one, other = socket.socketpair()
    with StallingSocket(fileno=one.detach()) as stalling, other:
        stalling.settimeout(0.01)
        while True:
            try:
                stalling.send(FLOOD)
            except TimeoutError:
                break
        stalling.limit_s = SHORT_S
        assert not stalling.stalled
        with pytest.raises(BrokenPipeError):
            _send_until_it_fails(stalling)
        assert stalling.stalled


def _send_until_it_fails(stalling: StallingSocket) -> None:
    for _ in range(1000):
        with suppress(TimeoutError):
            stalling.send(FLOOD)
