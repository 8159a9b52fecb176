"""`push --watch` through the command itself: over TCP and locally, with its JSON lines, its end, and a listener that goes away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from time import monotonic
from typing import Any, Self

import pytest

from tests.cli.commands import Process, command, start
from tests.listeners import Listening

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small directory to push."""
    (tmp_path / "source" / "sub").mkdir(parents=True)
    (tmp_path / "source" / "file").write_text("content\n")
    (tmp_path / "source" / "sub" / "other").write_text("more\n")
    return tmp_path / "source"


class Lines:
    """The events that a watch prints, in order."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self.process = process
        self.seen: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *rest: object) -> None:
        """End the process, if it has not ended."""
        self.process.kill()
        self.process.communicate()

    def batches(self, *, until: Callable[[], bool]) -> None:
        """Read batches until something is true."""
        while not until():
            self.until("batch")

    def until(self, event: str, **fields: object) -> dict[str, Any]:
        """Read up to an event of this kind with these fields, and return it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(json.loads(line))
            if self.seen[-1]["event"] == event and fields.items() <= self.seen[-1].items():
                return self.seen[-1]
        raise AssertionError(f"no {event} among {self.seen}; {self.process.stderr.read() if self.process.stderr else ''}")


@pytest.fixture
def listening(tmp_path: Path) -> Generator[Listening]:
    """A listener that shares `tmp_path/root` as `data`."""
    (tmp_path / "root").mkdir()
    (tmp_path / "listener").mkdir()
    made = Listening(tmp_path / "listener", ("--root", f"data={tmp_path / 'root'}"))
    yield made
    made.close()


def test_a_watch_over_tcp(listening: Listening, source: Path, tmp_path: Path) -> None:
    """Saves, renames and deletions arrive and are told; INT ends it with 0 and the figures."""
    client = listening.client("a", "data")
    with Lines(client.start("push", "--watch", "--json", f"{source}/", "@data")) as lines:
        assert lines.until("watching") == {"event": "watching", "mode": "events", "polled": []}
        (source / "file").write_text("saved\n")
        batch = lines.until("batch", files_sent=1)
        assert batch["detected_at"] <= batch["sent_at"] <= batch["applied_at"]
        assert (tmp_path / "root" / "file").read_text() == "saved\n"
        (source / "sub").rename(source / "renamed")
        lines.batches(until=(tmp_path / "root" / "renamed" / "other").exists)
        assert (tmp_path / "root" / "renamed" / "other").read_text() == "more\n"
        (source / "file").unlink()
        lines.batches(until=lambda: not (tmp_path / "root" / "file").exists())
        assert os.listdir(tmp_path / "root") == ["renamed"]
        lines.process.send_signal(signal.SIGINT)
        summary = lines.until("summary")
        assert lines.process.wait() == summary["exit_code"] == 0
        assert summary["files_sent"] == 3
        assert summary["channel"] == "tcp"
        assert set(summary["latency_applied_us"]) == {"mean", "p50", "p99"}
        assert summary["latency_applied_us"]["p50"] > 0


def test_a_listener_that_goes_away_and_comes_back(source: Path, tmp_path: Path) -> None:
    """The watch says so once, gathers what changes and what is deleted, and makes up for it when the listener is back."""
    (tmp_path / "root").mkdir()
    (tmp_path / "listener").mkdir()
    words = ("--root", f"data={tmp_path / 'root'}")
    first = Listening(tmp_path / "listener", words)
    client = first.client("a", "data")
    with Lines(client.start("push", "--watch", "--json", f"{source}/", "@data")) as lines:
        lines.until("watching")
        first.close()
        lines.until("connection", state="down")
        (source / "sub" / "other").unlink()
        (source / "while away").write_text("x")
        second = Listening(tmp_path / "listener", words, bind=f"127.0.0.1:{first.port}")
        try:
            lines.until("connection", state="up")
            (source / "after").write_text("y")
            lines.batches(until=(tmp_path / "root" / "after").exists)
            assert (tmp_path / "root" / "while away").read_text() == "x"
            assert os.listdir(tmp_path / "root" / "sub") == []
            assert [event["state"] for event in lines.seen if event["event"] == "connection"] == ["up", "down", "up"]
            lines.process.terminate()
            assert lines.until("summary")["exit_code"] == 0
            assert lines.process.wait() == 0
        finally:
            second.close()


@pytest.mark.parametrize("narrower", [["data:ro"], []])
def test_a_watch_ends_with_its_grant(listening: Listening, source: Path, tmp_path: Path, narrower: list[str]) -> None:
    """Within two seconds, idle as it is; it says why and does not come back, and what is saved afterwards stays here."""
    client = listening.client("a", "data")
    with Lines(client.start("push", "--watch", "--json", f"{source}/", "@data")) as lines:
        lines.until("watching")
        if narrower:
            listening.trust(client, *narrower)
        else:
            listening.command("trust", "remove", client.key)
        changed_at = monotonic()
        listening.wait_for(lambda: listening.events("session-end"))
        assert monotonic() - changed_at < 2
        (source / "late").write_text("x")
        assert lines.until("summary")["exit_code"] == 5
        _, err = lines.process.communicate(timeout=20)
        assert err == "deltasync: the listener has withdrawn what this client was allowed\n"
    assert len(listening.events("session-begin")) == 1
    assert sorted(os.listdir(tmp_path / "root")) == ["file", "sub"]


def test_a_listener_that_is_stopped_ends_a_watch_between_rounds(listening: Listening, source: Path) -> None:
    """TERM ends it with 0 at once, though the session would go on for ever; the watch takes it for a connection that is lost."""
    client = listening.client("a", "data")
    with Lines(client.start("push", "--watch", "--json", f"{source}/", "@data")) as lines:
        lines.until("watching")
        asked_at = monotonic()
        assert listening.stop() == 0
        assert monotonic() - asked_at < 2
        lines.until("connection", state="down")
    assert [event["event"] for event in listening.events()[-2:]] == ["stopping", "session-end"]


def test_several_destinations(source: Path, tmp_path: Path) -> None:
    """Each gets everything at its own pace; one that can never be made is told of and given up, which the exit code says in the end."""
    dests = [tmp_path / "one", tmp_path / "absent" / "two", tmp_path / "three"]
    words = ["push", "--watch", "--json", f"{source}/", str(dests[0]), "--also", str(dests[1]), "--also", str(dests[2])]
    with Lines(start(*words)) as lines:
        for dest in {lines.until("watching")["dest"], lines.until("watching")["dest"]} ^ {str(dests[0]), str(dests[2])}:
            raise AssertionError(dest)
        (source / "file").write_text("saved\n")
        (source / "sub").rename(source / "renamed")
        lines.batches(until=lambda: all((dest / "renamed" / "other").exists() for dest in (dests[0], dests[2])))
        lines.process.send_signal(signal.SIGINT)
        summary = lines.until("summary")
        assert lines.process.wait() == summary["exit_code"] == 11
        assert summary["files_sent"] >= 6
        assert {event["dest"] for event in lines.seen if event["event"] == "batch"} == {str(dests[0]), str(dests[2])}
        assert lines.process.stderr is not None
        assert b"absent/two: given up: " in lines.process.stderr.read()
    for dest in (dests[0], dests[2]):
        assert (dest / "file").read_text() == "saved\n"
        assert (dest / "renamed" / "other").read_text() == "more\n"
    assert not dests[1].parent.exists()


def test_what_a_person_reads(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line when all is in sync, and the figures at the end; nothing on stdout; meanwhile `status` and systemd are told how it stands."""
    monkeypatch.setenv("DELTASYNC_HOME", str(tmp_path / "home"))
    service = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    service.bind(str(tmp_path / "notify"))
    service.settimeout(20)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    process = start("push", "--watch", f"{source}/", tmp_path / "dest")
    monkeypatch.delenv("WATCHDOG_USEC")
    assert process.stderr is not None
    assert process.stdout is not None
    assert process.stderr.readline() == f"deltasync: in sync with {tmp_path / 'dest'}; watching for changes (Ctrl-C ends it)\n".encode()
    (source / "file").write_text("saved")
    while (tmp_path / "dest" / "file").read_text() != "saved":
        assert process.poll() is None
    assert [line["dest"] for line in map(json.loads, command("status", "--json").out.splitlines())] == [str(tmp_path / "dest")]
    assert f"{process.pid}  {source}/ -> {tmp_path / 'dest'}  since " in command("status").out
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert err.startswith(b"deltasync: watched for ")
    assert command("status") == Process(0, "", "")
    told = [service.recv(4096).decode().splitlines()]
    while told[-1] != ["STOPPING=1"]:
        told.append(service.recv(4096).decode().splitlines())
    service.close()
    assert sum("READY=1" in lines for lines in told) == 1
    assert sum("WATCHDOG=1" in lines for lines in told) == len(told) - 1
    assert told[-2][-2].startswith("STATUS=watching")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--watch", "-n"), "--watch and --dry-run"),
        (("--settle", "5"), "--settle is for --watch"),
        (("--no-delete",), "--no-delete is for --watch"),
        (("--poll-interval", "1"), "--poll-interval is for --watch"),
        (("--also", "x"), "--also is for --watch"),
        (("--watch", "--also", "x", "--also", "x"), "named twice"),
        (("--watch", "--rescan-interval", "0"), "--rescan-interval"),
        (("--watch", "--delete", "--no-delete"), "contradict"),
        (("--watch", "--no-r"), "--recursive"),
    ],
)
def test_options_that_do_not_go_together(source: Path, tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    """What makes no sense is a usage error, and nothing is done."""
    done = command("push", *words, source, tmp_path / "dest")
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert not (tmp_path / "dest").exists()
