"""`serve`: its small parser, and a start without what it does not need."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from deltasync.cli.main import main
from deltasync.cli.serve import ServeOptions, parse_serve
from deltasync.errors import UsageError
from tests.cli.commands import command
from tests.sources import PROJECT


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--stdio"], ServeOptions()),
        (["--root", "/a", "--stdio", "--read-only"], ServeOptions(b"/a", read_only=True)),
        (["--stdio", "--root=/a", "--root=b=c"], ServeOptions(b"b=c")),
    ],
)
def test_its_options_are_three(words: list[str], options: ServeOptions) -> None:
    """In any order; the last root counts."""
    assert parse_serve(words) == options


@pytest.mark.parametrize(
    "words",
    [[], ["--root", "/a"], ["--stdio", "--root"], ["--stdio", "--root="], ["--stdio", "x"], ["--stdio", "--readonly"], ["--stdio=1"]],
)
def test_anything_else_is_a_usage_error(words: list[str]) -> None:
    """Exit 2, one line, nothing on stdout."""
    with pytest.raises(UsageError):
        parse_serve(words)
    done = command("serve", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_it_serves_with_what_it_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root and mode reach the engine; its exit code is the command's."""
    asked: list[tuple[bytes | None, bool]] = []

    def serve_stdio(root: bytes | None, read_only: bool, stop: threading.Event) -> int:
        asked.append((root, read_only))
        assert not stop.is_set()
        return 12

    monkeypatch.setattr("deltasync.engine.serve.serve_stdio", serve_stdio)
    assert main(["serve", "--stdio", "--root", "/a", "--read-only"]) == 12
    assert main(["serve", "--stdio"]) == 12
    assert asked == [(b"/a", True), (None, False)]


def test_it_loads_no_more_than_it_needs() -> None:
    """The far end of every run starts with what it needs and no more."""
    code = (
        "import sys; from deltasync.cli.main import main; main(['serve']); import deltasync.engine.serve; "
        "import deltasync.channel.pipes, deltasync.channel.secure, deltasync.engine.receiver, deltasync.engine.sender; "
        "slow = {'click', 'rich', 'paramiko', 'shlex', 'dataclasses', 'hashlib', 'hmac', 'shutil', 'socket', 'sqlite3', 'subprocess'}; "
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


def test_closed_standard_streams_are_said() -> None:
    """Without them there is nobody to serve."""
    script = f'exec "{sys.executable}" -m deltasync serve --stdio <&-'
    done = subprocess.run(["sh", "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "standard input" in done.stderr
