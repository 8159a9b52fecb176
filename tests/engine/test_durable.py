"""`--fsync`: contents are durable before they have their names, all else before the run is called done, and a failed sync is no success."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

from deltasync.errors import DeltasyncError, ExitCode
from deltasync.fs import libc
from deltasync.patch import small, sync
from deltasync.patch.attributes import Attributes
from tests.engine.runs import Heard, push
from tests.engine.watching import Watching


class Recorder:
    """Notes syncs and the renames of contents into their places, and lets syncs fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, syncfs: bool = True) -> None:
        self.done: list[str] = []
        self.fails: set[str] = set()
        real_fsync, real_rename, real_syncfs = os.fsync, os.rename, libc.syncfs

        def fsync(fd: int) -> None:
            name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
            self._note(f"fsync {'staged' if name.startswith('.deltasync~') else name}")
            real_fsync(fd)

        def all_of_it(fd: int) -> None:
            self._note("syncfs")
            real_syncfs(fd)

        def rename(old: Any, new: Any, **more: Any) -> None:
            if not os.fsdecode(new).startswith(".deltasync~"):
                self.done.append(f"rename {os.fsdecode(new)}")
            real_rename(old, new, **more)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "rename", rename)
        monkeypatch.setattr(libc, "syncfs", all_of_it)
        for module in ("deltasync.patch.sync", "deltasync.patch.small", "deltasync.engine.durable"):
            monkeypatch.setattr(f"{module}.tells_of_filesystems", lambda: syncfs)

    def _note(self, what: str) -> None:
        self.done.append(what)
        if what in self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A few files, one of them large."""
    made = tmp_path / "source"
    (made / "sub").mkdir(parents=True)
    (made / "large").write_bytes(random.Random(1).randbytes(1 << 20))
    (made / "small").write_bytes(b"s")
    (made / "sub" / "deep").write_bytes(b"d")
    return made


@pytest.mark.parametrize("syncfs", [True, False])
def test_contents_are_durable_before_their_names(source: Path, monkeypatch: pytest.MonkeyPatch, syncfs: bool) -> None:
    """Each content is synced, then renamed; at the end everything else is, once, or the directories that have changed."""
    recorder = Recorder(monkeypatch, syncfs=syncfs)
    assert push(b"%s/" % os.fsencode(source), source.parent / "dest", fsync=True).exit_code == ExitCode.OK
    done = recorder.done
    for name in ("large", "small", "deep"):
        assert done[done.index(f"rename {name}") - 1] == "fsync staged"
    last = max(at for at, what in enumerate(done) if what.startswith("rename"))
    assert done[last + 1 :] == (["syncfs"] if syncfs else ["fsync dest", "fsync sub"])


def test_many_small_files_are_synced_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a batch are written, then synced with one call, then renamed; the price is not one of each."""
    (tmp_path / "source").mkdir()
    for number in range(1000):
        (tmp_path / "source" / f"f{number}").write_bytes(b"%d" % number)
    recorder = Recorder(monkeypatch)
    assert push(b"%s/" % os.fsencode(tmp_path / "source"), tmp_path / "dest", fsync=True).files_sent == 1000
    assert recorder.done.count("syncfs") <= 12
    assert recorder.done.index("syncfs") < min(at for at, what in enumerate(recorder.done) if what.startswith("rename"))
    assert (recorder.done[-1], "fsync staged" in recorder.done) == ("syncfs", False)
    assert {path.name: path.read_bytes() for path in (tmp_path / "dest").iterdir()} == {f"f{at}": b"%d" % at for at in range(1000)}


def test_a_file_that_can_not_be_made_durable_stays_old(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with what to do, and the exit code is that of the disk; it is not tried again."""
    dest = source.parent / "dest"
    push(b"%s/" % os.fsencode(source), dest)
    old = {name: (dest / name).read_bytes() for name in ("large", "small")}
    for name in old:
        (source / name).write_bytes(b"x" * (1 << 20 if name == "large" else 7))
    recorder = Recorder(monkeypatch)
    recorder.fails.add("fsync staged")
    heard = Heard()
    assert push(b"%s/" % os.fsencode(source), dest, fsync=True, heard=heard).exit_code == ExitCode.LOCAL_IO
    assert {problem.path for problem in heard.problems} == {b"large", b"small"}
    assert all("could not store it durably: Input/output error; check the disk" in problem.error for problem in heard.problems)
    assert {name: (dest / name).read_bytes() for name in old} == old
    assert recorder.done.count("fsync staged") == 2
    assert sorted(os.listdir(dest)) == ["large", "small", "sub"]


def test_nothing_is_called_done_where_the_last_sync_fails(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run fails with one line that says so."""
    recorder = Recorder(monkeypatch)
    recorder.fails.add("syncfs")
    with pytest.raises(DeltasyncError, match="nothing of this run is certain to survive a power cut") as failed:
        push(b"%s/" % os.fsencode(source), source.parent / "dest", fsync=True)
    assert failed.value.exit_code == ExitCode.LOCAL_IO


def test_a_batch_that_can_not_be_made_durable_is_not_put_in_place(place_fd: tuple[Path, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is left behind either."""
    place, fd = place_fd
    recorder = Recorder(monkeypatch)
    recorder.fails.add("syncfs")
    files = [small.SmallFile(b"f%d" % at, b"x", Attributes()) for at in range(20)]
    results = small.put_durably(fd, files)
    assert all(isinstance(result, sync.NotDurable) for result in results)
    assert list(place.iterdir()) == []


@pytest.fixture
def place_fd(tmp_path: Path) -> Any:
    """A directory, and a descriptor of it."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield tmp_path, fd
    os.close(fd)


def test_without_it_nothing_is_synced(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability is chosen, since it costs time."""
    recorder = Recorder(monkeypatch)
    push(b"%s/" % os.fsencode(source), source.parent / "dest")
    assert not [what for what in recorder.done if "sync" in what]


def test_copied_backups_are_durable_before_what_they_are_of_is_gone(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy is synced, and its directory, before the file is deleted."""
    dest = source.parent / "dest"
    dest.mkdir()
    (dest / "goes").write_bytes(b"old")
    recorder = Recorder(monkeypatch)
    real_rename, real_unlink = os.rename, os.unlink

    def rename(old: Any, new: Any, **more: Any) -> None:
        if old == b"goes":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real_rename(old, new, **more)

    def unlink(name: Any, **more: Any) -> None:
        recorder.done.append(f"unlink {os.fsdecode(name)}")
        real_unlink(name, **more)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "unlink", unlink)
    options: dict[str, Any] = {"backup": True, "backup_dir": b"../aside", "backup_suffix": b"", "delete": True, "fsync": True}
    assert push(b"%s/" % os.fsencode(source), dest, **options).exit_code == ExitCode.OK
    at = recorder.done.index("unlink goes")
    assert recorder.done[at - 3 : at] == ["fsync staged", "rename goes", "fsync aside"]
    assert (source.parent / "aside" / "goes").read_bytes() == b"old"


@pytest.mark.parametrize("syncfs", [True, False])
def test_each_round_of_a_watch_is_durable_before_it_is_called_done(source: Path, monkeypatch: pytest.MonkeyPatch, syncfs: bool) -> None:
    """What was saved, renamed and deleted is synced before its batch is told, with the directories whose names changed."""
    recorder = Recorder(monkeypatch, syncfs=syncfs)
    dest = source.parent / "dest"
    with Watching(source, dest, fsync=True) as watching:
        del recorder.done[:]
        batches = len(watching.heard.batches)
        (source / "sub" / "deep").rename(source / "renamed")
        (source / "small").unlink()
        watching.until_equal()
        watching.until(lambda: len(watching.heard.batches) > batches)
        wanted = {"syncfs"} if syncfs else {"fsync dest", "fsync sub"}
        assert wanted <= set(recorder.done)
