"""The port of a data connection: for who holds the key, once, and not for long."""

from __future__ import annotations

import socket
from collections.abc import Generator

import pytest

from deltasync.channel import data_port
from deltasync.channel.address import DataPlan, Remote
from deltasync.channel.data_dial import reach
from deltasync.channel.data_port import DataPort, arrived_at
from deltasync.channel.secure import SecureLink
from deltasync.errors import TransportError
from tests.channel.conformance import PATIENCE_S, Worker, receive_all
from tests.sshd import free_port

KEY = bytes(range(32))
HERE = Remote("127.0.0.1", rsh=("other-shell",))
"""A place that is reached without asking ssh for its configuration."""


@pytest.fixture
def port() -> Generator[DataPort, None, None]:
    """A port on the loopback address."""
    made = DataPort(KEY, "127.0.0.1", 0, 0)
    yield made
    made.close()


def never() -> bool:
    """Nobody gives up."""
    return False


def stranger(port: DataPort, data: bytes = b"") -> socket.socket:
    """Connect and say something."""
    made = socket.create_connection(("127.0.0.1", port.port), timeout=PATIENCE_S)
    made.sendall(data)
    return made


def hears(connection: socket.socket) -> bytes:
    """Return all that is said to a stranger until it is closed."""
    heard = b""
    try:
        while data := connection.recv(100):
            heard += data
    except ConnectionResetError:
        return heard
    return heard


def meet(port: DataPort) -> tuple[SecureLink, SecureLink]:
    """Have the right one come, and return both ends."""
    waiting = Worker(lambda: port.wait(never))
    near = reach(HERE, DataPlan(), port.port, KEY, never)
    far = waiting.result()
    assert isinstance(far, SecureLink)
    return near, far


def test_who_holds_the_key_is_let_in(port: DataPort) -> None:
    """Both ends speak over it then."""
    near, far = meet(port)
    near.send([b"hello"])
    near.finish()
    assert receive_all(far) == b"hello"
    assert (near.bytes_sent, near.bytes_received) == (far.bytes_received, far.bytes_sent)
    near.close()
    far.close()


def test_strangers_who_come_first_are_in_nobodys_way(port: DataPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent ones, noise, another key, and more of them than there is room for: none hears a byte, and the right one is let in."""
    monkeypatch.setattr(data_port, "MAX_GUESTS", 2)
    silent = [stranger(port) for _ in range(5)]
    noisy = [stranger(port, data) for data in (b"GET / HTTP/1.1\r\n\r\n" * 10, bytes(64), b"\0delta")]
    wrong = Worker(lambda: reach(HERE, DataPlan(), port.port, bytes(32), never))
    near, far = meet(port)
    with pytest.raises(TransportError, match="did not answer"):
        wrong.result()
    port.close()
    assert {hears(connection) for connection in (*silent, *noisy)} == {b""}
    for connection in (*silent, *noisy):
        connection.close()
    near.close()
    far.close()


def test_the_port_is_closed_once_somebody_is_in(port: DataPort) -> None:
    """The key works once: whoever comes later finds nobody."""
    near, far = meet(port)
    port.close()
    with pytest.raises(TransportError):
        reach(HERE, DataPlan(), port.port, KEY, never)
    near.close()
    far.close()


def test_it_does_not_wait_for_ever(port: DataPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time, or when it is given up, the waiting is over, whoever is connected."""
    silent = stranger(port)
    monkeypatch.setattr(data_port, "LISTEN_S", 0.05)
    assert port.wait(never) is None
    monkeypatch.setattr(data_port, "LISTEN_S", 60.0)
    assert port.wait(lambda: True) is None
    silent.close()


def test_an_answer_of_nobody_is_no_link() -> None:
    """Who listens there and does not hold the key gets the first message, and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        reaching = Worker(lambda: reach(HERE, DataPlan(), other.getsockname()[1], KEY, never))
        guest, _ = other.accept()
        assert len(guest.recv(100)) == 64
        guest.sendall(bytes(64))
        with pytest.raises(TransportError, match="did not answer"):
            reaching.result()
        guest.close()


def test_ports_are_taken_from_the_range() -> None:
    """The first that is free; none at all is an error; and this end goes to none that it has not allowed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(TransportError):
            DataPort(KEY, "127.0.0.1", number, number)
    made = DataPort(KEY, None, free := free_port(), min(free + 5, 65535))
    assert free <= made.port <= free + 5
    made.close()
    with pytest.raises(TransportError, match="another port"):
        reach(HERE, DataPlan(None, 1, 2), 3, KEY, never)


@pytest.mark.needs("ssh")
def test_it_leads_where_ssh_leads(port: DataPort, tmp_path: object) -> None:
    """The host's name may be one that only the configuration of ssh knows."""
    config = f"{tmp_path}/config"
    with open(config, "w", encoding="utf-8") as file:
        file.write("Host nas\n  HostName 127.0.0.1\n")
    waiting = Worker(lambda: port.wait(never))
    near = reach(Remote("nas", ssh_config=config), DataPlan(), port.port, KEY, never)
    far = waiting.result()
    assert isinstance(far, SecureLink)
    near.close()
    far.close()


def test_the_address_of_ssh_is_known() -> None:
    """By what sshd tells; through an odd transport it tells nothing."""
    assert arrived_at({"SSH_CONNECTION": "10.0.0.1 5000 10.0.0.2 22"}) == "10.0.0.2"
    assert arrived_at({"SSH_CONNECTION": "UNKNOWN 65535 UNKNOWN 65535"}) is None
    assert arrived_at({}) is None
