"""Sources that keep their paths, and directories that are not entered: what becomes of them, and of what stands at the destination."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from deltasync.cli.files_from import named_sources
from deltasync.errors import ExitCode, UsageError
from tests.cli.commands import command
from tests.engine.runs import Heard, pull, push
from tests.engine.trees import snapshot, walk


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source with directories in directories, which is the current one."""
    for name in ("foo/bar/f", "foo/bar/deep/g", "foo/h", "baz/i", "top", "foo/bar.o/x"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(name)
    for path in (tmp_path / "source", *(tmp_path / "source").rglob("*")):
        os.utime(path, (1e9, 1e9))
    (tmp_path / "source" / "foo").chmod(0o751)
    monkeypatch.chdir(tmp_path / "source")
    return tmp_path / "source"


def fill(tree: Path) -> None:
    """Make a destination in which other things stand already."""
    (tree / "foo" / "bar" / "extra").mkdir(parents=True)
    (tree / "foo" / "extra").touch()
    (tree / "extra").mkdir()
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (2e9, 2e9))


CASES = [
    ["-aR", "foo/bar"],
    ["-aR", "foo/./bar/deep/", "baz"],
    ["-aR", "foo/bar/deep", "foo/h", "top"],
    ["-aR", "foo/bar/deep/g", "foo/bar"],
    ["-aR", "./foo//bar/.", "./top"],
    ["-aR", "--exclude=foo", "--exclude=f", "foo/bar"],
    ["-aR", "--exclude=*.o", "--exclude=/foo/bar/deep", "foo"],
    ["-aR", "--delete", "foo/bar", "baz"],
    ["-aR", "."],
    ["-aR", "foo/h", "./"],
    ["-lptgoDdR", "foo/bar/"],
    ["-lptgoDdR", "foo/bar", "top"],
    ["-lptgoDd", "foo", "top"],
    ["-lptgoDd", "foo/"],
    ["-lptgoDd", "--delete", "foo/"],
]


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_rsync_makes_the_same_of_it(source: Path, tmp_path: Path, words: list[str]) -> None:
    """Directories on the way have their attributes, and nothing beside what was named is sent or deleted."""
    sources = [word for word in words if not word.startswith("-")]
    flags = [word for word in words if word.startswith("--")]
    trees = [tmp_path / "ours", tmp_path / "theirs"]
    for tree in trees:
        fill(tree)
    subprocess.run(["rsync", *words, trees[1]], check=True)
    rules = tuple(b"- " + os.fsencode(flag.partition("=")[2]) for flag in flags if "=" in flag)
    letters = words[0]
    heard = Heard()
    push(
        *[os.fsencode(path) for path in sources],
        os.fsencode(trees[0]),
        heard=heard,
        rules=rules,
        recursive="a" in letters,
        relative="R" in letters,
        dirs="d" in letters,
        delete="--delete" in flags,
    )
    ours, theirs = (snapshot(os.fsencode(tree)) for tree in trees)
    if not {b".", b"./"} & {os.fsencode(path) for path in sources}:
        # What is made in the destination changes its time.
        del ours[b"."], theirs[b"."]
    assert ours == theirs
    assert not heard.problems


def test_a_pull_keeps_paths_too(source: Path, tmp_path: Path) -> None:
    """The receiver takes what it asked for, and nothing else."""
    pull(b"foo/bar/deep", b"baz/./i", os.fsencode(tmp_path / "dest"), relative=True, rules=(b"- foo",))
    assert sorted(walk(os.fsencode(tmp_path / "dest"))) == [b"foo", b"foo/bar", b"foo/bar/deep", b"foo/bar/deep/g", b"i"]


def test_a_way_over_a_symlink_or_upwards_is_no_way(source: Path, tmp_path: Path) -> None:
    """Each is named, and the others are sent."""
    (source / "link").symlink_to("foo")
    heard = Heard()
    done = push(b"link/h", b"foo/../top", b"baz", os.fsencode(tmp_path / "dest"), heard=heard, relative=True)
    assert done.exit_code == ExitCode.PARTIAL
    assert sorted(problem.path for problem in heard.problems) == [b"foo/../top", b"link/h"]
    assert sorted(walk(os.fsencode(tmp_path / "dest"))) == [b"baz", b"baz/i"]


NAMES = [b"foo/bar", b"foo/bar/", b"/foo/h", b"baz/", b"foo/../top", b"foo/./bar/f", b"foo/bar/.", b"../top", b"./", b"."]


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("flags", [[], ["-r"], ["-0"], ["--delete"]], ids=" ".join)
@pytest.mark.parametrize("chosen", [NAMES[:1], NAMES[1:2], NAMES[2:5], NAMES[5:8], NAMES[8:9], [NAMES[9], NAMES[0]]], ids=repr)
def test_names_in_a_file_mean_what_they_mean_to_rsync(source: Path, tmp_path: Path, chosen: list[bytes], flags: list[str]) -> None:
    """Comments and empty lines are none; what leads upwards stops at the top; a slash at the end is for what is in a directory."""
    end = b"\0" if "-0" in flags else b"\n"
    (tmp_path / "list").write_bytes(end.join([b"# comment", b";x", b"", *chosen, b""]))
    trees = [tmp_path / "ours", tmp_path / "theirs"]
    for tree in trees:
        fill(tree)
    named = [f"--files-from={tmp_path / 'list'}", *flags]
    subprocess.run(["rsync", "-a", *named, f"{source}/", trees[1]], check=True)
    assert command("push", *named, f"{source}/", str(trees[0]), cwd=tmp_path).code == 0
    ours, theirs = (snapshot(os.fsencode(tree)) for tree in trees)
    if not {b".", b"./"} & {*chosen}:
        # What is made in the destination changes its time.
        del ours[b"."], theirs[b"."]
    assert ours == theirs


def test_a_file_of_no_names_is_refused(tmp_path: Path) -> None:
    """Rather than taken for everything, or for nothing."""
    (tmp_path / "list").write_bytes(b"# nothing\n\n")
    with pytest.raises(UsageError, match="no name"):
        named_sources(b"src", str(tmp_path / "list"), nul=False)


def random_tree(top: Path, rng: random.Random) -> list[str]:
    """Make a small tree of old files; return the paths of directories and files."""
    top.mkdir()
    paths = [""]
    for _ in range(14):
        above = rng.choice([path for path in paths if (top / path).is_dir()])
        path = f"{above}/{rng.choice('abcd')}".strip("/")
        if path in paths:
            continue
        paths.append(path)
        if rng.random() < 0.6:
            (top / path).mkdir()
        else:
            (top / path).write_text(path)
    make_old(top)
    return paths[1:]


def make_old(top: Path) -> None:
    """Give all times that lie far back: less than a second apart, they are the same to rsync."""
    for path in (top, *top.rglob("*")):
        os.utime(path, (1e9, 1e9))


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("seed", range(16))
def test_whatever_is_named_of_whatever_tree_rsync_does_the_same(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of files and directories, with slashes and anchors, one beneath the other, into destinations that hold other things."""
    rng = random.Random(seed)
    source = tmp_path / "source"
    paths = random_tree(source, rng)
    monkeypatch.chdir(source)
    names = [rng.choice([*paths, "."]) for _ in range(rng.randrange(1, 5))]
    names = [f"{name}/" if (source / name).is_dir() and rng.random() < 0.4 else name for name in names]
    if len(names) == 1 and "/" in names[0].rstrip("/"):
        names = [names[0].replace("/", "/./", 1)]
    trees = [tmp_path / "ours", tmp_path / "theirs"]
    for tree in trees:
        for path in paths[::2]:
            if (source / path).is_dir():
                (tree / path / "extra").mkdir(parents=True)
        tree.mkdir(exist_ok=True)
        make_old(tree)
    recursive, delete = rng.random() < 0.5, rng.random() < 0.5
    flags = ["-r" if recursive else "-d", *(["--delete"] if delete else [])]
    done = subprocess.run(["rsync", "-lptgoDR", *flags, *names, trees[1]], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    places = [*map(os.fsencode, names), os.fsencode(trees[0])]
    push(*places, relative=True, recursive=recursive, dirs=not recursive, delete=delete, force_empty=True)
    ours, theirs = (snapshot(os.fsencode(tree)) for tree in trees)
    del ours[b"."], theirs[b"."]
    assert ours == theirs
