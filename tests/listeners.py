"""A listener as tests start it: the command itself, with a home and roots of its own, and clients with homes of theirs."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

from deltasync.fs.own_key import load_or_make
from deltasync.fs.trust import Daemon, Peer, authorized_peers, known_daemons, parse_allow
from deltasync.wire.keys import decode_public, encode
from tests.cli.commands import Process, command
from tests.sources import PROJECT

__all__ = ["Client", "Listening"]

PATIENCE_S: Final = 20.0


@dataclass
class Client:
    """An installation that connects: its home, and the commands it runs."""

    home: Path
    address: str = ""

    def run(self, *words: str | os.PathLike[str], address: str = "") -> Process:
        """Run `deltasync`; `@NAME/PATH` stands for that place at the listener."""
        there = address or self.address
        places = [f"tcp://{there}/{word[1:]}" if isinstance(word, str) and word.startswith("@") else word for word in words]
        return command(*places, env={"DELTASYNC_HOME": str(self.home)})

    def start(self, *words: str | os.PathLike[str]) -> subprocess.Popen[str]:
        """Start it, as `run` does."""
        places = [f"tcp://{self.address}/{word[1:]}" if isinstance(word, str) and word.startswith("@") else str(word) for word in words]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "DELTASYNC_HOME": str(self.home)}
        return subprocess.Popen(
            [sys.executable, "-m", "deltasync", *places], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @property
    def key(self) -> str:
        """Its public key; the pair is made if there is none."""
        return encode(load_or_make(str(self.home)).public)

    def know(self, address: str, key: str) -> None:
        """Remember a listener, without the time that a command takes."""
        known_daemons(str(self.home)).add(Daemon(address, decode_public(key)))


@dataclass
class Listening:
    """A running `deltasync listen`.

    Args:
        folder: Where its home, its log and its clients' homes lie.
        words: Its options, but for `--bind` and `--json`.
        environment: More of its environment.
    """

    folder: Path
    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    bind: str = "127.0.0.1:0"

    def __post_init__(self) -> None:
        """Start it, and wait until it is ready."""
        self.log = self.folder / "log"
        self.home = self.folder / "home"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deltasync", "listen", "--bind", self.bind, "--json", *self.words],
                env={**os.environ, "PYTHONPATH": str(PROJECT), "DELTASYNC_HOME": str(self.home), **self.environment},
                stdout=subprocess.PIPE,
                stderr=log,
            )
        ready = self._event()
        assert ready["event"] == "listening"
        host = f"[{ready['host']}]" if ":" in ready["host"] else ready["host"]
        self.port: int = ready["port"]
        self.key: str = ready["key"]
        self.roots: list[str] = ready["roots"]
        self.address = f"{host}:{self.port}"
        self.invitation: str = self._event()["url"] if "--pair" in self.words else ""

    def _event(self) -> dict[str, Any]:
        """Wait for the next line on standard output."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            assert waiting.select(PATIENCE_S), "the listener says nothing"
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(self.process.stdout.fileno(), 1)
            assert piece, f"the listener ended: {self.log.read_text()}"
            line += piece
        found: dict[str, Any] = json.loads(line)
        return found

    def client(self, name: str = "client", *grants: str) -> Client:
        """Return a client that knows the listener, and may do what is granted; nothing if nothing is."""
        client = Client(self.folder / name, self.address)
        client.know(self.address, self.key)
        if grants:
            self.trust(client, *grants)
        return client

    def trust(self, client: Client, *grants: str) -> None:
        """Grant something."""
        peers = authorized_peers(str(self.home))
        peers.add(Peer(decode_public(client.key), parse_allow(list(grants)), client.home.name))

    def command(self, *words: str) -> Process:
        """Run `deltasync` in the listener's home."""
        return command(*words, env={"DELTASYNC_HOME": str(self.home)})

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Return the log so far, or what it has of one kind."""
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [event for event in found if name in ("", event["event"])]

    def wait_for(self, condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
        """Wait until something is so."""
        pause = threading.Event()
        deadline = monotonic() + within_s
        while not condition():
            assert monotonic() < deadline, f"it did not come to it: {self.log.read_text()}"
            pause.wait(0.02)

    def rss_kib(self) -> int:
        """Return how much memory the listener has resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it, however it stands; a traceback in its log is an error."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        assert "Traceback" not in self.log.read_text()
