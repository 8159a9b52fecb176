"""`deltasync doctor`: what it says of this machine, and of far ends that answer and that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync import __version__
from deltasync.cli import doctor
from deltasync.fs import landlock
from tests.cli.commands import command
from tests.listeners import Listening


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Listening]:
    """A listener that shares one directory."""
    (tmp_path / "root").mkdir()
    (tmp_path / "listener").mkdir()
    started = Listening(tmp_path / "listener", ("--root", f"data={tmp_path / 'root'}"), {}, "127.0.0.1:0")
    yield started
    started.close()


def test_it_looks_at_this_machine() -> None:
    """One line a thing, and nothing wrong of itself."""
    done = command("doctor")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith(f"ok       deltasync: {__version__}, Python 3.")
    assert all(line.startswith(("ok       ", "look at  ")) for line in lines)
    assert {line[9:].split(":")[0] for line in lines} >= {"engine", "memory"}


def test_a_far_end_that_answers(listening: Listening) -> None:
    """Its version, and nothing is written there."""
    client = listening.client("client", "data")
    done = client.run("doctor", "--json", "@data/nowhere")
    assert (done.code, done.err) == (0, "")
    last = json.loads(done.out.splitlines()[-1])
    assert (last["event"], last["ok"], last["remedy"]) == ("check", True, "")
    assert f"deltasync {__version__}, engine " in last["text"]
    assert not (listening.folder.parent / "root" / "nowhere").exists()


def test_far_ends_that_do_not_answer(listening: Listening) -> None:
    """Each says why; the first one's code is the exit code."""
    stranger = listening.client("stranger")
    done = stranger.run("doctor", "@data", "tcp://127.0.0.1:1/data")
    assert done.code == 5
    refused, unknown = done.out.splitlines()[-2:]
    assert refused.startswith("look at  tcp://")
    assert "no key is known" in unknown
    assert "deltasync known add" in unknown


@pytest.mark.parametrize("words", [["here"], ["--bogus", "a:"], ["--json", "--port", "x", "a:"]])
def test_what_it_can_not_look_at(words: list[str]) -> None:
    """A place on this machine, or a wrong option."""
    done = command("doctor", *words)
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_what_is_missing_comes_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No engine, no confinement, few watches, and a state directory that others may read."""
    monkeypatch.setattr(doctor, "engine_name", lambda: "python")
    monkeypatch.setattr(doctor, "available", lambda: False)
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    monkeypatch.setattr(doctor, "_INOTIFY", tmp_path)
    monkeypatch.setenv("DELTASYNC_HOME", str(tmp_path / "state"))
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    (tmp_path / "max_user_watches").write_text("8192\n")
    assert doctor.doctor([]) == 0
    lines = capfd.readouterr().out.splitlines()
    wrong = {line[9:].split(":")[0] for line in lines if line.startswith("look at")}
    assert wrong >= {"engine", "memory", "openat2", "landlock", "inotify max_user_watches", "inotify max_user_instances"}
    assert any("sysctl fs.inotify.max_user_watches=524288" in line for line in lines)
