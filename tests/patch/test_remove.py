"""Trees removed."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltasync.errors import Problem
from deltasync.fs.locks import lock
from deltasync.fs.openat2 import DIRECTORY_FLAGS, best_opener, open_by_walk
from deltasync.fs.root import Root
from deltasync.patch import remove
from deltasync.patch.leftovers import partial_name
from deltasync.patch.remove import remove_tree
from tests.forked import NOBODY, in_child


@dataclass
class Record:
    """Whoever asks for a removal, and what he hears."""

    keep: frozenset[bytes] = frozenset()
    budget: int = 1 << 30
    removed: list[tuple[bytes, bool]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def allowed(self, _: bytes) -> bool:
        """Spend one of the budget."""
        self.budget -= 1
        return self.budget >= 0

    def run(self, root: Root, path: bytes, *, dry_run: bool = False) -> bool:
        """Remove a tree."""
        return remove_tree(
            root,
            path,
            lambda path, _: path in self.keep,
            lambda path, is_dir: self.removed.append((path, is_dir)),
            self.allowed,
            failed=self.problems.append,
            dry_run=dry_run,
        )

    @property
    def paths(self) -> list[bytes]:
        """What was removed, in order."""
        return [path for path, _ in self.removed]


@pytest.fixture(params=list(dict.fromkeys([best_opener(), open_by_walk])), ids=lambda opener: opener.__name__)
def root(request: pytest.FixtureRequest, place: Path) -> Iterator[Root]:
    """`place` as a root."""
    held = Root.open(os.fsencode(place), opener=request.param)
    yield held
    held.close()


def fill(place: Path) -> None:
    """A tree with each type, `t`, beside something else."""
    (place / "t/a/b").mkdir(parents=True)
    (place / "t/a/b/file").write_bytes(b"x")
    (place / "t/a/two").write_bytes(b"x")
    (place / "t/link").symlink_to("../beside")
    os.mkfifo(place / "t/fifo")
    (place / "t/empty").mkdir()
    (place / "beside/x").mkdir(parents=True)


ALL = {
    b"t": True,
    b"t/a": True,
    b"t/a/b": True,
    b"t/a/b/file": False,
    b"t/a/two": False,
    b"t/link": False,
    b"t/fifo": False,
    b"t/empty": True,
}


def listed(place: Path) -> set[bytes]:
    """Every path beneath."""
    found = subprocess.run(["find", ".", "-mindepth", "1", "-printf", "%P\\0"], cwd=place, capture_output=True, check=True)
    return set(found.stdout.split(b"\0")[:-1])


def assert_children_first(paths: list[bytes]) -> None:
    """No directory is told before what was in it."""
    for number, path in enumerate(paths):
        assert not any(later.startswith(path + b"/") for later in paths[number:])


def test_a_tree_is_removed_children_first(root: Root, place: Path) -> None:
    """Each entry is told once with its type, symlinks are not followed, and what stands beside stays."""
    fill(place)
    record = Record()
    with root.dir(b"t/a"):
        assert record.run(root, b"t")
    assert dict(record.removed) == ALL
    assert len(record.removed) == len(ALL)
    assert_children_first(record.paths)
    assert record.problems == []
    assert listed(place) == {b"beside", b"beside/x"}
    assert record.budget == (1 << 30) - len(ALL)
    with pytest.raises(FileNotFoundError):
        root.dir(b"t/a")


def test_a_dry_run_tells_the_same_and_removes_nothing(root: Root, place: Path) -> None:
    """In the same order, and asking for each."""
    fill(place)
    before = listed(place)
    rehearsal, record = Record(), Record()
    assert rehearsal.run(root, b"t", dry_run=True)
    assert listed(place) == before
    assert record.run(root, b"t")
    assert sorted(rehearsal.removed) == sorted(record.removed)
    assert_children_first(rehearsal.paths)
    assert rehearsal.budget == record.budget


@pytest.mark.parametrize("path", [b"t/a/two", b"t/link", b"t/fifo", b"t/empty", b"t/none", b"none/x"])
def test_a_single_entry_is_removed(root: Root, place: Path, path: bytes) -> None:
    """Of each type; what is not there is gone already, and not told."""
    fill(place)
    record = Record()
    assert record.run(root, path)
    assert record.removed == ([] if b"none" in path else [(path, ALL[path])])
    assert listed(place) == {*ALL, b"beside", b"beside/x"} - {path}


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        ({b"t"}, set()),
        ({b"t/a"}, {b"t/link", b"t/fifo", b"t/empty"}),
        ({b"t/a/b/file"}, {b"t/a/two", b"t/link", b"t/fifo", b"t/empty"}),
        ({b"t/link", b"t/fifo"}, {b"t/a/two", b"t/a/b/file", b"t/a/b", b"t/a", b"t/empty"}),
        ({b"t/a/b"}, {b"t/a/two", b"t/link", b"t/fifo", b"t/empty"}),
    ],
)
def test_what_is_protected_stays_with_the_directories_it_stands_in(
    root: Root, place: Path, keep: set[bytes], gone: set[bytes], dry_run: bool
) -> None:
    """A protected directory stays with all that is in it."""
    fill(place)
    record = Record(frozenset(keep))
    assert not record.run(root, b"t", dry_run=dry_run)
    assert set(record.paths) == gone
    assert record.problems == []
    assert record.budget == (1 << 30) - len(gone)
    assert listed(place) == {*ALL, b"beside", b"beside/x"} - (set() if dry_run else gone)


@pytest.mark.parametrize("budget", range(len(ALL) + 1))
def test_the_work_ends_where_it_is_no_longer_allowed(root: Root, place: Path, budget: int) -> None:
    """Exactly as many are removed as allowed, and nothing is asked after the first refusal."""
    fill(place)
    record = Record(budget=budget)
    assert record.run(root, b"t") == (budget == len(ALL))
    assert len(record.removed) == budget
    assert listed(place) == {*ALL, b"beside", b"beside/x"} - set(record.paths)
    assert record.budget == (0 if budget == len(ALL) else -1)
    assert_children_first(record.paths)


def test_staged_files_go_with_their_directory(root: Root, place: Path) -> None:
    """Untold and uncounted; one that is at work keeps its directory until it is done."""
    fill(place)
    (place / "t/a/.deltasync~s1-2-3").write_bytes(b"")
    staged = place / "t/a" / os.fsdecode(partial_name(b"two"))
    staged.write_bytes(b"")
    fd = os.open(staged, os.O_RDWR)
    assert lock(fd)
    record = Record()
    assert not record.run(root, b"t")
    assert set(record.paths) == set(ALL) - {b"t", b"t/a"}
    assert listed(place / "t") == {b"a", b"a/" + partial_name(b"two")}
    os.close(fd)
    assert record.run(root, b"t")
    assert dict(record.removed) == ALL
    assert not (place / "t").exists()


@pytest.mark.needs("root")
def test_a_mount_point_is_neither_entered_nor_removed(root: Root, place: Path) -> None:
    """It is named, its content is whole, and the rest of the tree is removed."""
    fill(place)
    subprocess.run(["mount", "-t", "tmpfs", "none", place / "t/a/b"], check=True)
    try:
        (place / "t/a/b/mounted").write_bytes(b"x")
        record = Record()
        assert not record.run(root, b"t")
        assert [(problem.path, problem.error) for problem in record.problems] == [(b"t/a/b", "can't be deleted: it is a mount point")]
        assert listed(place / "t") == {b"a", b"a/b", b"a/b/mounted"}
        assert not record.run(root, b"t/a/b")
        assert (place / "t/a/b/mounted").exists()
    finally:
        subprocess.run(["umount", place / "t/a/b"], check=True)


@pytest.mark.needs("root")
def test_the_same_filesystem_mounted_again_is_not_emptied(root: Root, place: Path) -> None:
    """A bind mount has the device of what is around it; where the kernel has openat2 it is seen all the same."""
    if root.opener is open_by_walk:
        return
    fill(place)
    subprocess.run(["mount", "--bind", place / "beside", place / "t/a/b"], check=True)
    try:
        record = Record()
        assert not record.run(root, b"t")
        assert [problem.path for problem in record.problems] == [b"t/a/b"]
        assert (place / "beside/x").is_dir()
    finally:
        subprocess.run(["umount", place / "t/a/b"], check=True)


@pytest.mark.needs("root")
@pytest.mark.parametrize("mode", [0o000, 0o200, 0o500, 0o555])
def test_a_plain_user_removes_his_own_read_only_directories(root: Root, place: Path, mode: int) -> None:
    """They are made to permit it; those that stay get their modes back."""
    fill(place)
    for path in (*sorted(ALL), b"t/kept", b"t/kept/protected"):
        if path == b"t/kept":
            (place / "t/kept").mkdir()
        if path == b"t/kept/protected":
            (place / "t/kept/protected").write_bytes(b"")
        os.chown(path, NOBODY, NOBODY, dir_fd=root.fd, follow_symlinks=False)
    for path in (b"t/a/b", b"t/a", b"t/empty", b"t/kept", b"t"):
        os.chmod(path, mode, dir_fd=root.fd)

    def work() -> Record:
        record = Record(frozenset({b"t/kept/protected"}))
        assert not record.run(root, b"t")
        return record

    record = in_child(work, uid=NOBODY)
    assert record.problems == []
    assert listed(place / "t") == {b"kept", b"kept/protected"}
    assert [stat.S_IMODE((place / path).stat().st_mode) for path in ("t", "t/kept")] == [mode, mode]


@pytest.mark.needs("root")
def test_what_may_not_be_removed_is_named_and_the_rest_goes_on(root: Root, place: Path) -> None:
    """A plain user in a directory of root: each entry that stays for its own sake is a problem, once; nothing else is."""
    fill(place)
    for path in ("t", "t/empty", "t/a/b"):
        (place / path).chmod(0o777)
    (place / "t/a").chmod(0o755)

    def work() -> Record:
        record = Record()
        assert not record.run(root, b"t")
        return record

    record = in_child(work, uid=NOBODY)
    assert {(problem.path, problem.error) for problem in record.problems} == {
        (b"t/a/two", "can't be deleted: Permission denied"),
        (b"t/a/b", "can't be deleted: Permission denied"),
    }
    assert len(record.problems) == 2
    assert listed(place / "t") == {b"a", b"a/b", b"a/two"}


def test_depth_and_length_of_paths_have_no_limit(root: Root, place: Path) -> None:
    """1,100 levels with names of 255 bytes, longer than any path that the protocol carries, and few descriptors."""
    name = b"d" * 255
    fd = os.dup(root.fd)
    for _ in range(1100):
        os.mkdir(name, dir_fd=fd)
        os.close(os.open(b"file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
        deeper = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    before = len(os.listdir("/proc/self/fd"))
    most = 0
    count = 0

    def removed(path: bytes, is_dir: bool) -> None:
        nonlocal most, count
        count += 1
        if count % 100 == 0:
            most = max(most, len(os.listdir("/proc/self/fd")))

    problems: list[Problem] = []
    try:
        assert remove_tree(root, name, lambda *_: False, removed, lambda _: True, failed=problems.append)
    finally:
        subprocess.run(["rm", "-rf", place / os.fsdecode(name)], check=True)
    assert problems == []
    assert count == 1100 + 1099
    assert most <= before + remove._OPEN_LEVELS + 4
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_directory_moved_away_meanwhile_is_not_followed(root: Root, place: Path, tmp_path: Path) -> None:
    """The way back up from it leads elsewhere: the work ends there with a problem, and nothing outside is touched."""
    depth = remove._OPEN_LEVELS + 5
    (place / "/".join(["t"] + ["d"] * depth)).mkdir(parents=True)
    (tmp_path / "outside/d").mkdir(parents=True)
    (tmp_path / "outside/canary").write_bytes(b"")
    moved = place / "t/d/d"
    record = Record()

    def allowed(_: bytes) -> bool:
        if moved.exists():
            moved.rename(tmp_path / "outside/moved")
        return True

    problems: list[Problem] = []
    assert not remove_tree(root, b"t", lambda *_: False, lambda *_: None, allowed, failed=problems.append)
    assert [problem.path for problem in problems] == [b"t"]
    assert {path.name for path in (tmp_path / "outside").iterdir()} == {"d", "canary", "moved"}
    assert record.removed == []


def test_a_large_flat_directory_is_removed(root: Root, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and more directories than are remembered at once, among them some that stay."""
    monkeypatch.setattr(remove, "_PENDING_DIRECTORIES", 50)
    (place / "t").mkdir()
    for number in range(1000):
        os.mkdir(b"t/d%d" % number, dir_fd=root.fd)
        os.close(os.open(b"t/f%d" % number, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=root.fd))
    kept = frozenset({*(b"t/d%d" % number for number in range(0, 1000, 5)), *(b"t/f%d" % number for number in range(0, 1000, 7))})
    record = Record(kept)
    assert not record.run(root, b"t")
    assert {b"t/" + path for path in listed(place / "t")} == kept
    assert len(record.removed) == 2000 - len(kept)
    assert record.budget == (1 << 30) - len(record.removed)
    last = Record()
    assert last.run(root, b"t")
    assert len(last.removed) == len(kept) + 1


def test_what_appears_meanwhile_goes_too(root: Root, place: Path) -> None:
    """A file made in a directory that was listed already does not keep it, whether files or directories had been removed from it."""
    fill(place)
    (place / "t/only/directories").mkdir(parents=True)
    late = {b"t/a/b/file": place / "t/a/b/late", b"t/only/directories": place / "t/only/late"}
    problems: list[Problem] = []

    def removed(path: bytes, is_dir: bool) -> None:
        if path in late:
            late.pop(path).write_bytes(b"")

    assert remove_tree(root, b"t", lambda *_: False, removed, lambda _: True, failed=problems.append)
    assert (late, problems) == ({}, [])
    assert not (place / "t").exists()


@pytest.mark.parametrize("path", [b"", b"..", b"t/..", b"/t", b"t//a"])
def test_the_root_and_illegal_paths_are_refused(root: Root, place: Path, path: bytes) -> None:
    """Before anything is done."""
    fill(place)
    with pytest.raises(ValueError, match=r"root|illegal"):
        Record().run(root, path)
    assert listed(place) == {*ALL, b"beside", b"beside/x"}


def test_a_symlink_on_the_way_is_a_problem(root: Root, place: Path, tmp_path: Path) -> None:
    """What it leads to stays."""
    (tmp_path / "outside/x").mkdir(parents=True)
    (place / "t").symlink_to(tmp_path / "outside")
    record = Record()
    assert not record.run(root, b"t/x")
    assert [problem.path for problem in record.problems] == [b"t/x"]
    assert (tmp_path / "outside/x").is_dir()


NAME = st.binary(min_size=1, max_size=3).filter(lambda name: name not in (b".", b"..") and not {0, 47} & set(name))
TREE = st.recursive(st.booleans(), lambda children: st.dictionaries(NAME, children, max_size=4), max_leaves=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREE.filter(lambda tree: isinstance(tree, dict)), st.sets(st.integers(0, 30), max_size=4))
def test_any_tree_loses_exactly_what_is_not_protected(place: Path, tree: object, chosen: set[int]) -> None:
    """Whatever is protected, what stays is that, all beneath it and all above it."""
    root = Root.open(os.fsencode(place))
    made: dict[bytes, bool] = {}

    def build(path: bytes, node: object) -> None:
        made[path] = isinstance(node, dict)
        if isinstance(node, dict):
            os.mkdir(path, dir_fd=root.fd)
            for name, child in node.items():
                build(path + b"/" + name, child)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=root.fd))

    build(b"t", tree)
    keep = frozenset(path for number, path in enumerate(made) if number in chosen)
    stays = {path for path in made for kept in keep if path == kept or path.startswith(kept + b"/") or kept.startswith(path + b"/")}
    record = Record(keep)
    assert record.run(root, b"t") == (not stays)
    assert dict(record.removed) == {path: is_dir for path, is_dir in made.items() if path not in stays}
    assert listed(place) == stays
    assert Record().run(root, b"t")
    root.close()
