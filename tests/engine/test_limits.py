"""Where systems and options have their limits: times, permissions, numbers of sources, guards that count, stops that must be quick."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deltasync.channel.address import Remote
from deltasync.channel.loopback import plain_links
from deltasync.channel.stream import Buffer
from deltasync.detect.sources import Sources
from deltasync.engine import run as running
from deltasync.engine.decisions import Decisions
from deltasync.engine.destination import open_destination
from deltasync.engine.job import Job, Progress, Summary
from deltasync.engine.peer import Peer
from deltasync.engine.run import run
from deltasync.engine.transfer import Transfer
from deltasync.errors import (
    ConnectionLost,
    DeltasyncError,
    DestinationError,
    ExitCode,
    Interrupted,
    LocalProtocolError,
    Problem,
    TransportError,
)
from deltasync.fs.root import Root
from deltasync.tree.rows import Section
from deltasync.wire.messages import Tree
from deltasync.wire.session import Speaker
from deltasync.wire.settings import Settings
from tests.engine.runs import Heard, pull, push
from tests.engine.test_moving_sources import PLAIN
from tests.forked import in_child


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with a file and a directory."""
    made = tmp_path / "src"
    (made / "d").mkdir(parents=True)
    (made / "a").write_text("a")
    (made / "d" / "b").write_text("b")
    return made


def contents(path: Path) -> bytes:
    """A source argument that stands for the contents."""
    return os.fsencode(path) + b"/"


# Sources ----------------------------------------------------------------------------------------------------------------------------


def test_any_number_of_sources(tmp_path: Path) -> None:
    """More sources than a byte counts and than descriptors may be open, of one directory, all arrive."""
    source = tmp_path / "src"
    source.mkdir()
    names = [f"f{number}" for number in range(600)]
    for name in names:
        (source / name).write_text(name)

    def act() -> list[str]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        assert push(*(source / name for name in reversed(names)), tmp_path / "dst").exit_code == ExitCode.OK
        return sorted(os.listdir(tmp_path / "dst"))

    assert in_child(act) == sorted(names)
    for number in range(300):
        (tmp_path / "many" / str(number)).mkdir(parents=True)
        (tmp_path / "many" / str(number) / f"g{number}").write_text("g")
    push(*(tmp_path / "many" / str(number) / f"g{number}" for number in range(300)), tmp_path / "dst2")
    assert len(list((tmp_path / "dst2").iterdir())) == 300


def test_a_named_source_needs_no_right_to_list_its_parent(public: Path) -> None:
    """Where others may pass but not look, as in many a /home, what is named is sent."""
    (public / "home" / "mine").mkdir(parents=True)
    (public / "home" / "mine" / "f").write_text("x")
    (public / "home" / "f").write_text("y")
    (public / "home").chmod(0o711)

    def act() -> None:
        assert push(public / "home" / "mine", public / "home" / "f", public / "dst").exit_code == ExitCode.OK
        assert (public / "dst" / "mine" / "f").read_text() == "x"

    if PLAIN is None:
        (public / "home").chmod(0o311)
    in_child(act, uid=PLAIN)


def test_a_reserved_name_is_skipped_even_when_it_is_asked_for(tmp_path: Path, source: Path) -> None:
    """The receiver's own names are never sent, and a note says so."""
    (source / ".deltasync~x").write_text("x")
    heard = Heard()
    assert push(source / ".deltasync~x", source / "a", tmp_path / "dst", heard=heard).exit_code == ExitCode.OK
    assert os.listdir(tmp_path / "dst") == ["a"]
    assert len(heard.notes) == 1


@pytest.mark.parametrize("transfer", [push, pull])
def test_directories_are_passed_over_without_recursion(tmp_path: Path, source: Path, transfer: Callable[..., Summary]) -> None:
    """With --no-r only what is no directory is sent, as rsync does it, and a note names each directory that was asked for."""
    heard = Heard()
    (tmp_path / "dst").mkdir(mode=0o700)
    transfer(contents(source), source / "d", source / "a", tmp_path / "dst", recursive=False, heard=heard)
    assert os.listdir(tmp_path / "dst") == ["a"]
    assert (tmp_path / "dst").stat().st_mode & 0o777 == 0o700
    assert len(heard.notes) == 2
    assert transfer(contents(source), tmp_path / "dst", recursive=False).exit_code == ExitCode.OK


def test_what_could_not_be_read_is_kept_though_errors_are_ignored(public: Path) -> None:
    """--ignore-errors deletes elsewhere: what can't be seen is not taken for gone."""

    def act() -> None:
        source, dest = public / "source", public / "dest"
        for top in (source, dest):
            (top / "closed").mkdir(parents=True)
        (dest / "closed" / "file").touch()
        (dest / "gone").touch()
        (source / "closed").chmod(0o300)
        push(contents(source), dest, delete=True, ignore_errors=True)
        (source / "closed").chmod(0o700)
        (dest / "closed").chmod(0o700)
        assert sorted(os.listdir(dest)) == ["closed"]
        assert os.listdir(dest / "closed") == ["file"]

    in_child(act, uid=PLAIN)


def test_an_unreadable_source_is_no_empty_one(public: Path) -> None:
    """A source directory that can't be read holds deletions back with 23, not with the guard against emptied sources."""
    (public / "src").mkdir()
    (public / "dst" / "src").mkdir(parents=True)
    (public / "dst" / "src" / "f").write_text("x")
    for path in (public / "dst", public / "dst" / "src"):
        path.chmod(0o777)
    (public / "src").chmod(0)

    def act() -> None:
        assert push(public / "src", public / "dst", delete=True).exit_code == ExitCode.PARTIAL

    if PLAIN is not None or os.geteuid() != 0:
        in_child(act, uid=PLAIN)
    for path in (public / "src", public / "dst" / "src"):
        # Where it belongs to who pushes, the destination's directory has become as unreadable as the source, as with rsync.
        path.chmod(0o755)
    assert (public / "dst" / "src" / "f").exists()


def test_a_directory_that_vanishes_before_it_is_listed_deletes_nothing(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be listed is not taken for empty."""
    push(contents(source), tmp_path / "dst")
    real = Root.dir

    def vanishing(self: Root, path: bytes) -> object:
        if path == b"d" and (source / "d").exists():
            shutil.rmtree(source / "d")
        return real(self, path)

    monkeypatch.setattr(Root, "dir", vanishing)
    summary = push(contents(source), tmp_path / "dst", delete=True)
    assert summary.exit_code == ExitCode.VANISHED
    assert (tmp_path / "dst" / "d" / "b").exists()


def test_a_tree_deeper_than_any_path_is_a_problem_and_not_the_end(tmp_path: Path) -> None:
    """Beyond the longest path that is accepted the tree is left out with a problem, and the rest goes on."""
    source = tmp_path / "src"
    source.mkdir()
    (source / "z").write_text("z")
    fd = os.open(source, os.O_RDONLY)
    for _ in range(1030):
        os.mkdir(b"d" * 255, dir_fd=fd)
        deeper = os.open(b"d" * 255, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    try:
        heard = Heard()
        assert push(contents(source), tmp_path / "dst", delete=True, heard=heard).exit_code == ExitCode.PARTIAL
        assert [problem.error for problem in heard.problems] == ["it can't be read: File name too long"]
        assert (tmp_path / "dst" / "z").exists()
    finally:
        subprocess.run(["rm", "-rf", source, tmp_path / "dst"], check=True)


# Times and names --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mtime_ns", [-(10**18) - 1, 10**19, 1 << 64])
@pytest.mark.parametrize("large", [False, True])
def test_times_far_away(tmp_path: Path, mtime_ns: int, large: bool) -> None:
    """Times before 1970 and beyond 2262 cost no file: what does not fit in 64 bits of nanoseconds becomes the nearest that does."""
    source = tmp_path / "src"
    source.mkdir()
    (source / "f").write_bytes(bytes(200_000 if large else 10))
    for path in (source / "f", source):
        os.utime(path, ns=(0, mtime_ns))
    kept = source.stat().st_mtime_ns
    for transfer in (push, pull):
        dest = tmp_path / transfer.__name__
        assert transfer(contents(source), dest).exit_code == ExitCode.OK
        for path in (dest / "f", dest):
            assert path.stat().st_mtime_ns in (min(kept, (1 << 63) - 1), min(kept, ((1 << 63) - 1) // 10**9 * 10**9))
        again = Heard()
        transfer(contents(source), dest, heard=again)
        assert again.items == []


def test_a_rule_is_about_the_name_at_the_source(tmp_path: Path, source: Path) -> None:
    """A file that takes a new name may take one that a rule excludes."""
    assert pull(source / "a", tmp_path / "new", rules=(b"- new",)).exit_code == ExitCode.OK
    assert (tmp_path / "new").read_text() == "a"


# Destinations that don't do what they should ----------------------------------------------------------------------------------------


@pytest.mark.needs("root")
def test_a_directory_whose_attributes_can_not_be_kept_is_a_problem(public: Path) -> None:
    """A directory of somebody else's, which only root can make, whose mode differs is told as a file would be."""
    (public / "src" / "d").mkdir(parents=True)
    (public / "dst" / "d").mkdir(parents=True)
    (public / "src" / "d").chmod(0o755)
    (public / "src").chmod(0o755)
    os.utime(public / "src" / "d", ns=(5, 5))
    (public / "dst" / "d").chmod(0o777)

    def act() -> None:
        heard = Heard()
        assert push(public / "src" / "d", public / "dst", heard=heard).exit_code == ExitCode.PARTIAL
        assert [problem.path for problem in heard.problems] == [b"d"]

    in_child(act, uid=PLAIN)


def test_a_destination_directory_that_goes_away_is_a_problem(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone removes a directory at the destination between its entry and its own turn: that is said, once, and not passed over."""
    (source / "d" / "e").mkdir()
    (source / "d" / "e" / "f").write_text("f")
    push(contents(source), tmp_path / "dst")
    (source / "d" / "b").write_text("changed")
    real = Decisions.section

    def section(self: Decisions, section: Section, first_id: int) -> object:
        if section.path == b"d":
            shutil.rmtree(tmp_path / "dst" / "d")
        return real(self, section, first_id)

    monkeypatch.setattr(Decisions, "section", section)
    heard = Heard()
    assert push(contents(source), tmp_path / "dst", heard=heard).exit_code == ExitCode.PARTIAL
    assert [problem.path for problem in heard.problems] == [b"d"]


def test_what_options_skip_is_no_problem_and_a_dry_run_agrees(tmp_path: Path, source: Path) -> None:
    """A directory that --existing or --ignore-existing leaves out takes what is in it along, in a dry run too."""
    dest = tmp_path / "dst"
    dest.mkdir()
    assert push(contents(source), dest, existing=True).exit_code == ExitCode.OK
    (dest / "d").write_text("a file")
    for dry_run in (True, False):
        heard = Heard()
        assert push(contents(source), dest, ignore_existing=True, dry_run=dry_run, heard=heard).exit_code == ExitCode.OK
        assert {path for _, path, _ in heard.items} <= {b"a", b"."}
        (dest / "a").unlink(missing_ok=True)


def test_a_dry_run_meets_a_directory_that_it_may_not_look_into(public: Path) -> None:
    """A directory that forbids to be read stands in the place of a file: a problem, not the end of the run."""

    def act() -> None:
        (public / "src").mkdir()
        (public / "src" / "x").write_text("x")
        (public / "src" / "y").write_text("y")
        (public / "dst" / "x").mkdir(parents=True)
        (public / "dst" / "x").chmod(0)
        heard = Heard()
        assert push(contents(public / "src"), public / "dst", dry_run=True, heard=heard).exit_code == ExitCode.PARTIAL
        assert [problem.path for problem in heard.problems] == [b"x"]
        assert heard.codes[b"y"] == ">f+++++++++"

    in_child(act, uid=PLAIN)


def test_what_is_replaced_does_not_count_against_max_delete(tmp_path: Path) -> None:
    """Of a directory that a file replaces only what is in it counts; beyond the limit it stays, and the exit is 25."""
    source = tmp_path / "src"
    source.mkdir()
    (source / "x").write_text("file")
    for limit, code in ((1, ExitCode.DELETION_GUARD), (2, ExitCode.OK)):
        dest = tmp_path / f"dst{limit}"
        (dest / "x").mkdir(parents=True)
        (dest / "x" / "1").write_text("1")
        (dest / "x" / "2").write_text("2")
        for dry_run in (True, False):
            summary = push(contents(source), dest, delete=True, max_delete=limit, dry_run=dry_run)
            assert summary.exit_code == code
            assert summary.files_deleted == limit
        assert (dest / "x").is_dir() is (limit == 1)


def test_places_that_can_not_be_beneath_a_root(tmp_path: Path, source: Path) -> None:
    """With serve --root, a place that leads out of it or is no legal path is refused in one line."""
    root = Root.open(os.fsencode(tmp_path))
    for place in (b"../x", b"src/../../x", b"n" * 300 + b"/x"):
        sources = Sources([place], beneath=root)
        assert not sources.roots
        assert [path for path, _ in sources.missing] == [place]
    tree = Tree(whole=True, tops=(b"",), lone=False)
    with pytest.raises(DestinationError, match="can't be opened"):
        open_destination(b"n" * 300, tree, Settings(), beneath=root)
    root.close()


@pytest.mark.parametrize("lone", [False, True])
def test_a_dry_run_beneath_a_root_looks_at_the_parent(tmp_path: Path, lone: bool) -> None:
    """With serve --root too a missing parent is an error, and with --mkpath none; nothing is made by a dry run."""
    root = Root.open(os.fsencode(tmp_path))
    tree = Tree(whole=not lone, tops=(b"f",) if lone else (b"",), lone=lone)
    with pytest.raises(DestinationError, match="--mkpath"):
        open_destination(b"x/y", tree, Settings(dry_run=True), beneath=root)
    made = open_destination(b"x/y", tree, Settings(dry_run=True, mkpath=True), beneath=root)
    assert (made.root, made.name) == (None, b"y" if lone else None)
    assert os.listdir(tmp_path) == []
    root.close()


# Counts -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_push_and_a_pull_count_alike(tmp_path: Path, source: Path, dry_run: bool) -> None:
    """The figures of a run don't depend on who began it; a dry run patches nothing in any way."""
    found = []
    for transfer in (push, pull):
        made = transfer(contents(source), tmp_path / transfer.__name__, dry_run=dry_run)
        found.append((made.files_total, made.files_sent, made.entries_changed, made.bytes_total, made.literal_bytes, made.update_modes))
    assert found[0] == found[1]
    assert found[0] == (4, 2, 4, 2, 0 if dry_run else 2, {"clone": 0, "stage": 0 if dry_run else 2, "inplace": 0})


class Growing(Heard):
    """Keeps the last progress, and checks that it only grows."""

    def progress(self, progress: Progress) -> None:
        """Compare with the last."""
        for name in ("files_total", "bytes_total", "files_done", "bytes_done", "bytes_sent"):
            assert getattr(progress, name) >= getattr(self.last, name), name
        assert progress.bytes_done <= progress.bytes_total
        self.last = progress


@pytest.mark.parametrize("transfer", [push, pull])
def test_progress_only_grows_and_arrives(
    tmp_path: Path, source: Path, transfer: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is unchanged, what changes while it is read and what can't be read count as done in the end, each for what was listed."""
    monkeypatch.setattr("deltasync.engine.receiver.TELL_EVERY_S", 0.0)
    monkeypatch.setattr("deltasync.engine.sender.TELL_EVERY_S", 0.0)
    (source / "same").write_bytes(bytes(300_000))
    transfer(contents(source), tmp_path / "dst")
    (source / "grows").write_bytes(os.urandom(1_500_000))
    (source / "gone").write_bytes(bytes(1000))
    real_open = os.open

    def opening(path: object, *arguments: object, **named: object) -> int:
        if path == b"gone":
            raise FileNotFoundError(2, "gone")
        return real_open(path, *arguments, **named)  # type: ignore[arg-type]

    grown = threading.Event()
    real_preadv = os.preadv

    def reading(fd: int, buffers: list[memoryview], offset: int) -> int:
        if offset > 1_000_000 and not grown.is_set():
            grown.set()
            with (source / "grows").open("ab") as file:
                file.write(bytes(100_000))
        return real_preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "preadv", reading)
    heard = Growing()
    assert transfer(contents(source), tmp_path / "dst", heard=heard).exit_code == ExitCode.VANISHED
    assert grown.is_set()
    assert heard.last.files_done == heard.last.files_total == 5
    assert heard.last.bytes_done == heard.last.bytes_total == 1_801_002


# Stops and connections --------------------------------------------------------------------------------------------------------------


def stopped_after(action: Callable[[threading.Event], object], begun: threading.Event) -> float:
    """Run the action in a thread, stop it once it has begun; return how long it took then."""
    stop = threading.Event()
    ended: list[BaseException] = []

    def act() -> None:
        try:
            action(stop)
        except BaseException as error:  # noqa: BLE001 - looked at below.
            ended.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    assert begun.wait(10)
    stop.set()
    asked_at = time.monotonic()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(ended[0], Interrupted), ended
    return time.monotonic() - asked_at


def test_a_slow_sender_is_stopped_at_once(tmp_path: Path) -> None:
    """A far end that paces itself for minutes ends when the near one does."""
    (tmp_path / "f").write_bytes(os.urandom(400_000))
    begun = threading.Event()

    class Begun(Heard):
        def progress(self, progress: Progress) -> None:
            begun.set()

    job = Job("pull", (os.fsencode(tmp_path / "f"),), os.fsencode(tmp_path / "g"), Settings(bwlimit_bytes_s=1000))
    assert stopped_after(lambda stop: run(job, Begun(), stop), begun) < 2.0


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_reading_for_digests_is_stopped_at_once(tmp_path: Path, direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With -c, the reading of a large file on either side does not outlast a stop."""
    for name in ("src", "dst"):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "f").open("wb") as file:
            file.truncate(1 << 40)
    begun = threading.Event()
    real = os.lseek

    def seeking(fd: int, at: int, how: int) -> int:
        begun.set()
        return real(fd, at, how)

    monkeypatch.setattr(os, "lseek", seeking)
    job = Job(direction, (contents(tmp_path / "src"),), os.fsencode(tmp_path / "dst"), Settings(checksum=True))  # type: ignore[arg-type]
    assert stopped_after(lambda stop: run(job, Heard(), stop), begun) < 2.0


def test_a_connection_that_comes_after_the_stop_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What connects while the run is being stopped does not hold it up, nor stay open."""
    begun, may_return, closed = threading.Event(), threading.Event(), threading.Event()

    class Silent:
        """A stream that never says anything."""

        timeout_s: float | None = None

        def send(self, data: Buffer) -> None:
            """Take anything."""

        def recv_into(self, buffer: memoryview) -> int:
            closed.wait()
            raise ConnectionLost("closed")

        def close_send(self) -> None:
            """Nothing is to be ended."""

        def close(self) -> None:
            closed.set()
            may_return.set()

        def explain(self, error: DeltasyncError) -> DeltasyncError:
            return error

    def connect(_: object) -> Silent:
        begun.set()
        may_return.wait(0.5)
        return Silent()

    monkeypatch.setattr("deltasync.channel.ssh.connect", connect)
    (tmp_path / "f").write_text("x")
    remote = Remote("host")
    job = Job("push", (os.fsencode(tmp_path / "f"),), b"g", Settings(), remote=remote)
    assert stopped_after(lambda stop: run(job, Heard(), stop), begun) < 2.0
    assert closed.is_set()


def test_a_defect_of_the_link_is_no_hang() -> None:
    """Whatever reading raises reaches who waits."""
    near, far = plain_links()

    def broken(room: memoryview | None = None) -> memoryview | None:
        raise RuntimeError("bug")

    near.recv = broken  # type: ignore[method-assign]
    peer = Peer(near, Speaker.INITIATOR, threading.Event())
    with pytest.raises(LocalProtocolError, match="bug"):
        peer.receive()
    peer.close()
    far.close()


def test_a_host_that_is_away_for_a_while_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a connection has stood, a failure to make it again counts as one of the retries and not as the end."""
    errors = [ConnectionLost("cut"), TransportError("no route"), TransportError("no route")]
    real = Transfer.run

    def attempt(self: Transfer) -> Summary:
        if errors:
            raise errors.pop(0)
        return real(self)

    monkeypatch.setattr(Transfer, "run", attempt)
    monkeypatch.setattr(running, "BACKOFF_S", (0.0,))
    (tmp_path / "f").write_text("x")
    job = Job("push", (os.fsencode(tmp_path / "f"),), os.fsencode(tmp_path / "g"), Settings())
    assert run(job, Heard(), threading.Event()).exit_code == ExitCode.OK
    assert not errors


def test_what_was_told_is_not_told_again_by_a_retry(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same problem and note of a second attempt are told once, bytes are those of all attempts, problems those of the last."""
    (source / ".deltasync~x").write_text("x")
    real = Transfer.run
    attempts: list[Summary] = []

    def attempt(self: Transfer) -> Summary:
        attempts.append(real(self))
        if len(attempts) == 1:
            raise ConnectionLost("cut")
        return attempts[-1]

    monkeypatch.setattr(Transfer, "run", attempt)
    monkeypatch.setattr(running, "BACKOFF_S", (0.0,))
    heard = Heard()
    missing = os.fsencode(tmp_path / "nowhere")
    job = Job("push", (contents(source), missing), os.fsencode(tmp_path / "g"), Settings())
    summary = run(job, heard, threading.Event())
    problem = Problem(missing, "this source can't be sent: No such file or directory")
    assert heard.problems == [problem]
    assert summary.problems == (problem,)
    assert sum(".deltasync~x" in note for note in heard.notes) == 1
    assert summary.bytes_sent > attempts[0].bytes_sent
