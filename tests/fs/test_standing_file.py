"""What running processes say of themselves, and what is left of those that are gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deltasync.fs.standing_file import StandingFile, standings


def test_what_runs_is_found_until_it_ends(tmp_path: Path) -> None:
    """The last words count, also where they are shorter than those before."""
    directory = str(tmp_path / "state" / "watches")
    assert list(standings(directory)) == []
    one, other = StandingFile(0, directory), StandingFile(1, directory)
    one.write({"said": "a long time ago" * 20})
    one.write({"said": 2})
    assert list(standings(directory)) == [{"said": 2}]
    other.write({"said": 3})
    assert list(standings(directory)) == [{"said": 2}, {"said": 3}]
    one.close()
    other.close()
    assert os.listdir(directory) == []


def test_what_was_killed_is_taken_away(tmp_path: Path) -> None:
    """A process that ends without a word leaves a file that nobody holds."""
    directory = tmp_path / "watches"
    text = "import os, sys; from deltasync.fs.standing_file import StandingFile as F; F(0, sys.argv[1]).write({}); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", text, directory], check=False)
    assert len(os.listdir(directory)) == 1
    assert list(standings(str(directory))) == []
    assert os.listdir(directory) == []


def test_a_directory_that_others_may_change_is_not_used(tmp_path: Path) -> None:
    """Somebody else could put a lie there."""
    (tmp_path / "open").mkdir(mode=0o700)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PermissionError):
        StandingFile(0, str(tmp_path / "open"))
