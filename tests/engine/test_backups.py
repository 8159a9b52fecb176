"""Backups of what is replaced or deleted, with rsync as the judge of where they go."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deltasync.errors import DeltasyncError, ExitCode
from tests.engine import hostile
from tests.engine.hostile import Row, section
from tests.engine.hostile_arena import Arena
from tests.engine.hostile_talks import END
from tests.engine.runs import Heard, push
from tests.engine.trees import change, make, snapshot, walk

OPTIONS: list[tuple[list[str], dict[str, Any]]] = [
    (["-b"], {}),
    (["-b", "--delete"], {"delete": True}),
    (["-b", "-I", "--suffix=.old"], {"backup_suffix": b".old", "ignore_times": True}),
    (["-b", "--suffix=.[ab]", "--delete"], {"backup_suffix": b".[ab]", "delete": True}),
    (["-b", "-H", "--delete"], {"hard_links": True, "delete": True}),
    (["--backup-dir=bak"], {"backup_dir": b"bak"}),
    (["--backup-dir=bak", "--delete"], {"backup_dir": b"bak", "delete": True}),
    (["--backup-dir=new/bak", "--delete"], {"backup_dir": b"new/bak", "delete": True}),
    (["--backup-dir=../aside", "--suffix=.1", "--delete"], {"backup_dir": b"../aside", "backup_suffix": b".1", "delete": True}),
    (["--backup-dir=../aside", "-H", "--delete"], {"backup_dir": b"../aside", "hard_links": True, "delete": True}),
    (["-b", "--delete", "--include=a*~", "--exclude=f*"], {"delete": True, "rules": (b"+ a*~", b"- f*")}),
]


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """A root and what is outside it, looked after when the test is over."""
    made = Arena(tmp_path)
    yield made
    made.check()


@pytest.fixture
def other_filesystem(tmp_path: Path) -> Iterator[Path]:
    """A directory on another filesystem than `tmp_path`."""
    made = Path(tempfile.mkdtemp(prefix="deltasync-test-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    if made.stat().st_dev == tmp_path.stat().st_dev:
        shutil.rmtree(made)
        pytest.skip("needs tmpfs")
    yield made
    shutil.rmtree(made)


def options_of(given: dict[str, Any]) -> dict[str, Any]:
    """The options as the command line would make them of rsync's."""
    suffix = b"" if "backup_dir" in given else b"~"
    return {"backup": True, "backup_suffix": suffix, **given}


def shapes(root: Path) -> dict[bytes, object]:
    """What stands in a directory, without what depends on when and in which order it was made."""
    found: dict[bytes, object] = {}
    for path, shape in snapshot(os.fsencode(root)).items():
        kind = shape.kind
        found[path] = (
            (kind, shape.permissions) if kind == stat.S_IFDIR else shape._replace(mtime_ns=shape.mtime_ns * (kind == stat.S_IFREG))
        )
    return found


@pytest.mark.needs("rsync")
@pytest.mark.parametrize(("words", "given"), OPTIONS, ids=[" ".join(words) for words, _ in OPTIONS])
@pytest.mark.parametrize("seed", range(2))
def test_the_same_backups_as_rsync(tmp_path: Path, words: list[str], given: dict[str, Any], seed: int) -> None:
    """After random changes the destination, and a tree of backups beside it, hold what rsync's hold, name for name."""
    rng = random.Random(seed)
    source = tmp_path / "source"
    ours, theirs = tmp_path / "ours" / "dest", tmp_path / "theirs" / "dest"
    make(os.fsencode(source), rng, 80)
    for path in [path for path in walk(os.fsencode(source)) if len(path.rpartition(b"/")[2]) > 200]:
        subprocess.run(["rm", "-rf", os.fsencode(source) + b"/" + path], check=True)
    for dest in (ours, theirs):
        dest.parent.mkdir()
        subprocess.run(["rsync", "-aH", f"{source}/", dest], check=True)
    change(os.fsencode(source), rng, 50)
    done = subprocess.run(["rsync", "-a", *words, f"{source}/", theirs], check=False, capture_output=True)
    summary = push(os.fsencode(source) + b"/", ours, **options_of(given))
    found, expected = shapes(ours.parent), shapes(theirs.parent)
    assert {path: (found.get(path), expected.get(path)) for path in found | expected if found.get(path) != expected.get(path)} == {}
    assert summary.exit_code == done.returncode


class Trees:
    """A source and a destination that differ in one file."""

    def __init__(self, base: Path, old: bytes = b"old", new: bytes = b"newer") -> None:
        self.source, self.dest = base / "source", base / "dest"
        self.source.mkdir()
        self.dest.mkdir()
        (self.source / "f").write_bytes(new)
        (self.dest / "f").write_bytes(old)
        os.utime(self.dest / "f", ns=(10**18, 10**18))

    def push(self, **given: Any) -> tuple[ExitCode, Heard]:
        """Push with backups."""
        heard = Heard()
        return push(b"%s/" % os.fsencode(self.source), self.dest, heard=heard, **options_of(given)).exit_code, heard


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    """The usual ones."""
    return Trees(tmp_path)


@pytest.mark.parametrize("mode", ["auto", "stage", "inplace"])
def test_a_backup_of_a_file_that_comes_as_a_delta(tmp_path: Path, mode: str) -> None:
    """The backup has the old content and time, whichever of the two is the file that was there before."""
    old = random.Random(1).randbytes(1 << 20)
    trees = Trees(tmp_path, old, old[:500_000] + b"!" + old[500_001:])
    inode = (trees.dest / "f").stat().st_ino
    code, _ = trees.push(update_mode=mode)
    backup = (trees.dest / "f~").stat()
    assert (code, (trees.dest / "f~").read_bytes(), backup.st_mtime_ns) == (ExitCode.OK, old, 10**18)
    assert (trees.dest / "f").read_bytes() == (trees.source / "f").read_bytes()
    assert ((trees.dest / "f").stat().st_ino if mode == "inplace" else backup.st_ino) == inode
    assert sorted(os.listdir(trees.dest)) == ["f", "f~"]


def test_a_file_that_is_the_same_is_its_own_backup(tmp_path: Path) -> None:
    """As with rsync, what is sent again is replaced, though its content turns out to be there: small and large."""
    for size in (100, 300_000):
        (tmp_path / str(size)).mkdir()
        trees = Trees(tmp_path / str(size), b"x" * size, b"x" * size)
        assert trees.push()[0] == ExitCode.OK
        assert (trees.dest / "f~").read_bytes() == (trees.dest / "f").read_bytes() == b"x" * size
        assert (trees.dest / "f~").stat().st_mtime_ns == 10**18


def test_an_older_backup_is_replaced_and_never_deleted(trees: Trees) -> None:
    """One backup of each name is kept; `--delete` leaves it alone, and does not make backups of backups."""
    (trees.dest / "f~").write_bytes(b"older")
    (trees.dest / "gone~").write_bytes(b"older")
    assert trees.push(delete=True)[0] == ExitCode.OK
    assert {name: (trees.dest / name).read_bytes() for name in os.listdir(trees.dest)} == {"f": b"newer", "f~": b"old", "gone~": b"older"}
    # A rule of the user's that speaks of them comes first.
    assert trees.push(delete=True, rules=(b"+ gone~",))[0] == ExitCode.OK
    assert sorted(os.listdir(trees.dest)) == ["f", "f~"]


def test_a_directory_is_not_removed_for_a_backup_beside_it(trees: Trees) -> None:
    """With rsync it is removed and all that is in it; here the file stays what it is, and the message says what to do."""
    (trees.dest / "f~").mkdir()
    (trees.dest / "f~" / "precious").write_bytes(b"p")
    code, heard = trees.push()
    assert code == ExitCode.PARTIAL
    assert [problem.path for problem in heard.problems] == [b"f"]
    assert "f~: rename that, or choose another --suffix" in heard.problems[0].error
    assert ((trees.dest / "f").read_bytes(), (trees.dest / "f~" / "precious").read_bytes()) == (b"old", b"p")


def test_a_tree_of_backups_is_made_over_for_what_comes(trees: Trees) -> None:
    """Older backups in it that stand in the way are removed: a directory for a file, a file for a directory."""
    (trees.dest / "bak" / "f").mkdir(parents=True)
    (trees.dest / "bak" / "f" / "deep").write_bytes(b"older")
    (trees.dest / "bak" / "sub").write_bytes(b"older")
    (trees.dest / "sub").mkdir(mode=0o700)
    (trees.dest / "sub" / "g").write_bytes(b"goes")
    assert trees.push(backup_dir=b"bak", delete=True)[0] == ExitCode.OK
    assert (trees.dest / "bak" / "f").read_bytes() == b"old"
    assert (trees.dest / "bak" / "sub" / "g").read_bytes() == b"goes"
    assert (trees.dest / "bak" / "sub").stat().st_mode & 0o777 == 0o700
    assert not (trees.dest / "sub").exists()


def test_a_tree_of_backups_inside_the_destination_stays(trees: Trees) -> None:
    """With rsync it is deleted into itself unless it is excluded; here `--delete` leaves it alone."""
    (trees.dest / "in" / "bak").mkdir(parents=True)
    (trees.dest / "in" / "bak" / "older").write_bytes(b"older")
    (trees.dest / "in" / "g").write_bytes(b"goes")
    for _ in range(2):
        assert trees.push(backup_dir=b"in/bak", delete=True)[0] == ExitCode.OK
        assert sorted(walk(os.fsencode(trees.dest))) == [b"f", b"in", b"in/bak", b"in/bak/f", b"in/bak/in", b"in/bak/in/g", b"in/bak/older"]


def test_backups_on_another_filesystem(trees: Trees, other_filesystem: Path) -> None:
    """What can be neither linked nor renamed there is copied: files with modes and times, symlinks, FIFOs."""
    (trees.dest / "f").chmod(0o640)
    for name, make_one in (("link", lambda path: os.symlink(b"nowhere", path)), ("fifo", os.mkfifo), ("goes", os.mknod)):
        make_one(trees.dest / name)
    (trees.source / "link").symlink_to("elsewhere")
    assert trees.push(backup_dir=os.fsencode(other_filesystem / "new" / "bak"), delete=True)[0] == ExitCode.OK
    made = shapes(other_filesystem / "new" / "bak")
    assert set(made) == {b".", b"f", b"link", b"fifo", b"goes"}
    saved = (other_filesystem / "new" / "bak" / "f").stat()
    assert (saved.st_mode & 0o777, saved.st_mtime_ns, saved.st_size) == (0o640, 10**18, 3)
    assert sorted(os.listdir(trees.dest)) == ["f", "link"]


def test_a_dry_run_makes_no_backup(trees: Trees) -> None:
    """Nothing is written anywhere."""
    before = snapshot(os.fsencode(trees.dest))
    assert trees.push(backup_dir=b"../aside", delete=True, dry_run=True)[0] == ExitCode.OK
    assert snapshot(os.fsencode(trees.dest)) == before
    assert not (trees.dest.parent / "aside").exists()


@pytest.mark.parametrize("place", [b"file", b"file/deeper", b".deltasync~p", b"x\0y", b"dangling", b".", b"../dest"])
def test_a_tree_of_backups_that_can_not_be_ends_the_run(trees: Trees, place: bytes) -> None:
    """Before anything is changed; so does the destination itself without a suffix."""
    (trees.dest / "file").write_bytes(b"x")
    (trees.dest / "dangling").symlink_to("nowhere")
    with pytest.raises(DeltasyncError, match="backup directory") as failed:
        trees.push(backup_dir=place)
    assert failed.value.exit_code == ExitCode.LOCAL_IO
    assert (trees.dest / "f").read_bytes() == b"old"


def test_the_destination_itself_with_a_suffix(trees: Trees) -> None:
    """That is as without a directory, but that `--delete` deletes backups too, each once."""
    (trees.dest / "gone").mkdir()
    (trees.dest / "gone" / "g").write_bytes(b"goes")
    assert trees.push(backup_dir=b".", backup_suffix=b".x", delete=True)[0] == ExitCode.OK
    assert sorted(walk(os.fsencode(trees.dest))) == [b"f", b"f.x", b"gone", b"gone/g.x"]


# What a sender may not bring about --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [b"bak", b"bak/deeper", b"../dest/bak", b"%s/bak"])
def test_a_symlink_that_was_sent_is_no_tree_of_backups(trees: Trees, place: bytes) -> None:
    """A sender that has put one in the destination does not have old files moved to where it leads."""
    outside = trees.dest.parent / "outside"
    (outside / "deeper").mkdir(parents=True)
    (trees.source / "bak").symlink_to(outside)
    (trees.dest / "bak").symlink_to(outside)
    with pytest.raises(DeltasyncError, match="backup directory"):
        trees.push(backup_dir=place.replace(b"%s", os.fsencode(trees.dest)))
    assert sorted(walk(os.fsencode(outside))) == [b"deeper"]


def test_a_symlink_that_comes_in_this_run_is_none_either(trees: Trees) -> None:
    """Where the tree of backups is missing at first, what the sender puts in its place is not followed: the file stays old."""
    outside = trees.dest.parent / "outside"
    outside.mkdir()
    (trees.source / "bak").symlink_to(outside)
    code, heard = trees.push(backup_dir=b"bak")
    assert (code, list(walk(os.fsencode(outside)))) == (ExitCode.PARTIAL, [])
    assert [problem.path for problem in heard.problems] == [b"f"]
    assert (trees.dest / "f").read_bytes() == b"old"


def test_a_symlink_inside_a_tree_of_backups_is_replaced(trees: Trees) -> None:
    """It may be the backup of one that was sent."""
    outside = trees.dest.parent / "outside"
    outside.mkdir()
    (trees.dest / "sub").mkdir()
    (trees.dest / "sub" / "g").write_bytes(b"goes")
    (trees.dest / "bak").mkdir()
    (trees.dest / "bak" / "sub").symlink_to(outside)
    assert trees.push(backup_dir=b"bak", delete=True)[0] == ExitCode.OK
    assert (list(walk(os.fsencode(outside))), (trees.dest / "bak" / "sub" / "g").read_bytes()) == ([], b"goes")


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (b"bak", b"in/bak/f"),
        (b"../bak", b"bak/f"),
        (b"/bak", b"bak/f"),
        (b"/in/bak", b"in/bak/f"),
        (b"x/../../bak/.", b"bak/f"),
        (b"../../bak", None),
        (b"/../canary/bak", None),
        (b"../in/../../bak", None),
        (b"out", None),
        (b"/in/out/deeper", None),
    ],
)
def test_backups_beneath_a_root(place: bytes, found: bytes | None, arena: Arena) -> None:
    """With `serve --root`, and for a listener, they stay beneath it, whatever the client says."""
    arena_root = Path(os.fsdecode(arena.root))
    (arena_root / "in" / "f").write_bytes(b"old")
    (arena_root / "in" / "out").symlink_to(os.fsdecode(arena.canary))
    said = hostile.hello() + hostile.setup(True, [b"in"], backup=True, backup_dir=place, backup_suffix=b"") + hostile.tree()
    said += hostile.entries(section(b"", Row(b"f", size=3))) + hostile.entries_end(1) + hostile.pack((0, b"abc"))
    ended = arena.serve(said, *END)
    assert ended.code == (ExitCode.OK if found else ExitCode.LOCAL_IO)
    if found:
        assert (arena_root / os.fsdecode(found)).read_bytes() == b"old"
    assert (arena_root / "in" / "f").read_bytes() == (b"abc" if found else b"old")
