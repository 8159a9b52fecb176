"""`deltasync recover`, and what else meets an interrupted patch: one line a file, nothing twice, and nobody else's file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deltasync.fs.journals import journal_name
from tests.cli.commands import command
from tests.patch.interrupted import NEW, OLD, held, interrupt
from tests.sources import PROJECT


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A tree."""
    made = tmp_path / "top"
    (made / "sub").mkdir(parents=True)
    (made / "other").write_bytes(b"other")
    return made


def ours(top: Path) -> list[str]:
    """Names of ours anywhere in a tree."""
    return [path.name for path in top.rglob(".deltasync~*")]


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_what_was_decided_is_finished(writes: int, top: Path) -> None:
    """However far it had come; a second run finds nothing, and says nothing."""
    interrupt(top / "sub" / "file", writes=writes)
    if writes < 2:
        done = command("recover", top)
        assert (done.code, done.out, done.err) == (0, "replayed sub/file\n", "")
    assert (top / "sub" / "file").read_bytes() == NEW
    assert ours(top) == []
    assert command("recover", top) == command("recover", top / "sub")


def test_what_was_not_decided_is_discarded(top: Path) -> None:
    """The file is what it was."""
    interrupt(top / "file", writes=None)
    done = command("recover", top)
    assert (done.code, done.out, done.err) == (0, "discarded file\n", "")
    assert (top / "file").read_bytes() == OLD
    assert ours(top) == []


def test_what_somebody_else_wrote_is_left_alone(top: Path) -> None:
    """Named, with 23; the journal is set aside, so that the next run is at peace."""
    interrupt(top / "file")
    with (top / "file").open("r+b") as file:
        file.seek(6300)
        file.write(b"by somebody else")
    before = (top / "file").read_bytes()
    done = command("recover", top)
    assert (done.code, done.out) == (23, "quarantined file\n")
    assert (top / "file").read_bytes() == before
    assert [name[:12] for name in ours(top)] == [".deltasync~x"]
    assert command("recover", top).code == 0


def test_another_file_under_the_name_is_left_alone(top: Path) -> None:
    """As when an editor has saved it anew meanwhile; also where it is gone."""
    for name in ("saved", "gone"):
        interrupt(top / name)
    (top / "gone").unlink()
    # Beside it first: a number that is free again is often given to the next file.
    (top / "new").write_bytes(OLD)
    (top / "new").rename(top / "saved")
    done = command("recover", top)
    assert (done.code, sorted(done.out.splitlines())) == (23, ["quarantined gone", "quarantined saved"])
    assert (top / "saved").read_bytes() == OLD
    assert not (top / "gone").exists()


def test_what_a_live_process_holds_is_busy(top: Path) -> None:
    """It is left to that process."""
    place = held(top / "file")
    done = command("recover", top)
    assert (done.code, done.err) == (23, "")
    assert done.out.startswith("busy ")
    place.abandon(keep=False)
    assert (command("recover", top).out, ours(top)) == ("", [])


def test_two_at_once_do_each_once(top: Path) -> None:
    """Two processes share the work, or one finds the other at it; in the end all is new."""
    names = [f"sub/file{number}" for number in range(12)]
    for name in names:
        interrupt(top / name)
    words = [sys.executable, "-m", "deltasync", "recover", str(top)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    running = [subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate() for process in running]
    lines = [line for out, _ in said for line in out.splitlines() if not line.startswith("busy ")]
    assert sorted(lines) == sorted(f"replayed {name}" for name in names)
    assert [err for _, err in said] == ["", ""]
    assert {process.returncode for process in running} <= {0, 23}
    assert all((top / name).read_bytes() == NEW for name in names)
    assert ours(top) == []


def test_journals_lead_nowhere_else(top: Path, tmp_path: Path) -> None:
    """One that is a symlink, a directory or noise, and one that was made for another name, change nothing."""
    canary = tmp_path / "canary"
    interrupt(canary)
    journal = tmp_path / os.fsdecode(journal_name(b"canary"))
    before = canary.read_bytes()
    (top / os.fsdecode(journal_name(b"linked"))).symlink_to(journal)
    (top / os.fsdecode(journal_name(b"noise"))).write_bytes(b"noise" * 2000)
    (top / os.fsdecode(journal_name(b"directory"))).mkdir()
    (top / "sub" / "elsewhere").symlink_to(tmp_path)
    done = command("recover", top)
    assert "Traceback" not in done.err
    assert canary.read_bytes() == before
    assert journal.exists()
    assert (top / "other").read_bytes() == b"other"
    journal.rename(tmp_path / os.fsdecode(journal_name(b"another")))
    (tmp_path / "another").write_bytes(OLD)
    assert command("recover", tmp_path).code == 23
    assert ((tmp_path / "another").read_bytes(), canary.read_bytes()) == (OLD, before)


@pytest.mark.parametrize(("words", "code"), [((), 2), (("a", "b"), 2), (("--all",), 2), (("missing",), 11), (("--help",), 0)])
def test_wrong_words_are_one_line(words: tuple[str, ...], code: int) -> None:
    """With what to do."""
    done = command("recover", *words)
    assert done.code == code
    assert len(done.err.splitlines()) == (code != 0)


def test_a_pull_does_not_send_what_is_half_patched(top: Path, tmp_path: Path) -> None:
    """It names the file; all else comes."""
    interrupt(top / "file")
    done = command("pull", f"{top}/", tmp_path / "pulled")
    assert done.code == 23
    assert "file" in done.err
    assert sorted(os.listdir(tmp_path / "pulled")) == ["other", "sub"]
    assert len(ours(top)) == 1


def test_a_push_finishes_it_first(top: Path, tmp_path: Path) -> None:
    """A dry run tells of it and touches nothing; the push itself recovers, and then has nothing to send."""
    interrupt(top / "file")
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(NEW)
    half = (top / "file").read_bytes()
    dry = command("push", "-n", "-c", f"{source}/", top)
    assert ((top / "file").read_bytes(), len(ours(top))) == (half, 1)
    assert "file" in dry.out + dry.err
    done = command("push", "-c", "--stats", f"{source}/", top)
    assert (done.code, (top / "file").read_bytes()) == (0, NEW)
    assert "Literal data: 0 bytes" in done.out
    assert ours(top) == []
