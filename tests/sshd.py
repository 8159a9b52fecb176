"""A real SSH server on the loopback addresses: started once for all tests, with keys of its own, and ended with them.

It serves the user who runs the tests, as root or not, and nobody else. Where sshd is missing, the tests that ask for it skip.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import pytest

__all__ = ["Sshd", "sshd"]

START_TIMEOUT_S: Final = 20.0
SYSTEM_PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])

SERVER_CONFIG: Final = """
AuthorizedKeysFile {directory}/authorized_keys
HostKey {directory}/host_ed25519
HostKey {directory}/host_rsa
KbdInteractiveAuthentication no
LogLevel ERROR
MaxAuthTries 20
MaxStartups 100
PasswordAuthentication no
PermitRootLogin yes
PidFile none
PrintMotd no
StrictModes no
SetEnv DELTASYNC_HOME={directory}/state
UsePAM no
"""

CLIENT_CONFIG: Final = """
BatchMode yes
GlobalKnownHostsFile none
IdentitiesOnly yes
IdentityAgent none
IdentityFile {identity}
UserKnownHostsFile {known_hosts}
"""


@dataclass(frozen=True)
class Sshd:
    """The running server.

    Attributes:
        directory: Its files: `id_ed25519`, which may log in, `other_ed25519`, which may not, `known_hosts`, `host_ed25519`, `host_rsa`.
        port: Its port, on 127.0.0.1 and, where there is IPv6, on ::1.
        ipv6: Whether there is IPv6.
        user: Who may log in: who runs the tests.
    """

    directory: Path
    port: int
    ipv6: bool
    user: str

    @property
    def known_hosts(self) -> str:
        """The lines that vouch for the server, all of its keys by all of its names."""
        return (self.directory / "known_hosts").read_text()

    def public_key(self, name: str = "host_ed25519") -> str:
        """Return the type and the key of a public key file, as in known_hosts."""
        return " ".join((self.directory / f"{name}.pub").read_text().split()[:2])

    def config(self, folder: Path, *, known_hosts: str | None = None, identity: str = "id_ed25519", options: Sequence[str] = ()) -> str:
        """Write an ssh_config, and return its path.

        Args:
            folder: Where to.
            known_hosts: What known_hosts holds; None for what vouches for the server.
            identity: The name of the key.
            options: Further lines, which win.
        """
        trusted = folder / "known_hosts"
        trusted.write_text(self.known_hosts if known_hosts is None else known_hosts)
        path = folder / "ssh_config"
        text = CLIENT_CONFIG.format(identity=self.directory / identity, known_hosts=trusted)
        path.write_text("\n".join([*options, text]))
        return str(path)


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def has_ipv6() -> bool:
    """Tell whether this machine has an IPv6 loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def make_key(path: Path, kind: str = "ed25519") -> None:
    """Make a key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(path)], check=True)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Sshd, None, None]:
    """The server, for the whole session."""
    program = shutil.which("sshd", path=SYSTEM_PATH)
    if program is None:
        pytest.skip("needs sshd")
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh")
    directory = tmp_path_factory.mktemp("sshd")
    for name, kind in (("host_ed25519", "ed25519"), ("host_rsa", "rsa"), ("id_ed25519", "ed25519"), ("other_ed25519", "ed25519")):
        make_key(directory / name, kind)
    shutil.copy(directory / "id_ed25519.pub", directory / "authorized_keys")
    server = Sshd(directory, free_port(), has_ipv6(), pwd.getpwuid(os.getuid()).pw_name)
    addresses = ["127.0.0.1", "::1"] if server.ipv6 else ["127.0.0.1"]
    keys = [server.public_key(name) for name in ("host_ed25519", "host_rsa")]
    (directory / "known_hosts").write_text("".join(f"[{host}]:{server.port} {key}\n" for host in addresses for key in keys))
    listen = "".join(f"ListenAddress [{host}]:{server.port}\n" for host in addresses)
    (directory / "sshd_config").write_text(listen + SERVER_CONFIG.format(directory=directory))
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", str(directory / "sshd_config")], stdin=subprocess.DEVNULL, stderr=log)
    try:
        wait_until_it_listens(process, server)
        yield server
    finally:
        process.terminate()
        process.wait()


def wait_until_it_listens(process: subprocess.Popen[bytes], server: Sshd) -> None:
    """Wait for the server's first words."""
    deadline = monotonic() + START_TIMEOUT_S
    while monotonic() < deadline:
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            pass
        else:
            break
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=START_TIMEOUT_S) as probe:
                if probe.recv(4) == b"SSH-":
                    return
        except ConnectionRefusedError:
            continue
    raise AssertionError(f"sshd did not start: {(server.directory / 'log').read_text()}")
