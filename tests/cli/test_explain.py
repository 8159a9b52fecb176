"""`deltasync explain`: the rule that decides, with its place, for either side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import command

AT_RISK = "deleted by --delete if the source does not have it: no rule matches"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with files of rules."""
    top = tmp_path / "project"
    (top / "src" / "deep").mkdir(parents=True)
    (top / ".rsync-filter").write_text("# comment\n- *.o\nH secret\n")
    (top / "src" / ".rsync-filter").write_text("+ main.o\n- /deep\n")
    (top / ".gitignore").write_text("*.log\n!keep.log\n")
    (tmp_path / "rules").write_text("; comment\n+ a\nb\n")
    (tmp_path / "merged").write_text("hide x\n")
    (tmp_path / ".rsync-filter").write_text("- /project/up\n")
    return top


@pytest.mark.parametrize(
    ("words", "source", "destination"),
    [
        ("x", "sent: no rule matches", AT_RISK),
        ("x.o -F", "left out: - *.o (.rsync-filter, line 2)", "kept: - *.o (.rsync-filter, line 2)"),
        ("src/main.o -F", "sent: + main.o (src/.rsync-filter, line 1)", ""),
        ("src/deep/x/y -F", "left out with src/deep/: - /deep (src/.rsync-filter, line 2)", ""),
        ("secret -F", "left out: H secret (.rsync-filter, line 3)", AT_RISK),
        ("up -F", "left out: - /project/up ({above}/.rsync-filter, line 1)", ""),
        ("b --exclude-from ../rules", "left out: b (../rules, line 3)", ""),
        ("a --exclude-from ../rules", "sent: + a (../rules, line 2)", ""),
        ("x --exclude y --exclude x", "left out: x (--exclude)", "kept: x (--exclude)"),
        ("x -f P_x", "sent: no rule matches", "kept: P_x (--filter)"),
        ("x -f ._../merged", "left out: hide x (../merged, line 1)", ""),
        ("a.log --gitignore", "left out: *.log (.gitignore, line 1)", ""),
        ("src/keep.log --gitignore", "sent: !keep.log (.gitignore, line 2)", ""),
        (
            "x --exclude x --delete-excluded",
            "left out: x (--exclude)",
            AT_RISK,
        ),
        ("x/ --exclude x/", "left out: x/ (--exclude)", ""),
        ("x --exclude x/", "sent: no rule matches", ""),
        ("x.bak -C", "left out: *.bak (--cvs-exclude, word 18)", ""),
    ],
)
def test_the_rule_and_its_place_are_named(project: Path, words: str, source: str, destination: str) -> None:
    """Of options the option, of files the line; a directory above that is left out takes along what is in it."""
    done = command("explain", *words.split(), cwd=project)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "source: " + source.format(above=project.parent)
    assert lines[1].startswith(f"destination: {destination}")
    assert len(lines) == 2


def test_what_is_before_a_dot_is_the_source(project: Path) -> None:
    """So that it can be asked from anywhere; and with `--json` for scripts."""
    done = command("explain", "--json", "-F", f"{project}/./src/x.o", cwd=Path("/"))
    first, second = map(json.loads, done.out.splitlines())
    assert first == {
        "event": "rule",
        "side": "source",
        "path": "src/x.o",
        "excluded": True,
        "matched": "src/x.o",
        "rule": "- *.o",
        "where": ".rsync-filter, line 2",
    }
    assert (second["side"], second["excluded"]) == ("destination", True)


@pytest.mark.parametrize(("words", "code"), [("", 2), ("a b", 2), (".", 2), ("../x", 2), ("none/./x", 11), ("x --bogus", 2)])
def test_what_can_not_be_explained_is_said_in_one_line(project: Path, words: str, code: int) -> None:
    """Exit 2 or 11, as everywhere."""
    done = command("explain", *words.split(), cwd=project)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)


def test_rules_that_are_wrong_are_named(project: Path) -> None:
    """With their file and line, and without what stands there."""
    (project / "src" / ".rsync-filter").write_text("nonsense\n")
    done = command("explain", "-F", "src/x", cwd=project)
    assert done.code == 11
    assert "src/.rsync-filter: line 1" in done.err
    assert "nonsense" not in done.err
