"""An SSH server on loopback for the time of the benchmarks, with keys of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["CIPHER", "sshd"]

CIPHER = "aes128-gcm@openssh.com"
"""What rsync is told to use, and what deltasync prefers by itself."""
START_TIMEOUT_S = 10.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
def sshd(place: Path) -> Iterator[Path]:
    """Run sshd; yield the path of an ssh_config in which the host `bench` is this server."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise RuntimeError("sshd is not installed (apt install openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    port = _free_port()
    shutil.copy(place / "user.pub", place / "authorized_keys")
    host_key = (place / "host.pub").read_text().split()
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key[0]} {host_key[1]}\n")
    (place / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nAuthorizedKeysFile {place}/authorized_keys\nStrictModes no\n"
        f"UsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 100\n"
    )
    config = place / "ssh_config"
    config.write_text(
        f"Host bench\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {place}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {place}/known_hosts\n  StrictHostKeyChecking yes\n"
    )
    process = subprocess.Popen([program, "-D", "-e", "-f", place / "sshd_config"], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield config
    finally:
        process.terminate()
        process.wait()
