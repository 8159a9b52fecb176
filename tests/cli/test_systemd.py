"""What systemd is told, and asks for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from deltasync.cli.systemd import Notifier, watchdog_s


@pytest.mark.parametrize(
    ("environment", "every_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_how_often_a_sign_of_life_is_due(environment: dict[str, str], every_s: float | None) -> None:
    """Twice in the time that is waited for it, if it is this process that is waited for."""
    assert watchdog_s(environment) == every_s


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_is_said_once(tmp_path: Path, abstract: bool) -> None:
    """With the first standing that is one of a watch; each is one line, whatever is in it."""
    address = f"@deltasync-test-{os.getpid()}" if abstract else str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind("\0" + address[1:] if abstract else address)
        notifier = Notifier({"NOTIFY_SOCKET": address})
        notifier.standing("connecting", ready=False)
        notifier.standing("watching\nREADY=0", ready=True)
        notifier.standing("watching", ready=True)
        notifier.stopping()
        said = [service.recv(1000).decode() for _ in range(4)]
    assert said == ["STATUS=connecting", "READY=1\nSTATUS=watching READY=0", "STATUS=watching", "STOPPING=1"]


def test_nobody_listens(tmp_path: Path) -> None:
    """Neither where there is no socket, nor where it is gone."""
    Notifier({}).standing("x", ready=True)
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "absent")}).stopping()
