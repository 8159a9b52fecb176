"""The command itself: which there are, how errors end, and how fast it starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deltasync
from deltasync._native import engine_name
from deltasync.cli.main import main
from tests.cli.commands import FakeEngine, command
from tests.sources import PROJECT


def test_version_names_engine_protocol_and_python() -> None:
    """One line with all that a report of a defect needs."""
    done = command("--version")
    python = ".".join(map(str, sys.version_info[:3]))
    assert (done.code, done.err) == (0, "")
    assert done.out == f"deltasync {deltasync.__version__} (engine: {engine_name()}, protocol 1, Python {python})\n"


def test_help_names_the_commands() -> None:
    """Each command that there is, and none that is not."""
    done = command("--help")
    assert (done.code, done.err) == (0, "")
    commands = ["push", "pull", "recover", "explain", "status", "doctor", "serve", "listen", "key"]
    assert re.findall(r"^  deltasync ([a-z]+)", done.out, re.MULTILINE) == commands
    assert all(len(line) <= 80 for line in done.out.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        [], ["frobnicate"], ["--json"], ["-h"], ["--version", "x"], ["--help", "x"], ["listen"], ["status", "x"], ["a\x1b\nb"],
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_usage_error(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """Exit 2 and one harmless line on stderr."""
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("deltasync: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_an_interrupt_before_anything_began_is_quiet(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """No traceback: 20."""

    def interrupted(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("deltasync.cli.main._dispatch", interrupted)
    assert main([]) == 20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("debug", [False, True])
def test_a_defect_is_one_line(debug: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A traceback only for those who ask for it; 12."""

    def broken(*_: object) -> int:
        raise RuntimeError("oh\nno")

    monkeypatch.setattr("deltasync.engine.serve.serve_stdio", broken)
    monkeypatch.delenv("DELTASYNC_DEBUG", raising=False)
    if debug:
        monkeypatch.setenv("DELTASYNC_DEBUG", "1")
    assert main(["serve", "--stdio"]) == 12
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == "deltasync: internal error: RuntimeError: oh\\x0ano; please report it"
    assert (len(lines) > 1) is debug


def test_the_version_needs_next_to_nothing() -> None:
    """No library and none of the larger modules is loaded for it."""
    code = (
        "import sys; from deltasync.cli.main import main; main(['--version']); "
        "print(sorted({'click', 'rich', 'msgspec', 'cryptography', 'dataclasses', 'deltasync.engine'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[1] == "[]"


def test_closed_streams_are_filled(tmp_path: Path) -> None:
    """A run without stdout and stderr works, and writes its lines into no file that it has open."""
    (tmp_path / "a").write_bytes(b"content")
    script = f'exec "{sys.executable}" -m deltasync push -i --stats "{tmp_path}/a" "{tmp_path}/b" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", script], cwd=PROJECT, check=False, timeout=30)
    assert done.returncode == 0
    assert (tmp_path / "b").read_bytes() == b"content"


def test_the_exit_code_of_a_run_is_that_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` returns it, as a number for `sys.exit`."""
    engine = FakeEngine().put_in_place(monkeypatch)
    assert main(["push", "a", "b"]) == 0
    assert engine.job.direction == "push"


HELPS = [["--help"], ["--version"], ["push", "--help"], ["pull", "--help"], ["serve", "--help"], ["serve", "--stdio", "--help"]]


@pytest.mark.parametrize("words", HELPS)
def test_a_text_that_nobody_reads_is_no_failure(words: list[str]) -> None:
    """`--help | head -0` is quiet: 0."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "deltasync", *words], cwd=PROJECT, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=30
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", HELPS)
def test_a_text_that_is_lost_is_told(words: list[str]) -> None:
    """A full disk behind stdout is 11 and one line, and no defect of ours."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "deltasync", *words], cwd=PROJECT, stdout=full, stderr=subprocess.PIPE, check=False, timeout=30
        )
    assert (done.returncode, done.stderr) == (11, b"deltasync: standard output can't be written to: No space left on device\n")
