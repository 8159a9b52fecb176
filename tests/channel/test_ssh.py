"""Both SSH backends, against a real server: they pass what every stream must, trust nobody unknown, and say what is wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from deltasync.channel import openssh, paramiko_ssh
from deltasync.channel.address import Remote
from deltasync.channel.pipes import PipeStream
from deltasync.channel.secure import open_initiator
from deltasync.channel.ssh import SshStream, connect
from deltasync.channel.stream import ByteStream
from deltasync.errors import (
    AuthenticationError,
    ConnectionLost,
    DeadlineExceeded,
    DeltasyncError,
    ExitCode,
    RemoteProtocolError,
    TransportError,
    UsageError,
)
from tests import far_end
from tests.channel.conformance import PATIENCE_S, SHORT_S, StreamConformance, Worker, receive
from tests.sshd import Sshd, free_port

Backend = Literal["openssh", "paramiko"]
BACKENDS = [pytest.param("openssh", marks=pytest.mark.needs("ssh")), "paramiko"]
HOST = "127.0.0.1"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """An SSH."""
    name: Backend = request.param
    return name


class FarEnd(PipeStream):
    """The far end of a session, in this process; `close` ends the program there too, with `exit_code`."""

    exit_code = 0

    def __init__(self, control: socket.socket) -> None:
        _, fds, _, _ = socket.recv_fds(control, 1, 2)
        super().__init__(fds[0], fds[1])
        self._control = control

    def close(self) -> None:
        """See `ByteStream.close`."""
        super().close()
        if self._control.fileno() >= 0:
            self._control.send(b"%d" % self.exit_code)
            self._control.close()


@contextmanager
def session(remote: Remote) -> Generator[tuple[SshStream, FarEnd], None, None]:
    """Connect, and give both ends."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = f"{directory}/control"
        listener.bind(path)
        listener.listen()
        listener.settimeout(PATIENCE_S)
        command = f"exec {sys.executable} {far_end.__file__} {path} #"
        stream = connect(Remote(remote.host, port=remote.port, ssh=remote.ssh, ssh_config=remote.ssh_config, remote_path=command))
        try:
            stream.send(b"")
            control, _ = listener.accept()
            far = FarEnd(control)
            try:
                yield stream, far
            finally:
                far.close()
        finally:
            stream.close()


def failure(remote: Remote) -> DeltasyncError:
    """Try to begin a session; return what the user would be told."""
    stream = connect(remote)
    stream.timeout_s = PATIENCE_S
    try:
        open_initiator(stream, peer=str(remote))
    except DeltasyncError as error:
        return stream.explain(error)
    finally:
        stream.close()
    raise AssertionError("a session began")


class SshConformance(StreamConformance):
    """What every stream must do, over SSH."""

    @pytest.fixture(autouse=True)
    def remember(self, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keep what `connected` needs; a far end in this same thread ends nothing by itself while the near end is closed."""
        for module in (openssh, paramiko_ssh):
            monkeypatch.setattr(module, "GRACE_S", 0.01)
        self.sshd = sshd
        self.config = sshd.config(tmp_path)

    @property
    @abstractmethod
    def ssh(self) -> Backend:
        """Which SSH."""

    @contextmanager
    def connected(self) -> Generator[tuple[ByteStream, ByteStream], None, None]:
        """Give the near and the far end."""
        with session(Remote(HOST, port=self.sshd.port, ssh=self.ssh, ssh_config=self.config)) as ends:
            yield ends


@pytest.mark.needs("ssh")
class TestOpenSsh(SshConformance):
    """The OpenSSH client."""

    ssh: Backend = "openssh"


class TestParamiko(SshConformance):
    """Paramiko."""

    ssh: Backend = "paramiko"


def remote_of(
    sshd: Sshd,
    backend: Backend,
    config: str,
    *,
    host: str = HOST,
    port: int | None = None,
    identity: str | None = None,
    remote_path: str | None = None,
) -> Remote:
    """Return the server's address, or another."""
    return Remote(host, port=port or sshd.port, ssh=backend, ssh_config=config, identity=identity, remote_path=remote_path)


def test_an_unknown_host_key_stops(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """Nothing is trusted that nobody vouched for; a line of a certificate authority vouches for no plain key."""
    for known in ("", f"@cert-authority * {sshd.public_key()}\n", f"[{HOST}]:1 {sshd.public_key()}\n"):
        error = failure(remote_of(sshd, backend, sshd.config(tmp_path, known_hosts=known)))
        assert type(error) is AuthenticationError
        assert "not known" in str(error)


def test_a_changed_host_key_stops(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """The key of another is not that of the host."""
    known = f"[{HOST}]:{sshd.port} {sshd.public_key('other_ed25519')}\n"
    error = failure(remote_of(sshd, backend, sshd.config(tmp_path, known_hosts=known)))
    assert type(error) is AuthenticationError
    assert "not the one in known_hosts" in str(error)


def test_a_revoked_host_key_stops(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """Even where another line vouches for it."""
    known = f"[{HOST}]:{sshd.port} {sshd.public_key()}\n@revoked * {sshd.public_key()}\n"
    error = failure(remote_of(sshd, backend, sshd.config(tmp_path, known_hosts=known)))
    assert type(error) is AuthenticationError
    assert "@revoked" in str(error)


@pytest.mark.needs("ssh")
def test_a_hashed_known_host_is_known(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """As `ssh-keygen -H` and HashKnownHosts write them; of an RSA key too, which must then be asked for."""
    lines = [line for line in sshd.known_hosts.splitlines() if "ssh-rsa" in line]
    config = sshd.config(tmp_path, known_hosts="\n".join([*lines, ""]))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(tmp_path / "known_hosts")], check=True, capture_output=True)
    assert HOST not in (tmp_path / "known_hosts").read_text()
    with session(remote_of(sshd, backend, config)) as (near, far):
        far.send(b"in")
        assert receive(near, 2) == b"in"


def test_a_key_that_is_not_wanted_is_told(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """The server lets nobody in with it."""
    error = failure(remote_of(sshd, backend, sshd.config(tmp_path, identity="other_ed25519")))
    assert type(error) is AuthenticationError
    assert "does not let us in" in str(error)
    assert "Permission denied" in str(error)


def test_the_identity_may_be_named(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """`--identity` is offered besides what the configuration names."""
    config = sshd.config(tmp_path, identity="other_ed25519")
    remote = remote_of(sshd, backend, config, identity=str(sshd.directory / "id_ed25519"), remote_path="echo hello;:")
    assert '"hello"' in str(failure(remote))


def test_a_port_without_a_server_is_told(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """Nobody listens there, or the name has no address."""
    config = sshd.config(tmp_path)
    error = failure(remote_of(sshd, backend, config, port=free_port()))
    assert type(error) is TransportError
    assert error.exit_code == ExitCode.CONNECTION
    assert "refused" in str(error)
    error = failure(remote_of(sshd, backend, config, host="nowhere.invalid"))
    assert type(error) is TransportError
    assert "resolve" in str(error)


def test_a_talking_shell_is_told(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """What it printed is quoted."""
    error = failure(remote_of(sshd, backend, sshd.config(tmp_path), remote_path="echo Welcome to the machine; sleep 0;:"))
    assert type(error) is RemoteProtocolError
    assert '"Welcome to the machine"' in str(error)


def test_a_far_end_without_deltasync_is_told(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """Whether it was looked for or named; and what to do."""
    config = sshd.config(tmp_path, options=["SetEnv DELTASYNC_TEST=1"])
    error = failure(remote_of(sshd, backend, config, remote_path="/nowhere/deltasync"))
    assert type(error) is RemoteProtocolError
    assert "/nowhere/deltasync" in str(error)
    error = failure(
        remote_of(
            sshd,
            backend,
            config,
            remote_path="echo deltasync: not found on the PATH, in '~/.local/bin' or in '~/.deltasync/bin' >&2; exit 127;:",
        )
    )
    assert type(error) is RemoteProtocolError


def test_a_far_end_that_fails_is_told(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """By its last words, made safe for a terminal, or by its exit code."""
    config = sshd.config(tmp_path)
    error = failure(remote_of(sshd, backend, config, remote_path="printf 'first\\nOut of \\033 memory\\n' >&2; exit 3;:"))
    assert type(error) is RemoteProtocolError
    assert "no deltasync answered on 127.0.0.1: Out of \\x1b memory; " in str(error)
    for code in (0, 3):
        error = failure(remote_of(sshd, backend, config, remote_path=f"exit {code};:"))
        assert type(error) is RemoteProtocolError
        assert f"exit code {code}; " in str(error)


@pytest.mark.parametrize(
    ("rsh", "code", "words"),
    [
        ("exit 1", ExitCode.PROTOCOL, "no deltasync answered on HOST: the command ended with exit code 1; "),
        ("exit 0", ExitCode.PROTOCOL, "no deltasync answered on HOST: the command ended with exit code 0; "),
        ("cat", ExitCode.PROTOCOL, "the peer sent a handshake message that is too short"),
        ("echo hello; exit 1", ExitCode.PROTOCOL, '"hello"'),
        ("echo no route >&2; exit 255", ExitCode.CONNECTION, "can't connect to HOST: no route; "),
        ("exit 255", ExitCode.CONNECTION, "can't connect to HOST: "),
        ("kill -9 $$", ExitCode.CONNECTION, "HOST closed the connection without an answer: "),
    ],
)
def test_what_is_no_deltasync_is_told_from_what_is_no_connection(rsh: str, code: ExitCode, words: str) -> None:
    """255 is ssh's own failure; whatever else ends, echoes or talks before it has greeted was reached, and is something else."""
    error = failure(Remote("HOST", rsh=("sh", "-c", rsh)))
    assert (error.exit_code, words in str(error)) == (code, True), error


@pytest.mark.needs("ssh")
def test_silence_is_told_with_the_host(sshd: Sshd, tmp_path: Path) -> None:
    """Whose it was, and what to do about it."""
    for backend in ("openssh", "paramiko"):
        with session(remote_of(sshd, backend, sshd.config(tmp_path))) as (near, far):
            far.send(b"x")
            assert receive(near, 1) == b"x"
            near.timeout_s = SHORT_S
            with pytest.raises(DeadlineExceeded) as caught:
                receive(near, 1)
            assert str(near.explain(caught.value)).startswith(f"{HOST}: nothing came from the peer for {SHORT_S:g} s; allow more with")


def test_a_session_that_stood_is_lost(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """It stays a lost connection, which can be made again."""
    with session(remote_of(sshd, backend, sshd.config(tmp_path))) as (near, far):
        far.send(b"x")
        assert receive(near, 1) == b"x"
        far.exit_code = 255
        far.close()
        assert near.recv_into(memoryview(bytearray(1))) == 0
        lost = near.explain(ConnectionLost("the connection ended"))
        assert (type(lost), str(lost)) == (ConnectionLost, f"{HOST}: the connection ended")
        other = RemoteProtocolError("other")
        assert near.explain(other) is other


def test_lines_from_standard_error_are_passed_on(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """While the session lives, whole lines, as they were said."""
    stream = connect(remote_of(sshd, backend, sshd.config(tmp_path), remote_path="printf 'one\\r\\ntwo\\nth' >&2; read x; echo $x;:"))
    stream.timeout_s = PATIENCE_S
    lines: list[bytes] = []
    stream.heard = lines.append
    stream.send(b"said\n")
    assert receive(stream, 5) == b"said\n"
    assert stream.recv_into(memoryview(bytearray(1))) == 0
    stream.explain(ConnectionLost("the end"))
    assert lines[-2:] == [b"one", b"two"]
    stream.close()


def test_what_was_sent_last_arrives(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """Closing right after sending loses nothing, not even what lies in the buffers of the way."""
    target = tmp_path / "received"
    stream = connect(remote_of(sshd, backend, sshd.config(tmp_path), remote_path=f"echo; cat > {target}; echo done >> {target};:"))
    stream.timeout_s = PATIENCE_S
    content = os.urandom(3 << 20)
    receive(stream, 1)
    stream.send(content)
    stream.close()
    assert target.read_bytes() == content + b"done\n"


def test_ipv6(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """An address of colons is an address."""
    if not sshd.ipv6:
        assert not os.path.exists("/proc/net/if_inet6") or "00000000000000000000000000000001" not in Path("/proc/net/if_inet6").read_text()
        return
    with session(remote_of(sshd, backend, sshd.config(tmp_path), host="::1")) as (near, far):
        far.send(b"6")
        assert receive(near, 1) == b"6"


@pytest.mark.needs("ssh")
def test_a_proxy_is_used(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """ProxyCommand, with its tokens, and a HostKeyAlias for who is behind it; the name itself leads nowhere."""
    jump = tmp_path / "jump"
    jump.mkdir()
    config = sshd.config(
        tmp_path,
        known_hosts=f"behind {sshd.public_key()}\n",
        options=[
            "Host behind.invalid",
            f"ProxyCommand ssh -F {sshd.config(jump)} -p %p -W {HOST}:%p {HOST}",
            "HostKeyAlias behind",
            "Host *",
        ],
    )
    with session(remote_of(sshd, backend, config, host="behind.invalid")) as (near, far):
        far.send(b"behind")
        assert receive(near, 6) == b"behind"


def test_a_proxy_that_fails_is_told(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """By what it said."""
    config = sshd.config(tmp_path, options=["ProxyCommand sh -c 'echo no way out >&2; exit 1'"])
    error = failure(remote_of(sshd, backend, config))
    assert type(error) is TransportError
    if backend == "paramiko":
        assert "no way out; " in str(error)


def test_the_configuration_names_the_host(sshd: Sshd, backend: Backend, tmp_path: Path) -> None:
    """HostName, Port and User."""
    config = sshd.config(tmp_path, options=["Host nick", f"HostName {HOST}", f"Port {sshd.port}", f"User {sshd.user}", "Host *"])
    with session(Remote("nick", ssh=backend, ssh_config=config)) as (near, far):
        far.send(b"named")
        assert receive(near, 5) == b"named"


@pytest.mark.parametrize("host", ["-oProxyCommand=touch owned", "-", ""])
def test_an_option_is_no_host(backend: Backend, host: str) -> None:
    """It is refused before anything is run."""
    with pytest.raises(UsageError):
        connect(Remote(host, ssh=backend))


def test_connecting_can_be_ended(backend: Backend, tmp_path: Path, sshd: Sshd) -> None:
    """A server that accepts and says nothing holds nobody who closes."""
    with socket.create_server((HOST, 0)) as silent:
        stream = connect(Remote(HOST, port=silent.getsockname()[1], ssh=backend, ssh_config=sshd.config(tmp_path)))
        waiting = Worker(lambda: stream.recv_into(memoryview(bytearray(1))))
        connection, _ = silent.accept()
        stream.close()
        with pytest.raises(ConnectionLost):
            waiting.result()
        connection.close()


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The OpenSSH client, and paramiko without one; a remote shell of the user's is never replaced."""
    (tmp_path / "rsh").write_text("#!/bin/sh\n")
    (tmp_path / "rsh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    chosen = [type(connect(Remote("host"))).__name__]
    stream = connect(Remote("host", ssh="paramiko", rsh=("rsh",)))
    chosen.append(type(stream).__name__)
    stream.close()
    (tmp_path / "ssh").write_text("#!/bin/sh\n")
    (tmp_path / "ssh").chmod(0o755)
    stream = connect(Remote("host"))
    chosen.append(type(stream).__name__)
    stream.close()
    assert chosen == ["ParamikoStream", "OpenSshStream", "OpenSshStream"]
