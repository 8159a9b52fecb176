"""`python -m tests.engine.killing PLACE MODE EVERY SEED`: pushes and recoveries killed at their system calls; a process that only forks.

A layer over the calls counts them, and kills the process at one of them, before it is made or, where it writes, in the middle of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deltasync.engine.recovering import recover_tree
from deltasync.errors import DeltasyncError
from deltasync.fs import libc
from tests.engine.runs import push

__all__ = ["CALLS", "main"]

CALLS = (
    (os, ("open", "close", "dup", "pwrite", "write", "pread", "preadv", "readv", "rename", "unlink", "ftruncate", "fsync", "fchmod")),
    (os, ("fchown", "utime", "link", "lseek", "fstat", "stat", "copy_file_range", "posix_fadvise")),
    (libc, ("openat2", "fallocate", "exchange", "rename_new", "syncfs")),
    (fcntl, ("ioctl", "flock", "fcntl")),
)
"""What is counted."""
SIZE = 400_000
PIECE = 30_000
DEEP = 3
NAME = "file"


class Layer:
    """Counts the calls of this process, and kills it at one of them.

    Args:
        kill_at: Its number, counted from 1; 0 for never.
    """

    def __init__(self, kill_at: int) -> None:
        self.count = 0
        self._kill_at = kill_at
        for module, names in CALLS:
            for name in names:
                if hasattr(module, name):
                    setattr(module, name, self._counted(name, getattr(module, name)))

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            self.count += 1
            if self.count == self._kill_at:
                if name == "pwrite" and len(arguments[1]) > 1:
                    real(arguments[0], memoryview(arguments[1])[: len(arguments[1]) // 2], *arguments[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)

        return call


def calls_of(work: Callable[[], object], kill_at: int = 0) -> int | None:
    """Do some work in a process of its own; return how many calls it made, or None if it was killed."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        write = os.write
        layer = Layer(kill_at)
        # What fails is told by the files.
        with contextlib.suppress(DeltasyncError, OSError):
            work()
        write(write_fd, b"%d" % layer.count)
        os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as report:
        said = report.read()
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
        return None
    return int(said)


class Scene:
    """A file at both ends; in the new one pieces are written anew, exchanged and cleared.

    Unless it is to be a clone, it has more in front, so that all has moved.
    """

    def __init__(self, place: Path, mode: str, rng: random.Random) -> None:
        self.source, self.dest, self.mode = place / "source", place / "dest", mode
        old = bytearray(rng.randbytes(SIZE))
        new = bytearray(old)
        new[PIECE : 2 * PIECE], new[4 * PIECE : 5 * PIECE] = old[4 * PIECE : 5 * PIECE], old[PIECE : 2 * PIECE]
        new[6 * PIECE : 6 * PIECE + 5000] = rng.randbytes(5000)
        new[8 * PIECE : 9 * PIECE] = bytes(PIECE)
        if mode != "clone":
            new[0:0] = rng.randbytes(3000)
        self.old, self.new = bytes(old), bytes(new)
        self.source.mkdir()
        (self.source / NAME).write_bytes(self.new)

    def set(self) -> None:
        """Have the old file, and nothing else."""
        self.dest.mkdir(exist_ok=True)
        for path in self.dest.iterdir():
            path.unlink()
        (self.dest / NAME).write_bytes(self.old)

    def push(self) -> None:
        """Make it new."""
        push(b"%s/" % os.fsencode(self.source), self.dest, update_mode=self.mode, block_bytes=1024)

    def recover(self) -> None:
        """Finish what was interrupted."""
        for _ in recover_tree(os.fsencode(self.dest), lambda: None):
            pass

    def look(self) -> str:
        """Tell whether the file is old or new.

        Raises:
            AssertionError: It is neither.
        """
        content = (self.dest / NAME).read_bytes()
        assert content in (self.old, self.new), "the file is neither old nor new"
        return "new" if content == self.new else "old"


def killed(scene: Scene, number: int, rng: random.Random) -> Iterator[str]:
    """Kill a push at a call, and its recovery three times; yield what was seen."""
    scene.set()
    if calls_of(scene.push, number) is not None:
        yield "missed"
        return
    yield "killed"
    for _ in range(DEEP):
        if calls_of(scene.recover, rng.randrange(1, 60)) is not None:
            break
        yield "killed again"
    scene.recover()
    yield scene.look()
    scene.push()
    assert scene.look() == "new"
    assert os.listdir(scene.dest) == [NAME], "something is left after a run that was completed"


def main(words: Sequence[str]) -> None:
    """Kill a push at each of its calls, or at every so many; print what was seen, as JSON."""
    place, mode, every, seed = Path(words[0]), words[1], int(words[2]), words[3]
    rng = random.Random(f"{seed} {mode}")
    scene = Scene(place, mode, rng)
    scene.set()
    total = calls_of(scene.push)
    assert total is not None
    assert scene.look() == "new", f"the push itself failed: {os.listdir(scene.dest)}"
    counts: Counter[str] = Counter({"calls": total})
    for number in range(1 + rng.randrange(every), total + 1, every):
        try:
            counts.update(killed(scene, number, rng))
        except AssertionError as error:
            raise AssertionError(f"{mode}, killed at call {number} of {total}, seed {seed}: {error}") from error
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1:])
