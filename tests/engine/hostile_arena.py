"""Where a hostile peer is let loose: a destination with a secret beside it, both ends of a link, and what must hold afterwards."""

from __future__ import annotations

import gc
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from deltasync.channel.loopback import PlainLink, plain_links
from deltasync.engine.connecting import Connection
from deltasync.engine.job import Direction, Job, Summary
from deltasync.engine.serve import Limits, serve_link
from deltasync.engine.transfer import Transfer
from deltasync.errors import DeltasyncError, ExitCode
from deltasync.fs.root import Root
from deltasync.wire.settings import Settings
from tests.engine import hostile
from tests.engine.hostile import Speaker, Step
from tests.engine.runs import Heard

DEADLINE_S = 15.0
PARTIAL = b".deltasync~p"


class Ended(NamedTuple):
    """How a session ended.

    Attributes:
        code: The exit code of our side.
        error: What a client's run raised, or None.
        peer: The hostile side, with what it heard.
        summary: What a client's run returned, or None.
        heard: What the client's user saw.
    """

    code: int
    error: DeltasyncError | None
    peer: Speaker
    summary: Summary | None = None
    heard: Heard = field(default_factory=Heard)

    @property
    def failure(self) -> tuple[int, str] | None:
        """What the hostile side was told of the end, if anything."""
        said = self.peer.of(hostile.FAILURE)
        return (said[-1].fields[0], said[-1].fields[1]) if said else None


def seen(path: bytes) -> dict[bytes, tuple[object, ...]]:
    """Return all that could change in a tree: inode, mode, owner, times and size of each entry; content and last reading of files."""
    found: dict[bytes, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(path):
        for one in (directory, *(os.path.join(directory, name) for name in (*directories, *files))):
            now = os.lstat(one)
            content = Path(os.fsdecode(one)).read_bytes() if stat.S_ISREG(now.st_mode) else b""
            found[one] = (now.st_ino, now.st_mode, now.st_uid, now.st_gid, now.st_mtime_ns, now.st_ctime_ns, now.st_size, content)
    return found


def leftovers(path: bytes) -> list[bytes]:
    """Return what is staged in a tree and may not stay: everything of ours but partial files of more than 1 MiB."""
    found = []
    for directory, directories, files in os.walk(path):
        for name in (*directories, *files):
            one = os.path.join(directory, name)
            if name.startswith(b".deltasync~") and not (name.startswith(PARTIAL) and os.lstat(one).st_size > 1 << 20):
                found.append(one)
    return found


class _Ready:
    """A connector whose connection is there."""

    def __init__(self, link: PlainLink) -> None:
        self._link = link

    def settled(self, wait_s: float) -> bool:
        return True

    def result(self) -> Connection:
        return Connection(self._link, lambda error: error, deque())


@dataclass
class Arena:
    """The places of a test; `check` is called at its end.

    Attributes:
        root: The only directory that may change: the destination, or what is served.
        source: What a client pushes.
        canary: Must stay as it is, whatever happens.
    """

    base: Path
    root: bytes = b""
    source: bytes = b""
    canary: bytes = b""

    def __post_init__(self) -> None:
        """Make the places."""
        self.root, self.source, self.canary = (os.fsencode(self.base / name) for name in ("root", "source", "canary"))
        for made in (self.root, self.source, self.canary, self.canary + b"/dir"):
            os.mkdir(made)
        for secret in (b"/secret", b"/dir/deep"):
            Path(os.fsdecode(self.canary + secret)).write_text("never read, never changed")
            # A time of reading before that of writing is renewed by the next reading, unless the mount keeps none.
            os.utime(self.canary + secret, ns=(0, 1))
        for name, size in ((b"/a", 10), (b"/b", 300_000), (b"/c", 0)):
            Path(os.fsdecode(self.source + name)).write_bytes(b"x" * size)
        os.mkdir(self.source + b"/d")
        os.symlink(self.canary, self.root + b"/out")
        os.mkdir(self.root + b"/in")
        Path(os.fsdecode(self.root + b"/in/mine")).write_text("mine")
        self._before = seen(self.canary)
        self._threads = set(threading.enumerate())
        gc.collect()
        self._open = len(os.listdir("/proc/self/fd"))

    def check(self) -> None:
        """State that nothing outside the root was touched, nothing staged stays, no thread runs and no descriptor is open."""
        assert seen(self.canary) == self._before
        assert leftovers(self.root) == []
        assert set(threading.enumerate()) <= self._threads
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= self._open

    def serve(self, *steps: Step, limits: Limits | None = None, deaf_after: int | None = None, wait_s: float = 10.0) -> Ended:
        """Let a hostile client loose on a serving side that works beneath the root."""
        near, far = plain_links()
        beneath = Root.open(self.root) if limits is None else None
        codes: list[int] = []
        session = self._started(lambda: codes.append(serve_link(far, limits or Limits(beneath), threading.Event())))
        peer = Speaker(near, wait_s=wait_s, deaf_after=deaf_after)
        self._played(peer, steps, session)
        if beneath is not None:
            beneath.close()
        return Ended(codes[0], None, peer)

    def client(self, direction: Direction, *steps: Step, places: Sequence[bytes] = (), wait_s: float = 10.0, **options: object) -> Ended:
        """Let a hostile server loose on a client; without `places` it pushes the source, or pulls `src/`, to or into the root."""
        near, far = plain_links()
        *sources, dest = places or ((self.source + b"/", b"dest") if direction == "push" else (b"src/", self.root))
        job = Job(direction, tuple(sources), dest, Settings(**options))  # type: ignore[arg-type]
        heard = Heard()
        results: list[Summary | DeltasyncError] = []

        def run() -> None:
            try:
                results.append(Transfer(job, heard, threading.Event(), _Ready(far), time.monotonic()).run())  # type: ignore[arg-type]
            except DeltasyncError as error:
                results.append(error)
            finally:
                # As the connector does when the run is over.
                far.close()

        peer = Speaker(near, wait_s=wait_s)
        self._played(peer, steps, self._started(run))
        (result,) = results
        if isinstance(result, DeltasyncError):
            return Ended(result.exit_code, result, peer, None, heard)
        return Ended(result.exit_code, None, peer, result, heard)

    def _started(self, work: Callable[[], None]) -> tuple[threading.Thread, list[BaseException]]:
        failures: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the test's failure.
                failures.append(error)

        thread = threading.Thread(target=guarded, name="hostile-victim")
        thread.start()
        return thread, failures

    def _played(self, peer: Speaker, steps: Sequence[Step], session: tuple[threading.Thread, list[BaseException]]) -> None:
        thread, failures = session
        try:
            peer.play(steps, DEADLINE_S)
        finally:
            # `play` closes the link, and so even a session that hangs ends here; that it hung shows in the time.
            thread.join(DEADLINE_S)
        if failures:
            raise failures[0]
        assert not thread.is_alive()


def refused(ended: Ended) -> bool:
    """Tell whether a session ended with a protocol error, and the hostile side was told, unless ours had said its last before."""
    last_words = ended.peer.of(hostile.RECEIVER_DONE) or ended.peer.of(hostile.SENDER_DONE)
    told = ended.failure is not None and ended.failure[0] == ExitCode.PROTOCOL
    return ended.code == ExitCode.PROTOCOL and (told or bool(last_words))


def peak_bytes() -> int:
    """Return the most memory that this process has held since `forget_peak`."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


def forget_peak() -> int:
    """Begin to measure anew; return what is held now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_bytes()
