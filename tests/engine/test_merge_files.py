"""Merge files at work: pushes against rsync's, what is wrong in one, and edits while a watch runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deltasync.errors import ExitCode
from tests.engine.runs import Heard, pull, push
from tests.engine.trees import walk
from tests.engine.watching import Watching


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A source and a destination with files, and files of rules in both."""
    for side in ("source", "dest"):
        for directory in ("", "a", "a/b", "c"):
            (tmp_path / side / directory).mkdir(parents=True, exist_ok=True)
            for name in ("x.o", "y.c", f"{side}.o", f"{side}.c"):
                (tmp_path / side / directory / name).write_text(side)
    source, dest = tmp_path / "source", tmp_path / "dest"
    (source / ".f").write_text("- *.o\n- /c/y.c\n")
    (source / "a" / ".f").write_text("+ x.o\n")
    (dest / ".f").write_text("- *.c\n")
    (dest / "c" / ".f").write_text("- dest*\n")
    gone = dest / "gone"
    gone.mkdir()
    (gone / ".f").write_text("- keep\n-p drop\n")
    (gone / "keep").touch()
    (gone / "drop").touch()
    return source, dest


RULES = [[": .f"], [":s .f"], [":e .f", "- x*"], [":n .f", "P dest.o"], [":C", "-C"], [": /.f", "-/ c/y.c"]]


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("slash", ["/", ""])
@pytest.mark.parametrize("rules", RULES, ids=str)
def test_a_push_leaves_what_rsync_leaves(trees: tuple[Path, Path], rules: list[str], slash: str) -> None:
    """The sender goes by its own files, deletions by those that stand at the destination when they are made."""
    source, dest = trees
    (source.parent / ".f").write_text("- y.c\n")
    (source / "a" / ".cvsignore").write_text("y.c\n")
    if not slash:
        shutil.move(dest, source.parent / "held")
        dest.mkdir()
        shutil.move(source.parent / "held", dest / "source")
    ours, theirs = dest, source.parent / "theirs"
    subprocess.run(["cp", "-a", dest, theirs], check=True)
    words = [word for rule in rules for word in ("-f", rule)]
    subprocess.run(["rsync", "-a", "--delete-after", *words, f"{source}{slash}", theirs], check=True)
    heard = Heard()
    summary = push(os.fsencode(f"{source}{slash}"), os.fsencode(ours), delete=True, rules=wire_rules_of(rules), heard=heard)
    assert sorted(walk(os.fsencode(ours))) == sorted(walk(os.fsencode(theirs)))
    assert (summary.exit_code, heard.problems) == (ExitCode.OK, [])


def wire_rules_of(rules: list[str]) -> tuple[bytes, ...]:
    """Rules of `--filter` as they travel."""
    from deltasync.cli.filtering import FilterOption, wire_rules

    return wire_rules([FilterOption("filter", rule) for rule in rules])


def test_a_pull_goes_by_the_files_of_the_far_end(trees: tuple[Path, Path]) -> None:
    """What they leave out is not sent, and what they let in is taken though a later rule would leave it out."""
    source, dest = trees
    (source / ".f").write_text("- *.o\n+ source.c\n")
    shutil.rmtree(dest)
    pull(os.fsencode(source) + b"/", os.fsencode(dest), rules=(b": .f", b"- source*"))
    assert sorted(os.listdir(dest)) == [".f", "a", "c", "source.c", "y.c"]


@pytest.mark.parametrize("wrong", ["source", "dest"])
def test_of_a_directory_with_a_wrong_merge_file_nothing_is_sent_or_deleted(trees: tuple[Path, Path], wrong: str) -> None:
    """It is named with the line, the exit code is 23, and what is beside it goes on."""
    source, dest = trees
    (source.parent / wrong / "a" / ".f").write_text("- fine\nnonsense\n")
    if wrong == "dest":
        (source / "a" / ".f").unlink()
    (dest / ".f").unlink()
    heard = Heard()
    summary = push(os.fsencode(source) + b"/", os.fsencode(dest), delete=True, rules=(b": .f", b"- .f"), heard=heard)
    assert summary.exit_code == ExitCode.PARTIAL
    assert any(problem.path == b"a" and "a/.f: line 2" in problem.error for problem in heard.problems)
    assert not any("nonsense" in problem.error for problem in heard.problems)
    assert (dest / "a" / "dest.c").exists()
    assert (dest / "a" / "source.c").exists() == (wrong == "dest")
    assert (dest / "c" / "source.c").exists()


def test_an_edit_of_a_merge_file_takes_effect_while_a_watch_runs(trees: tuple[Path, Path]) -> None:
    """What it lets in is sent, what it leaves out from then on is not touched at either end, beneath its directory and nowhere else."""
    source, dest = trees
    shutil.rmtree(dest)
    with Watching(source, dest, rules=(b":- .f", b"- .f")) as watching:
        (source / ".f").write_text("*.c\n")
        watching.until(lambda: (dest / "a" / "b" / "x.o").exists() and (dest / "x.o").exists())
        (source / "y.c").write_text("changed, and none of ours any more")
        (source / "a" / ".f.new").write_text("!\nx.o\n")
        (source / "a" / ".f.new").rename(source / "a" / ".f")
        (source / "x.o").write_text("changed")
        watching.until(lambda: (dest / "x.o").read_text() == "changed" and (dest / "a" / "source.c").exists())
        (source / "hidden.c").mkdir()
        (source / "hidden.c" / "file").write_text("secret")
        (source / "x.o").rename(source / "new.c")
        (source / "c" / "x.o").write_text("last")
        watching.until(lambda: (dest / "c" / "x.o").read_text() == "last" and not (dest / "x.o").exists())
    assert (dest / "y.c").read_text() == "source"
    assert (dest / "a" / "x.o").exists()
    assert not (dest / "hidden.c").exists()
    assert not (dest / "new.c").exists()
    assert not watching.heard.problems


def test_what_is_left_out_while_the_connection_is_broken_stays_at_the_peer(trees: tuple[Path, Path]) -> None:
    """It is no more gone than what was left out before."""
    source, dest = trees
    shutil.rmtree(dest)
    with Watching(source, dest, rules=(b":- .f", b"- .f")) as watching:
        (source / ".f").write_text("*.c\nc\n")
        watching.lose_connection()
        (source / "a" / "x.o").unlink()
        watching.until(lambda: (dest / "x.o").exists() and not (dest / "a" / "x.o").exists())
    assert (dest / "y.c").exists()
    assert (dest / "c" / "source.c").exists()
