"""Word to systemd, or whoever else started this process and listens as it does (sd_notify(3)): ready, how it stands, still alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["Notifier", "watchdog_s"]


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return how often a sign of life is due at least, in seconds: half of what is waited for it; None where nobody waits for one."""
    text, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", str(os.getpid()))
    if not text.isascii() or not text.isdigit() or not int(text) or process != str(os.getpid()):
        return None
    return int(text) / 2_000_000


class Notifier:
    """Sends states; where nobody listens it does nothing.

    Args:
        environment: Names the socket.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address if address.startswith("/") else None
        self._alive = watchdog_s(environment) is not None
        self._ready = False

    def standing(self, text: str, *, ready: bool) -> None:
        """Say how it stands, once that it is ready, and that it is alive."""
        lines = ["READY=1"] if ready and not self._ready else []
        self._ready = self._ready or ready
        lines.append(f"STATUS={' '.join(text.split())}")
        if self._alive:
            lines.append("WATCHDOG=1")
        self._send(lines)

    def stopping(self) -> None:
        """Say that it ends."""
        self._send(["STOPPING=1"])

    def _send(self, lines: list[str]) -> None:
        if self._address is None:
            return
        # Whoever does not listen any more misses nothing that matters to the files.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.sendto("\n".join(lines).encode(), self._address)
