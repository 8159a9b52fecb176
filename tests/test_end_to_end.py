"""The command itself, over a real sshd, with both SSH backends: trees equal afterwards, errors as the contract has them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from time import monotonic

import pytest

from tests.engine.trees import change, make, snapshot
from tests.sshd import Sshd

pytestmark = [pytest.mark.needs("ssh"), pytest.mark.timeout(120)]

COMMAND = [sys.executable, "-m", "deltasync"]
REMOTE = f"{Path(sys.executable).parent}/deltasync"
BACKENDS = ["openssh", "paramiko"]


def arguments(server: Sshd, folder: Path, *, backend: str = "openssh", known_hosts: str | None = None) -> list[str]:
    """The options that lead to the server."""
    config = server.config(folder, known_hosts=known_hosts)
    return ["--ssh", backend, "--ssh-config", config, "--port", str(server.port), "--remote-path", REMOTE]


def deltasync(*words: str | Path | int) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def differences(source: Path | str, dest: Path | str) -> str:
    """What rsync would still do."""
    command = ["rsync", "-aHnic", "--delete", f"{source}/", f"{dest}/"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tree_goes_and_comes_back(sshd: Sshd, tmp_path: Path, backend: str) -> None:
    """A random tree pushed and pulled is equal on every leg, changes and deletions included, and a further push does nothing."""
    rng = random.Random(backend)
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    make(os.fsencode(source), rng, 120)
    options = [*arguments(sshd, tmp_path, backend=backend), "-H", "--delete"]
    for _ in range(2):
        assert deltasync("push", *options, f"{source}/", f"127.0.0.1:{there}").stderr == ""
        assert snapshot(os.fsencode(there), links=True) == snapshot(os.fsencode(source), links=True)
        assert deltasync("pull", *options, f"127.0.0.1:{there}/", back).stderr == ""
        assert snapshot(os.fsencode(back), links=True) == snapshot(os.fsencode(source), links=True)
        change(os.fsencode(source), rng, 40)
    deltasync("push", *options, f"{source}/", f"127.0.0.1:{there}")
    done = deltasync("push", *options, "-i", "--json", f"{source}/", f"127.0.0.1:{there}")
    (summary,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert (summary["event"], summary["channel"], summary["cipher"]) == ("summary", "ssh", "AES-256-GCM")
    assert (summary["files_sent"], summary["entries_changed"], summary["literal_bytes"]) == (0, 0, 0)


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("backend", [*BACKENDS, "local"])
def test_a_real_tree(sshd: Sshd, tmp_path: Path, backend: str) -> None:
    """Python's own library, as it stands on this machine: rsync finds nothing left to do, and the second push moves only what changed."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    subprocess.run(["cp", "-a", sysconfig.get_path("stdlib") + "/email", source], check=True)
    subprocess.run(["cp", "-a", sysconfig.get_path("stdlib") + "/encodings", source / "encodings"], check=True)
    local = backend == "local"
    options = [] if local else arguments(sshd, tmp_path, backend=backend)
    place = str(dest) if local else f"127.0.0.1:{dest}"
    assert deltasync("push", *options, "-H", f"{source}/", place).returncode == 0
    assert differences(source, dest) == ""
    (source / "encodings" / "ascii.py").write_text("changed")
    (source / "message.py").unlink()
    done = deltasync("push", *options, "-H", "-i", "--delete", f"{source}/", place)
    assert differences(source, dest) == ""
    arrow = ">" if local else "<"
    assert {line.split()[-1] for line in done.stdout.splitlines() if line[0] in f"{arrow}*"} == {"encodings/ascii.py", "message.py"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_unknown_and_changed_host_keys_are_5(sshd: Sshd, tmp_path: Path, backend: str) -> None:
    """A server that can't be known ends the run before a name is sent, in one line."""
    (tmp_path / "f").write_text("x")
    other = sshd.public_key("other_ed25519")
    revoked = "".join(f"@revoked * {sshd.public_key(name)}\n" for name in ("host_ed25519", "host_rsa"))
    for known in ("", f"[127.0.0.1]:{sshd.port} {other}\n", revoked + sshd.known_hosts):
        done = deltasync("push", *arguments(sshd, tmp_path, backend=backend, known_hosts=known), tmp_path / "f", f"127.0.0.1:{tmp_path}/g")
        assert (done.returncode, len(done.stderr.splitlines())) == (5, 1), done.stderr
        assert not (tmp_path / "g").exists()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_can_be_missing_at_the_far_end(sshd: Sshd, tmp_path: Path, backend: str) -> None:
    """No deltasync there is 12, no parent directory is 11, no source is 23, no server is 10; each is one line."""
    (tmp_path / "f").write_text("x")
    options = arguments(sshd, tmp_path, backend=backend)
    missing: list[str | Path] = [*options[:-1], "/nowhere/deltasync"]
    gone = deltasync("push", *missing, tmp_path / "f", "127.0.0.1:f")
    assert (gone.returncode, len(gone.stderr.splitlines())) == (12, 1), gone.stderr
    parent = deltasync("push", *options, tmp_path / "f", f"127.0.0.1:{tmp_path}/a/b/c")
    assert (parent.returncode, len(parent.stderr.splitlines())) == (11, 1), parent.stderr
    source = deltasync("pull", "--json", *options, f"127.0.0.1:{tmp_path}/nothing", tmp_path / "x")
    assert (source.returncode, len(source.stderr.splitlines())) == (23, 1), source.stderr
    assert [problem["path"] for problem in json.loads(source.stdout)["problems"]] == [f"{tmp_path}/nothing"]
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        refused = deltasync("push", *options, "--port", port, tmp_path / "f", "127.0.0.1:f")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (10, 1), refused.stderr


def test_noise_of_a_login_shell_is_named(sshd: Sshd, tmp_path: Path) -> None:
    """Whatever comes before deltasync's first byte is quoted, with what to do; the exit is 12."""
    (tmp_path / "f").write_text("x")
    noisy = tmp_path / "noisy"
    noisy.write_text(f'#!/bin/sh\necho "Welcome to the machine"\nexec {REMOTE} "$@"\n')
    noisy.chmod(0o755)
    done = deltasync("push", *arguments(sshd, tmp_path)[:-1], noisy, tmp_path / "f", "127.0.0.1:f")
    assert done.returncode == 12
    assert "Welcome to the machine" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_serve_beneath_a_root_and_read_only(sshd: Sshd, tmp_path: Path) -> None:
    """`serve --root DIR --read-only` takes every path beneath DIR, and lets nothing be written."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "f").write_text("x")
    (served / "out").symlink_to("/etc")
    forced = tmp_path / "forced"
    forced.write_text(f"#!/bin/sh\nexec {REMOTE} serve --stdio --root {served} --read-only\n")
    forced.chmod(0o755)
    options: list[str | Path] = [*arguments(sshd, tmp_path)[:-1], forced]
    assert deltasync("pull", *options, "127.0.0.1:/f", tmp_path / "got").returncode == 0
    assert (tmp_path / "got").read_text() == "x"
    assert deltasync("pull", *options, "127.0.0.1:/out/", tmp_path / "leak").returncode == 23
    assert deltasync("pull", *options, "127.0.0.1:../served/f", tmp_path / "leak").returncode != 0
    assert not (tmp_path / "leak").exists() or not list((tmp_path / "leak").iterdir())
    before = served.stat()
    refused = deltasync("push", *options, tmp_path / "got", "127.0.0.1:/f2")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (5, 1), refused.stderr
    assert served.stat() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_within_a_second(sshd: Sshd, tmp_path: Path, number: int) -> None:
    """INT and TERM end with 20, leave no staged file but the large partial, and the next push completes."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(40 << 20))
    words = [*COMMAND, "push", *arguments(sshd, tmp_path), "--bwlimit", "10m", "--progress", f"{source}/", f"127.0.0.1:{dest}"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        deadline = monotonic() + 60
        while monotonic() < deadline and not any(path.stat().st_size > 2 << 20 for path in dest.glob(".deltasync~*")):
            pass
        began = monotonic()
        process.send_signal(number)
        assert process.wait(timeout=60) == 20
        took_s = monotonic() - began
    # The far end may need a moment longer than we do to notice.
    deadline = monotonic() + 30
    while monotonic() < deadline and deltasync("push", *arguments(sshd, tmp_path), f"{source}/", f"127.0.0.1:{dest}").returncode:
        pass
    assert [path.name for path in dest.iterdir()] == ["large"]
    assert took_s < 10
