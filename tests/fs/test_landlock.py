"""Landlock: what is not named is gone, for every later thread and child too."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from deltasync.fs import landlock
from tests.fs.confined import run_confined

pytestmark = pytest.mark.skipif(not landlock.abi(), reason="needs landlock")

TRY = """
import os, sys, socket, threading, signal
from deltasync.fs import landlock
inside, outside, access, server = sys.argv[1:5]
fd = os.open(inside, os.O_RDONLY)
version = landlock.restrict([landlock.Rule(fd, {"ro": landlock.READ, "rw": landlock.READ | landlock.WRITE}[access])])
assert version == landlock.abi()

def attempt(name, function):
    try:
        function()
    except OSError as error:
        print(name, error.errno)
    else:
        print(name, "done")

def everything():
    attempt("read inside", lambda: open(inside + "/file").close())
    attempt("read beneath", lambda: os.listdir(fd))
    attempt("write inside", lambda: open(inside + "/new", "w").close())
    attempt("truncate inside", lambda: os.truncate(inside + "/file", 0))
    attempt("move inside", lambda: os.rename(inside + "/file", inside + "/sub/file"))
    attempt("read outside", lambda: open(outside + "/file").close())
    attempt("list outside", lambda: os.listdir(outside))
    attempt("write outside", lambda: open(outside + "/new", "w").close())
    attempt("read by ..", lambda: os.close(os.open("../outside/file", os.O_RDONLY, dir_fd=fd)))
    attempt("connect", lambda: socket.create_connection(("127.0.0.1", int(server))).close())
    attempt("signal", lambda: os.kill(os.getppid(), 0))

thread = threading.Thread(target=everything)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("access", ["ro", "rw"])
def test_only_what_is_named_is_left(tmp_path: Path, access: str) -> None:
    """Reading, writing, or both within; nothing outside, by no way; no connection to anywhere and no signal to others."""
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "inside" / "sub").mkdir()
    told = dict(line.rsplit(" ", 1) for line in run_confined(TRY, tmp_path / "inside", tmp_path / "outside", access, "9").splitlines())
    writes = {"write inside", "truncate inside", "move inside"}
    newer = {"truncate inside": 3, "connect": 4, "signal": 6}
    for name, result in told.items():
        allowed = "inside" in name or name == "read beneath"
        if name in writes:
            allowed = access == "rw"
        if landlock.abi() >= newer.get(name, 1):
            assert (result == "done") is allowed, (name, result)
    assert len(told) == 11
    assert (tmp_path / "outside" / "file").read_text() == "x"


def test_a_kernel_without_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to give up with."""

    class Without:
        """A C library on a kernel that does not know the calls."""

        def syscall(self, *_words: object) -> int:
            """Refuse."""
            ctypes.set_errno(38)
            return -1

    monkeypatch.setattr(landlock, "_libc", Without())
    assert landlock.abi() == landlock.restrict([]) == 0
    monkeypatch.setattr(landlock, "_libc", None)
    assert landlock.abi() == landlock.restrict([]) == 0
