"""`--data tcp` and `--e2e` over a real sshd: the bulk goes beside SSH where it can, and who proves no key hears nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from deltasync.channel import data_dial
from deltasync.channel.address import DataPlan, Remote, TcpAddress
from deltasync.channel.tcp import dial
from deltasync.engine.job import Job
from deltasync.engine.run import run
from deltasync.fs.own_key import load_or_make
from deltasync.wire.keys import encode
from deltasync.wire.settings import Settings
from tests.engine.runs import Heard
from tests.sshd import Sshd, free_port
from tests.test_end_to_end import BACKENDS, REMOTE, arguments, deltasync

pytestmark = [pytest.mark.needs("ssh"), pytest.mark.timeout(120)]

SIZE = 4 << 20
SLOWLY = ("--bwlimit", "8M")
"""So that the session lasts long enough for the connection to come to stand."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with a large file and small ones."""
    made = tmp_path / "source"
    made.mkdir()
    (made / "large").write_bytes(os.urandom(SIZE))
    for number in range(20):
        (made / f"small{number}").write_text(str(number))
    return made


def same(one: Path, other: Path) -> bool:
    """Tell whether two directories hold the same."""
    return subprocess.run(["diff", "-r", str(one), str(other)], check=False, capture_output=True).returncode == 0


def summary(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """Return the summary of a run that succeeded."""
    assert (done.returncode, done.stderr) == (0, "")
    last: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return last


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bulk_goes_over_tcp(sshd: Sshd, tmp_path: Path, source: Path, backend: str) -> None:
    """Both ways, with either SSH: the summary says so, and everything arrives."""
    options = [*arguments(sshd, tmp_path, backend=backend), "--json", "--data", "tcp", *SLOWLY]
    there, back = tmp_path / "there", tmp_path / "back"
    pushed = summary(deltasync("push", *options, f"{source}/", f"127.0.0.1:{there}"))
    assert (pushed["channel"], pushed["cipher"], pushed["literal_bytes"]) == ("ssh+tcp", "AES-256-GCM", SIZE + 30)
    pulled = summary(deltasync("pull", *options, f"127.0.0.1:{there}/", back))
    assert pulled["channel"] == "ssh+tcp"
    assert same(source, back)


def test_a_session_that_is_over_at_once_stays(sshd: Sshd, tmp_path: Path) -> None:
    """Whether it moves or not, a tiny push works, and so does one that is refused."""
    (tmp_path / "f").write_text("x")
    options = [*arguments(sshd, tmp_path), "--data", "tcp"]
    for _ in range(3):
        assert deltasync("push", *options, tmp_path / "f", f"127.0.0.1:{tmp_path}/g").returncode == 0
    assert (tmp_path / "g").read_text() == "x"
    assert deltasync("push", *options, tmp_path / "f", f"127.0.0.1:{tmp_path}/a/b/c").returncode == 11


def test_where_the_port_is_blocked_it_stays_in_ssh(sshd: Sshd, tmp_path: Path, source: Path) -> None:
    """Silently: the far end can't have the port, or nobody can be reached at the address."""
    options = [*arguments(sshd, tmp_path), "--json", *SLOWLY]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        done = summary(deltasync("push", *options, "--data", f"tcp:{number}", f"{source}/", f"127.0.0.1:{tmp_path}/one"))
    assert done["channel"] == "ssh"
    # TEST-NET-1 (RFC 5737): nobody is there.
    done = summary(deltasync("push", *options, "--data", "tcp:192.0.2.1", f"{source}/", f"127.0.0.1:{tmp_path}/two"))
    assert done["channel"] == "ssh"
    assert same(source, tmp_path / "one")
    assert same(source, tmp_path / "two")


def test_a_stranger_who_comes_first_is_in_nobodys_way(sshd: Sshd, tmp_path: Path, source: Path) -> None:
    """Whoever connects to the port before and says nothing gets nothing, is closed, and the session moves all the same."""
    number = free_port()
    heard: list[bytes] = []
    over = threading.Event()

    def intrude() -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", number), timeout=20) as stranger:
                heard.append(stranger.recv(1))

    intruders = [threading.Thread(target=intrude) for _ in range(2)]
    for intruder in intruders:
        intruder.start()
    try:
        options = [*arguments(sshd, tmp_path), "--json", "--data", f"tcp:{number}", *SLOWLY]
        done = summary(deltasync("push", *options, f"{source}/", f"127.0.0.1:{tmp_path}/there"))
    finally:
        over.set()
        for intruder in intruders:
            intruder.join()
    assert done["channel"] == "ssh+tcp"
    assert same(source, tmp_path / "there")
    assert set(heard) <= {b""}


class Relay:
    """A way to the port that breaks, or changes a byte, once so much has gone through it."""

    def __init__(self, after: int, harm: Callable[[bytes], bytes]) -> None:
        self._after = after
        self._harm = harm
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def dial(self, address: TcpAddress, *, timeout_s: float | None = None, given_up: Callable[[], bool] = lambda: False) -> socket.socket:
        """Take the place of `channel.tcp.dial`."""
        far = dial(address, timeout_s=timeout_s, given_up=given_up)
        far.setblocking(True)
        with socket.create_server(("127.0.0.1", 0)) as server:
            near = socket.create_connection(server.getsockname())
            middle, _ = server.accept()
        self._sockets += [far, middle]
        for one, other, after in ((middle, far, self._after), (far, middle, 1 << 62)):
            thread = threading.Thread(target=self._pump, args=(one, other, after))
            thread.start()
            self._threads.append(thread)
        return near

    def _pump(self, one: socket.socket, other: socket.socket, after: int) -> None:
        gone = 0
        with suppress(OSError):
            while data := one.recv(65536):
                gone += len(data)
                if gone > after:
                    data = self._harm(data)
                other.sendall(data)
                if not data:
                    break
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it."""
        for thread in self._threads:
            thread.join()
        for end in self._sockets:
            end.close()


def job(sshd: Sshd, folder: Path, source: Path, dest: Path) -> Job:
    """A push over a data connection, in this process."""
    remote = Remote("127.0.0.1", port=sshd.port, ssh_config=sshd.config(folder), remote_path=REMOTE)
    settings = Settings(bwlimit_bytes_s=8 << 20)
    return Job("push", (os.fsencode(source) + b"/",), os.fsencode(dest), settings, remote=remote, data=DataPlan())


def test_a_data_connection_that_is_lost_is_made_up_for(sshd: Sshd, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run begins again, stays in SSH then, and all arrives."""
    relay = Relay(SIZE // 2, lambda _: b"")
    monkeypatch.setattr(data_dial, "dial", relay.dial)
    heard = Heard()
    done = run(job(sshd, tmp_path, source, tmp_path / "there"), heard, threading.Event())
    relay.close()
    assert (done.exit_code, done.channel) == (0, "ssh")
    assert any("trying again" in note for note in heard.notes)
    assert same(source, tmp_path / "there")


def test_meddling_with_a_data_connection_is_found_out(sshd: Sshd, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte that was changed on the way ends the session before it is written anywhere."""
    relay = Relay(SIZE // 2, lambda data: bytes([data[0] ^ 1]) + data[1:])
    monkeypatch.setattr(data_dial, "dial", relay.dial)
    with pytest.raises(Exception, match=r"record \d+ from the peer is bad"):
        run(job(sshd, tmp_path, source, tmp_path / "there"), Heard(), threading.Event())
    relay.close()
    assert not (tmp_path / "there" / "large").exists()


@pytest.mark.parametrize("words", [("--data", "tcp"), ("--e2e", "A" * 43)])
def test_what_is_for_ssh_is_refused_elsewhere(tmp_path: Path, words: tuple[str, str]) -> None:
    """Neither a local push nor a listener has a data connection, or another key to prove."""
    (tmp_path / "f").write_text("x")
    for dest in (str(tmp_path / "g"), "tcp://127.0.0.1:1/x"):
        assert deltasync("push", *words, tmp_path / "f", dest).returncode == 2


# End to end -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_pinned_key_opens_the_session(sshd: Sshd, tmp_path: Path, source: Path, backend: str) -> None:
    """With the key that the far end has, everything works, a data connection too."""
    key = encode(load_or_make(str(sshd.directory / "state")).public)
    options = [*arguments(sshd, tmp_path, backend=backend), "--e2e", key]
    assert deltasync("push", *options, f"{source}/", f"127.0.0.1:{tmp_path}/there").stderr == ""
    assert deltasync("pull", *options, "--data", "tcp", f"127.0.0.1:{tmp_path}/there/", tmp_path / "back").stderr == ""
    assert same(source, tmp_path / "back")


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_key_than_pinned_is_5(sshd: Sshd, tmp_path: Path, source: Path, backend: str) -> None:
    """One line that names the key and what to do; nothing is written there."""
    other = encode(load_or_make(str(tmp_path / "other")).public)
    done = deltasync("push", *arguments(sshd, tmp_path, backend=backend), "--e2e", other, f"{source}/", f"127.0.0.1:{tmp_path}/there")
    assert done.returncode == 5
    assert other in done.stderr
    assert "did not prove" in done.stderr
    assert not (tmp_path / "there").exists()


MIDDLE = """#!{python}
import os, subprocess, sys, threading
from pathlib import Path
far = subprocess.Popen([{remote!r}, "serve", "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def pump(source, target, harm):
    gone = 0
    while data := os.read(source, 65536):
        open({seen!r}, "ab").write(data)
        if harm and gone <= {at} < gone + len(data):
            data = bytearray(data)
            data[{at} - gone] ^= 1
        gone += len(data)
        while data:
            data = data[os.write(target, data):]
    os.close(target)
def quietly(*args):
    try:
        pump(*args)
    except OSError:
        pass
threading.Thread(target=quietly, args=(0, far.stdin.fileno(), {inwards}), daemon=True).start()
quietly(far.stdout.fileno(), 1, not {inwards})
os._exit(far.wait())
"""


@pytest.mark.parametrize(("at", "inwards", "code"), [(20, True, 5), (20, False, 5), (2000, True, 12), (140, False, 12), (1 << 40, True, 0)])
def test_a_relay_that_meddles_is_found_out(sshd: Sshd, tmp_path: Path, source: Path, at: int, inwards: bool, code: int) -> None:
    """Who stands where SSH ends reads no name and changes no byte; left alone by him the session works."""
    import sys

    middle = tmp_path / "middle"
    seen = tmp_path / "seen"
    middle.write_text(MIDDLE.format(python=sys.executable, remote=REMOTE, seen=str(seen), at=at, inwards=inwards))
    middle.chmod(0o755)
    key = encode(load_or_make(str(sshd.directory / "state")).public)
    options: list[str | Path] = [*arguments(sshd, tmp_path)[:-1], middle, "--e2e", key]
    done = deltasync("push", *options, f"{source}/", f"127.0.0.1:{tmp_path}/there")
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert b"small1" not in seen.read_bytes()
    assert (tmp_path / "there" / "large").exists() == (code == 0)
