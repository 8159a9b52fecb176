"""Filter options become rules in the order in which they are given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deltasync.cli.failures import LocalFileError
from deltasync.cli.filtering import FilterOption, wire_rules
from deltasync.errors import UsageError
from tests.cli.commands import command


def test_rules_keep_the_order_of_options_and_lines(tmp_path: Path) -> None:
    """Texts and files take turns; comments and empty lines in files are nothing."""
    file = tmp_path / "rules"
    file.write_bytes(b"# comment\n; comment\n\n*.o\n+ keep\xff\n")
    options = [
        FilterOption("include", "a"),
        FilterOption("exclude-from", str(file)),
        FilterOption("exclude", "b"),
        FilterOption("include-from", str(file)),
        FilterOption("exclude", "+ c"),
    ]
    assert wire_rules(options) == (b"+ a", b"- *.o", b"+ keep\xff", b"- b", b"+ *.o", b"+ keep\xff", b"+ c")


def test_an_exclamation_mark_forgets_what_was_before() -> None:
    """A lone `!` clears the list, as with rsync."""
    assert wire_rules([FilterOption("exclude", "a"), FilterOption("exclude", "!"), FilterOption("exclude", "b")]) == (b"- b",)


def test_a_pattern_that_is_not_utf8_survives() -> None:
    """Patterns are bytes."""
    assert wire_rules([FilterOption("exclude", os.fsdecode(b"\xff*"))]) == (b"- \xff*",)


def test_a_file_that_is_missing_is_a_failure_of_local_io(tmp_path: Path) -> None:
    """As with rsync, it is exit 11 and names the file."""
    with pytest.raises(LocalFileError, match="nope"):
        wire_rules([FilterOption("exclude-from", str(tmp_path / "nope"))])


def test_a_malformed_rule_is_a_usage_error(tmp_path: Path) -> None:
    """The line of a file is named, and nothing of its content."""
    file = tmp_path / "rules"
    file.write_bytes(b"fine\n- \n")
    with pytest.raises(UsageError, match="line 2"):
        wire_rules([FilterOption("include-from", str(file))])
    with pytest.raises(UsageError, match="--exclude"):
        wire_rules([FilterOption("exclude", "- ")])


def test_too_many_rules_are_refused(tmp_path: Path) -> None:
    """What does not fit into one message is refused here, before anything is connected."""
    file = tmp_path / "rules"
    file.write_bytes(b"x\n" * 70_000)
    with pytest.raises(UsageError, match="too many"):
        wire_rules([FilterOption("exclude-from", str(file))])


def test_a_dash_is_standard_input(tmp_path: Path) -> None:
    """`--exclude-from -` reads no file; here there is nothing to read."""
    (tmp_path / "a").write_text("a", encoding="utf-8")
    assert command("push", "-i", "--exclude-from", "-", "a", "b", cwd=tmp_path).code == 0


def test_a_merged_file_stands_in_its_place(tmp_path: Path) -> None:
    """Its rules come where it is named, as its modifiers say, and it may merge others; `e` leaves the file itself out."""
    (tmp_path / "inner").write_bytes(b"# these are patterns\n+ x\n!\n")
    (tmp_path / "outer").write_bytes(f"hide a\n;\n\nmerge,- {tmp_path}/inner\n-! b\n".encode())
    (tmp_path / "words").write_bytes(b"+_a -,p_b\n  #\n")
    rules = wire_rules([FilterOption("filter", "- 1"), FilterOption("filter", f".e {tmp_path}/outer"), FilterOption("exclude", "2")])
    assert rules == (b"- 1", b"- outer", b"-s a", b"- + x", b"- !", b"-! b", b"- 2")
    with pytest.raises(UsageError, match="words: word 3"):
        wire_rules([FilterOption("filter", f".w {tmp_path}/words")])
    assert wire_rules([FilterOption("filter", f".Cs {tmp_path}/words")]) == (b"-s +_a", b"-s -,p_b", b"-s #")


def test_files_that_merge_themselves_are_refused(tmp_path: Path) -> None:
    """There is an end, and it is said which file."""
    (tmp_path / "again").write_bytes(f". {tmp_path}/again\n".encode())
    with pytest.raises(UsageError, match="16 deep"):
        wire_rules([FilterOption("filter", f". {tmp_path}/again")])
    with pytest.raises(LocalFileError, match="nope"):
        wire_rules([FilterOption("filter", f"merge {tmp_path}/nope")])


def test_what_cvs_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in patterns, the user's file and the environment's, perishable; a `!` clears these and no rule before them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    rules = wire_rules([FilterOption("filter", "-C")])
    assert b"-p *.o" in rules
    assert rules[-1] == b"-p .bzr/"
    (tmp_path / ".cvsignore").write_text("! mine")
    monkeypatch.setenv("CVSIGNORE", "yours *.x")
    assert wire_rules([FilterOption("filter", "- a"), FilterOption("filter", "-C")]) == (b"- a", b"-p mine", b"-p yours", b"-p *.x")
