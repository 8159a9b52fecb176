"""`listen`: its options, its log, and what can't begin."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from deltasync.channel.address import TcpAddress
from deltasync.cli.listen import ListenOptions, listen, log_line, parse_listen
from deltasync.cli.main import main
from deltasync.engine.listener import MAX_PEERS
from deltasync.errors import UsageError
from tests.cli.commands import command


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELTASYNC_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--root a=/x", ListenOptions((("a", b"/x", False),))),
        ("--root=a=/x:ro --root b=y=z", ListenOptions((("a", b"/x", True), ("b", b"y=z", False)))),
        (
            "--root a=/x --bind ::1 --pair --once --json --max-peers 5 --user u",
            ListenOptions((("a", b"/x", False),), TcpAddress("::1", 8730), pair=True, once=True, max_peers=5, user="u", json=True),
        ),
        ("--root a=/x --bind 0.0.0.0:0", ListenOptions((("a", b"/x", False),), TcpAddress("0.0.0.0", 0))),  # noqa: S104 - nothing listens.
        ("--root a=/x --bind [::]", ListenOptions((("a", b"/x", False),), TcpAddress("::", 8730))),
        ("--root a=/x --bind [fe80::1%eth0]:1", ListenOptions((("a", b"/x", False),), TcpAddress("fe80::1%eth0", 1))),
        ("--root a=/x --bind h:1 --bind g", ListenOptions((("a", b"/x", False),), TcpAddress("g", 8730), max_peers=MAX_PEERS)),
    ],
)
def test_its_options_are_few(words: str, options: ListenOptions) -> None:
    """In any order; the last counts of those that can't be repeated."""
    assert parse_listen(words.split()) == options


@pytest.mark.parametrize(
    "words",
    [
        "", "--pair", "--root", "--root a", "--root =x", "--root a=", "--root a=:ro", "--root a/b=x", "--root a=/x --root a=/y",
        "--root a=x y",         "--root a=x --bind", "--root a=x --bind :1", "--root a=x --bind h:x", "--root a=x --bind h:65536",
        "--root a=x --bind [::1",
        "--root a=x --bind []:1", "--root a=x --bind h:", "--root a=x --max-peers 0", "--root a=x --max-peers x", "--root a=x --pair=1",
        "--root a=x --frobnicate", "--root a=x --user", "--root a=x --user no-such-user",
    ],
)  # fmt: skip
def test_anything_else_is_a_usage_error(words: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit 2, one line."""
    assert main(["listen", *words.split()]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_without_a_root_a_line_to_copy_is_shown() -> None:
    """It begins as what is to be typed."""
    with pytest.raises(UsageError, match="deltasync listen --root data=/srv/data "):
        listen([])


def test_what_can_not_begin_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A root that is not there, and a port in use."""
    assert main(["listen", "--root", f"a={tmp_path}/nowhere"]) == 11
    assert f"{tmp_path}/nowhere: the root a can't be opened" in capfd.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert main(["listen", "--root", f"a={tmp_path}", "--bind", address]) == 10
    assert capfd.readouterr() == ("", f"deltasync: can't listen at {address}: Address already in use\n")


def test_help_is_given() -> None:
    """On standard output."""
    done = command("listen", "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: deltasync listen --root NAME=PATH")
    assert command("pair", "--help").out.startswith("Usage: deltasync pair ")


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_in_the_log_steers_a_terminal(as_json: bool) -> None:
    """A line stays one line, and its fields can be told apart."""
    line = log_line("refused", {"client": 'x" why=\x1b[31m\nfaked', "why": "", "n": 5, "plain": "é"}, as_json=as_json, at=1.5)
    assert line.isprintable()
    if as_json:
        escaped = 'x" why=\\x1b[31m\\x0afaked'
        assert json.loads(line) == {"event": "refused", "at": 1.5, "client": escaped, "why": "", "n": 5, "plain": "é"}
    else:
        assert line == r'1970-01-01T00:00:01.500Z refused client="x\" why=\\x1b[31m\\x0afaked" why="" n=5 plain=é'
