"""rsync as the judge: trees that it calls equal, and the lines that it would print."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.engine.runs import Heard, push
from tests.engine.trees import change, make, walk

pytestmark = pytest.mark.needs("rsync")

OPTIONS: list[tuple[list[str], dict[str, Any]]] = [
    (["-aH", "--delete"], {"hard_links": True, "delete": True}),
    (["-a"], {}),
    (["-aH", "-u"], {"hard_links": True, "update": True}),
    (["-aH", "--existing"], {"hard_links": True, "existing": True}),
    (["-aH", "--ignore-existing"], {"hard_links": True, "ignore_existing": True}),
    (["-aH", "-c", "--delete"], {"hard_links": True, "checksum": True, "delete": True}),
    (["-a", "--size-only"], {"size_only": True}),
    (["-a", "-c"], {"checksum": True}),
    (["-a", "-u"], {"update": True}),
    (["-a", "--existing"], {"existing": True}),
    (["-a", "--ignore-existing"], {"ignore_existing": True}),
    (["-a", "-I"], {"ignore_times": True}),
    (["-aH", "--delete", "--max-size=60"], {"hard_links": True, "delete": True, "max_bytes": 60}),
    (["-aH", "--min-size=40", "--max-size=100"], {"hard_links": True, "min_bytes": 40, "max_bytes": 100}),
    (["-a", "-O"], {"omit_dir_times": True}),
    (["-a", "--chmod=Du+w,Dg+s,Fo=g,ug-x,+X"], {"chmod": b"Du+w,Dg+s,Fo=g,ug-x,+X"}),
    (
        ["-rlE", "--chmod=a-x,D+x"],
        {
            "perms": False,
            "times": False,
            "owner": False,
            "group": False,
            "devices": False,
            "specials": False,
            "executability": True,
            "chmod": b"a-x,D+x",
        },
    ),
    (
        ["-a", "--usermap=0:12,1-99:nobody", "--groupmap=root:bin,*:99"],
        {"usermap": b"0:12,1-99:nobody", "groupmap": b"root:bin,*:99"},
    ),
    (["-am", "--delete", "--exclude=f*"], {"delete": True, "prune_empty_dirs": True, "rules": (b"- f*",)}),
    (["-am", "-f", "P d*1", "--exclude=*[2-5]*"], {"prune_empty_dirs": True, "rules": (b"-r d*1", b"- *[2-5]*")}),
    (["-a", "--safe-links", "--delete"], {"safe_links": True, "delete": True}),
    (["-a", "-J", "--delete"], {"omit_link_times": True, "delete": True}),
    (["-rlD"], {"perms": False, "times": False, "owner": False, "group": False}),
    (["-a", "--no-l", "--no-D"], {"links": False, "devices": False, "specials": False}),
    (
        ["-a", "--delete", "--exclude=f*", "--include=*1*", "--exclude=renamed[0-3]*"],
        {"delete": True, "rules": (b"- f*", b"+ *1*", b"- renamed[0-3]*")},
    ),
    (
        ["-a", "--delete", "-f", "H f*1*", "-f", "P *2*", "-f", "-p *3*", "-f", "-!r *[0-8]*"],
        {"delete": True, "rules": (b"-s f*1*", b"-r *2*", b"-p *3*", b"-!r *[0-8]*")},
    ),
]

LETTERS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "L", stat.S_IFCHR: "D", stat.S_IFBLK: "D"}


def rsync_items(options: list[str], source: bytes, dest: bytes) -> list[str]:
    """What rsync would do, as `CODE NAME` lines with names in octal escapes."""
    command: list[str | bytes] = ["rsync", "-nv", "--out-format=%i %n", *options, source + b"/", dest]
    done = subprocess.run(command, capture_output=True, check=False)
    # Of a directory that holds something protected rsync's dry run says both that it can't be deleted and that it is.
    refused = b"cannot delete non-empty directory: "
    kept = {b"*deleting   " + line.removeprefix(refused) for line in done.stdout.splitlines() if line.startswith(refused)}
    # rsync ends some deleted directories in a slash and others not, depending on how it came to them.
    lines = [line.decode("ascii") for line in done.stdout.splitlines() if line[11:12] == b" " and line.rstrip(b"/") not in kept]
    stand = {octal(path): LETTERS.get(stat.S_IFMT(os.lstat(dest + b"/" + path).st_mode), "S") for path in walk(dest)}
    return sorted(_mended(line, stand) for line in lines)


def _mended(line: str, stand: dict[str, str]) -> str:
    """A line of rsync's without what says nothing: how a link differs from a thing of another type, and the slash of a deletion.

    A name that is to become a hard link is compared even with a symlink or directory in its place (`hf.stp.....`), in a dry run also
    where the real run prints `hf+++++++++`, since it has removed that thing by then. The link replaces something unlike it: it is new.
    """
    code, name = line[:11], line[12:]
    if code[0] == "h" and stand.get(name, code[1]) != code[1]:
        return f"{code[:2]}+++++++++ {name}"
    return line.rstrip("/") if code[0] == "*" else line


def octal(path: bytes) -> str:
    r"""A path as rsync prints it in the C locale: control characters, but for tab and DEL, and non-ASCII bytes as `\#ooo`."""
    return "".join(chr(byte) if 0x20 <= byte < 0x80 or byte == 0x09 else f"\\#{byte:03o}" for byte in path)


def our_items(heard: Heard) -> list[str]:
    """The same lines, from what the engine told."""
    lines = []
    for code, path, _ in heard.items:
        slash = b"/" if code[1] == "d" and not path.endswith(b"/") else b""
        line = f"{code:11} {octal(path + slash)}"
        lines.append(line.rstrip("/") if line.startswith("*") else line)
    return sorted(lines)


@pytest.mark.parametrize(("options", "settings"), OPTIONS, ids=[" ".join(options) for options, _ in OPTIONS])
@pytest.mark.parametrize("seed", range(2))
def test_the_same_lines_as_rsync(
    tmp_path: Path, options: list[str], settings: dict[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After random changes a dry run prints what rsync's does, for every option that decides about entries."""
    monkeypatch.setenv("LC_ALL", "C")
    rng = random.Random(seed)
    source, dest = os.fsencode(tmp_path / "source"), os.fsencode(tmp_path / "dest")
    make(source, rng, 80)
    push(source + b"/", dest, hard_links=True)
    change(source, rng, 40)
    heard = Heard()
    push(source + b"/", dest, dry_run=True, heard=heard, **settings)
    ours, theirs = our_items(heard), rsync_items(options, source, dest)
    assert sorted(set(ours) - set(theirs)) == sorted(set(theirs) - set(ours))


@pytest.mark.parametrize("seed", range(3))
def test_rsync_finds_nothing_left_to_do(tmp_path: Path, seed: int) -> None:
    """After a push, and after another with changes, `rsync -aHnic --delete` prints nothing."""
    rng = random.Random(1000 + seed)
    source, dest = os.fsencode(tmp_path / "source"), os.fsencode(tmp_path / "dest")
    make(source, rng, 200)
    for _ in range(2):
        push(source + b"/", dest, hard_links=True, delete=True)
        assert rsync_items(["-aHic", "--delete"], source, dest) == []
        change(source, rng, 60)
