"""An SSH server on loopback for the time of the benchmarks, with keys of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.usage import Running

__all__ = ["CIPHER", "Server", "sshd"]

CIPHER = "aes128-gcm@openssh.com"
"""What rsync is told to use, and what deltasync prefers by itself."""
START_TIMEOUT_S = 10.0


class Server:
    """A server, and what deltasync remembers at both ends while it is used.

    Args:
        program: sshd, an absolute path.
        place: Its directory.

    Attributes:
        ssh_config: Configuration for clients: the host `bench` is the running server, `counted` what listens on `counted_port`.
        port: The port of the running server.
        counted_port: A port for a proxy that counts.
        tcp_port: A port for who listens without SSH.
        key: The private key that it lets in.
        near_home, far_home: `DELTASYNC_HOME` of whoever connects, and of whoever is started by the server.
    """

    def __init__(self, program: str, place: Path) -> None:
        self.program = program
        self.ssh_config = place / "ssh_config"
        self.key = place / "user"
        self.port, self.counted_port, self.tcp_port = _free_ports()
        self.near_home, self.far_home = place / "near-home", place / "far-home"
        self._config = place / "sshd_config"

    def forget(self) -> None:
        """Let both ends begin without memory."""
        for home in (self.near_home, self.far_home):
            shutil.rmtree(home, ignore_errors=True)

    def start(self) -> subprocess.Popen[bytes]:
        """Start it; it listens until it is terminated."""
        return subprocess.Popen([self.program, "-D", "-e", "-f", self._config, "-p", str(self.port)], stderr=subprocess.DEVNULL)

    def session(self) -> tuple[socket.socket, Running]:
        """Serve one connection by a server of its own, so that what it takes can be told; return our end and the server."""
        ours, theirs = socket.socketpair()
        with theirs:
            return ours, Running([self.program, "-i", "-f", str(self._config)], {}, theirs)

    def write(self, place: Path) -> None:
        """Write keys and configuration."""
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
        shutil.copy(place / "user.pub", place / "authorized_keys")
        kind, key = (place / "host.pub").read_text().split()[:2]
        (place / "known_hosts").write_text(f"bench {kind} {key}\n")
        self._config.write_text(
            f"ListenAddress 127.0.0.1\nHostKey {place}/host\nAuthorizedKeysFile {place}/authorized_keys\nStrictModes no\nUsePAM no\n"
            f"PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 100\nSetEnv DELTASYNC_HOME={self.far_home}\n"
        )
        self.ssh_config.write_text(
            f"Host bench\n  Port {self.port}\nHost counted\n  Port {self.counted_port}\n"
            f"Host *\n  HostName 127.0.0.1\n  HostKeyAlias bench\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {place}/known_hosts\n  StrictHostKeyChecking yes\n"
        )


def _free_ports() -> tuple[int, int, int]:
    with ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        one, two, three = (server.getsockname()[1] for server in servers)
        return one, two, three


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"sshd ended with {process.returncode}")
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError("sshd does not answer")


@contextmanager
def sshd(place: Path) -> Iterator[Server]:
    """Run sshd, with its files in a directory.

    Raises:
        RuntimeError: It is not installed, or does not start.
    """
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise RuntimeError("sshd is not installed (apt install openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = Server(program, place)
    server.write(place)
    process = server.start()
    try:
        _wait_for(server.port, process)
        yield server
    finally:
        process.terminate()
        process.wait()
