"""git's ignore files as rules: what they leave out, and that git says the same."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from deltasync.tree.filters import Filters
from deltasync.tree.gitignore import git_rules
from deltasync.tree.rules import Rule

NAMES = ["a", "b", "ab", "foo", "x.o", "a b", "#c", "!d", "[e]", "a\\b", ".h"]
PIECES = [
    *NAMES, "*", "**", "***", "?", "*.o", "a*", "[ab]", "[!a]",
    "[^a]x", "\\#c", "\\!d", "\\a", "\\[e\\]", "**a", "a**", "[a-c]*", "*b", "a?",
    ".*", "a\\\\b", "a\\ ", "[", "[a",
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "path", "is_dir", "left_out"),
    [
        ("*.log", b"d/x.log", False, True),
        ("/x", b"d/x", False, False),
        ("d/x", b"d/x", False, True),
        ("d/x", b"e/d/x", False, False),
        ("build/", b"build", False, False),
        ("build/", b"e/build", True, True),
        ("a/**/b", b"a/b", False, True),
        ("a/**/b", b"a/x/y/b", False, True),
        ("**/b/c", b"a/b/c", False, True),
        ("a/**", b"a", True, False),
        ("x   ", b"x", False, True),
        ("x\\ ", b"x ", False, True),
        ("# x", b"# x", False, False),
        ("\\#x", b"#x", False, True),
        ("[e]", b"e", False, True),
        ("", b"x", False, False),
        ("/", b"x", True, False),
    ],
)
def test_a_line(line: str, path: bytes, is_dir: bool, left_out: bool) -> None:
    """Anchored by a slash within, for directories alone by one at the end, any directories by two stars between slashes."""
    assert Filters(git_rules(line.encode())).excluded(path, is_dir) == left_out


def test_the_last_line_that_matches_decides() -> None:
    """An exclamation mark keeps what was left out."""
    filters = Filters(git_rules(b"*.o\r\n!keep.o\r\n/keep.o\n!/keep.o"))
    assert filters.excluded(b"x.o", False)
    assert not filters.excluded(b"keep.o", False)


def test_a_file_speaks_of_its_own_directory() -> None:
    """What is special in the name of that means nothing."""
    filters = Filters([rule.within(b"[d]") for rule in git_rules(b"/x\ny/z")])
    assert filters.excluded(b"[d]/x", False)
    assert filters.excluded(b"[d]/y/z", False)
    assert not filters.excluded(b"d/x", False)


def ruled(data: bytes, directory: str) -> list[Rule]:
    """The rules of a file in a directory."""
    return [rule.within(directory.encode()) for rule in git_rules(data)]


def line(rng: random.Random) -> str:
    """A line, drawn."""
    pattern = "/".join(rng.choice(PIECES) for _ in range(rng.choice([1, 1, 1, 2, 2, 3])))
    return rng.choice(["", "", "!"]) + rng.choice(["", "", "/"]) + pattern + rng.choice(["", "", "/"]) + rng.choice(["", "", " ", "  "])


def made(top: Path, rng: random.Random) -> list[tuple[str, bool]]:
    """Make a tree; return its entries, and whether each is a directory."""
    for _ in range(25):
        path = top.joinpath(*(rng.choice(NAMES) for _ in range(rng.randint(1, 4))))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if rng.random() < 0.4 else path.touch(exist_ok=False)
        except (FileExistsError, NotADirectoryError):
            continue
    return [(str(path.relative_to(top)), path.is_dir()) for path in sorted(top.rglob("*")) if ".git" not in path.parts]


@pytest.mark.needs("git")
@pytest.mark.parametrize("seed", range(25))
def test_git_leaves_out_the_same(tmp_path: Path, seed: int) -> None:
    """Nested files, drawn from everything that is special in them."""
    rng = random.Random(seed)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    entries = made(tmp_path, rng)
    files: dict[str, bytes] = {}
    directories = ["", *(path for path, is_dir in entries if is_dir)]
    for directory in rng.sample(directories, min(len(directories), rng.randint(1, 3))):
        files[directory] = "".join(line(rng) + "\n" for _ in range(rng.randint(1, 5))).encode()
        (tmp_path / directory / ".gitignore").write_bytes(files[directory])
    git: list[str | Path] = ["git", "-C", tmp_path, "-c", f"core.excludesFile={os.devnull}"]
    asked = "\0".join(path for path, _ in entries)
    check = [*git, "check-ignore", "--stdin", "-z", "--no-index"]
    told = {*subprocess.run(check, input=asked, capture_output=True, text=True, check=False).stdout.split("\0")} - {""}

    def left_out(path: str, is_dir: bool) -> bool:
        above = os.path.dirname(path)
        if above and left_out(above, True):
            return True
        chain = [above] if not above else [above, *(str(parent) for parent in Path(above).parents if str(parent) != "."), ""]
        rules = [rule for directory in chain if directory in files for rule in ruled(files[directory], directory)]
        return Filters(rules).excluded(path.encode(), is_dir)

    assert {path for path, is_dir in entries if left_out(path, is_dir)} == told, files
