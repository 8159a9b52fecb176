"""Changes of permissions: what is read, what it comes to, and that rsync makes the same of it."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from pathlib import Path

import pytest

from deltasync.tree.chmod import parse_chmod

MODES = (0o644, 0o755, 0o600, 0o4755, 0o2711, 0o1777, 0o640, 0o000, 0o421, 0o7777, 0o111)


@pytest.mark.parametrize(
    ("text", "mode", "changed"),
    [
        ("u+w", 0o100444, 0o100644),
        ("go=", 0o100777, 0o100700),
        ("Dg+s", 0o100755, 0o100755),
        ("Dg+s", 0o040755, 0o042755),
        ("F600,D700", 0o100755, 0o100600),
        ("+X", 0o100644, 0o100644),
        ("+X", 0o040644, 0o040755),
        ("g=u", 0o100640, 0o100660),
        ("a=rw,o-g", 0o100777, 0o100660),
        ("777", 0o120644, 0o120644),
    ],
)
def test_changes(text: str, mode: int, changed: int) -> None:
    """By class, for directories or files, for what may be executed already, or copied from another class."""
    assert parse_chmod(text.encode(), 0o022).applied(mode) == changed


@pytest.mark.parametrize("text", ["", "u", "+q", "u+w,", "D", "DF+w", "888", "17777", "u+rg", "u+w-x", "x+r"])
def test_what_is_no_change(text: str) -> None:
    """It is named."""
    with pytest.raises(ValueError, match="permissions"):
        parse_chmod(text.encode(), 0)


def item(rng: random.Random) -> str:
    """A change, drawn."""
    who = "".join(rng.sample("ugoa", rng.randint(0, 3)))
    kind, deed = rng.choice(["", "", "", "D", "F"]), rng.choice("+-=")
    forms = [rng.choice(["755", "0644", "2775", "7777", "0"]), who + deed + rng.choice("ugo")]
    return kind + rng.choice([*forms, *[who + deed + "".join(rng.sample("rwxXst", rng.randint(0, 4))) for _ in range(3)]])


@pytest.mark.needs("rsync", "root")
@pytest.mark.parametrize("seed", range(40))
def test_rsync_makes_the_same_of_it(tmp_path: Path, seed: int) -> None:
    """Files and directories of many modes, several changes one after the other, under a mask."""
    rng = random.Random(seed)
    text = ",".join(item(rng) for _ in range(rng.randint(1, 3)))
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    for mode in MODES:
        (source / f"f{mode:o}").touch()
        (source / f"d{mode:o}").mkdir()
        for kind in "fd":
            (source / f"{kind}{mode:o}").chmod(mode)
    subprocess.run(["rsync", "-a", f"--chmod={text}", f"{source}/", f"{dest}/"], check=True, umask=0o027)
    chmod = parse_chmod(text.encode(), 0o027)
    theirs = {name: stat.S_IMODE(os.lstat(dest / name).st_mode) for name in os.listdir(source)}
    assert {name: stat.S_IMODE(chmod.applied(os.lstat(source / name).st_mode)) for name in os.listdir(source)} == theirs
