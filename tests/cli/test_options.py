"""The help of push and pull."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltasync.cli.options import parse
from tests.cli.commands import command

GOLDEN = Path(__file__).with_name("push_help.txt")


def test_the_help_is_grouped_and_short() -> None:
    """It is the text beside this test, fits 80 columns and is no longer than three screens."""
    done = command("push", "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out == GOLDEN.read_text(encoding="utf-8")
    lines = done.out.splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 80


def test_pull_has_the_same_options() -> None:
    """All but the text about the places, and what only a push does."""
    push, pull = command("push", "--help").out, command("pull", "--help").out
    watching = push[push.index("\nWatching:") : push.index("\nConnection:")]
    push = push.replace(watching, "")
    assert push[push.index("\nWhich files") :] == pull[pull.index("\nWhich files") :]
    assert "Usage: deltasync pull" in pull


def test_help_asks_for_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    """It works without places, and the command does nothing more."""
    assert parse("push", ["--delete", "--help"]) is None
    assert "Deleting:" in capfd.readouterr().out


def test_the_order_of_options_is_kept() -> None:
    """Each occurrence, with the value that it had."""
    given = parse("push", ["--exclude", "a", "-tc", "x", "--include=b", "--no-times", "--exclude", "c", "y"])
    assert given is not None
    assert given.ordered == (
        ("exclude", "a"),
        ("times", True),
        ("checksum", True),
        ("include", "b"),
        ("no-times", True),
        ("exclude", "c"),
    )
    assert given.places == ("x", "y")
