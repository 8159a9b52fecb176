"""`--gitignore` at work: what a push and a watch leave out, and what they keep at the destination."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deltasync.cli.filtering import FilterOption, wire_rules
from tests.engine.runs import Heard, push
from tests.engine.trees import walk
from tests.engine.watching import Watching

GITIGNORE = wire_rules([FilterOption("gitignore", "")])


def test_what_git_ignores_is_neither_sent_nor_deleted(tmp_path: Path) -> None:
    """Nested files, the repository's own, the user's, and a repository within."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    for path in (".git/info", "sub/build", "inner/.git"):
        (source / path).mkdir(parents=True)
    for path in ("x.o", "keep.o", "sub/build/out", "sub/x.o", "inner/x.o", "mine", "thumbs"):
        (source / path).touch()
    (source / ".gitignore").write_text("*.o\n!keep.o\n")
    (source / "sub" / ".gitignore").write_text("/build\n!x.o\n")
    (source / ".git" / "info" / "exclude").write_text("mine\n")
    (dest / "sub" / "build").mkdir(parents=True)
    (dest / "sub" / "build" / "there").touch()
    (dest / "other").touch()
    push(os.fsencode(source) + b"/", os.fsencode(dest), delete=True, rules=(*GITIGNORE, b"- .git/"), git_excludes=b"thumbs\n")
    assert sorted(walk(os.fsencode(dest))) == [
        b".gitignore", b"inner", b"inner/x.o", b"keep.o", b"sub", b"sub/.gitignore", b"sub/build", b"sub/build/there", b"sub/x.o",
    ]  # fmt: skip


def test_rules_of_others_count_before_and_behind(tmp_path: Path) -> None:
    """Where the option stands among the rules; a named source has its own files alone."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    (tmp_path / ".gitignore").write_text("above\n")
    (source / ".gitignore").write_text("*.o\n!b.o\n")
    for name in ("a.o", "b.o", "c.o", "above"):
        (source / name).touch()
    push(os.fsencode(source), os.fsencode(dest), mkpath=True, rules=(b"+ a.o", *GITIGNORE, b"- b.o"))
    assert sorted(walk(os.fsencode(dest / "source"))) == [b".gitignore", b"a.o", b"above", b"b.o"]


def test_what_can_not_be_read_for_its_rules_is_told_and_nothing_there_is_touched(tmp_path: Path) -> None:
    """A symlink might lead anywhere."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    for top in (source, dest):
        (top / "d").mkdir(parents=True)
    (source / "d" / "new").touch()
    (dest / "d" / "old").touch()
    (source / "d" / ".gitignore").symlink_to("../../anything")
    heard = Heard()
    push(os.fsencode(source) + b"/", os.fsencode(dest), delete=True, rules=GITIGNORE, heard=heard)
    assert [problem.path for problem in heard.problems] == [b"d"]
    assert sorted(walk(os.fsencode(dest))) == [b"d", b"d/old"]


def watched(tmp_path: Path) -> Watching:
    """A watch of a small tree."""
    (tmp_path / "source" / "d" / "build").mkdir(parents=True)
    (tmp_path / "source" / "d" / "build" / "out").write_bytes(b"first")
    (tmp_path / "source" / "top.log").write_bytes(b"first")
    return Watching(tmp_path / "source", tmp_path / "dest", rules=GITIGNORE)


@pytest.mark.parametrize("place", ["", "d"])
def test_a_change_of_the_rules_counts_at_once_in_a_watch(tmp_path: Path, place: str) -> None:
    """What is left out from now on stays at the destination and is not followed; what no longer is comes, and is followed."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    with watched(tmp_path) as watching:
        (source / place / ".gitignore").write_text("build/\n*.log\n")
        watching.until((dest / place / ".gitignore").exists)
        (source / "d" / "build" / "out").write_bytes(b"second")
        (source / "d" / "seen").touch()
        watching.until((dest / "d" / "seen").exists)
        assert (dest / "d" / "build" / "out").read_bytes() == b"first"
        (source / place / ".gitignore").write_text("# nothing\n")
        watching.until_equal()
        (source / "d" / "build" / "out").write_bytes(b"third")
        watching.until_equal()


def test_what_is_left_out_while_the_connection_is_down_stays(tmp_path: Path) -> None:
    """It is not taken for deleted when the tree is listed again."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    with watched(tmp_path) as watching:
        watching.lose_connection()
        (source / ".gitignore").write_text("build/\n")
        watching.until((dest / ".gitignore").exists)
        (source / "last").touch()
        watching.until((dest / "last").exists)
    assert (dest / "d" / "build" / "out").read_bytes() == b"first"
