"""What a process gives up before it serves: each in a process of its own."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from tests.fs.confined import run_confined


def test_limits_hold_and_can_not_be_lifted() -> None:
    """No image of the memory, few files, bounded memory; soft and hard alike."""
    code = """
import resource
from deltasync.fs.confinement import DATA_BYTES, OPEN_FILES, limit
limit()
wanted = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_DATA, DATA_BYTES), (resource.RLIMIT_NOFILE, OPEN_FILES)]
print(all(most == hard and most <= limit_ for what, limit_ in wanted for most, hard in [resource.getrlimit(what)]))
try:
    bytearray(DATA_BYTES + 1)
except MemoryError:
    print("bounded")
"""
    assert run_confined(code) == "True\nbounded\n"


@pytest.mark.needs("root")
def test_becoming_a_user_is_for_good() -> None:
    """All three numbers and the groups, and no way back."""
    entry = pwd.getpwnam("nobody")
    code = f"""
import os
from deltasync.fs.confinement import Account, become
become(Account({entry.pw_uid}, {entry.pw_gid}, ({entry.pw_gid},)))
print(os.getresuid() == ({entry.pw_uid},) * 3, os.getresgid() == ({entry.pw_gid},) * 3, os.getgroups() == [{entry.pw_gid}])
for attempt in (lambda: os.setuid(0), lambda: os.setgroups([])):
    try:
        attempt()
    except PermissionError:
        print("refused")
"""
    assert run_confined(code) == "True True True\nrefused\nrefused\n"


def test_it_ends_with_its_parent() -> None:
    """It is told when the parent goes, and does not even begin when it is gone."""
    code = """
import os, signal, sys
from deltasync.fs.confinement import end_with_parent
read, write = os.pipe()
middle = os.fork()
if not middle:
    parent = os.getpid()
    if not os.fork():
        signal.signal(signal.SIGTERM, lambda *_: (os.write(write, b"told"), os._exit(0)))
        end_with_parent(parent)
        os.write(write, b"x")
        while True:
            signal.pause()
    os.read(read, 1)
    os._exit(0)
os.waitpid(middle, 0)
print(os.read(read, 10).decode())
try:
    end_with_parent(middle)
except ProcessLookupError:
    print("gone")
"""
    assert run_confined(code) == "told\ngone\n"


def test_a_confined_process_can_still_work(tmp_path: Path) -> None:
    """It loads modules, looks up names, and writes in its root and in the place for what it remembers; nowhere else."""
    for name in ("root", "state", "other"):
        (tmp_path / name).mkdir()
    code = """
import os, sys
from deltasync.fs.confinement import confine
from deltasync.fs import landlock
root, state, other = sys.argv[1:4]
version = confine(os.open(root, os.O_RDONLY), read_only=False, libraries=[*sys.path, os.getcwd()], state=state)
import pwd, sqlite3, concurrent.futures.thread, deltasync.engine.receiver, deltasync.engine.sender
pwd.getpwuid(os.getuid())
open(root + "/a", "w").close()
open(os.devnull, "w").close()
base = sqlite3.connect(state + "/index")
base.execute("create table a (b)")
base.commit()
try:
    open(other + "/a", "w").close()
    print("written")
except PermissionError:
    print("refused")
print(version == landlock.abi())
"""
    written = run_confined(code, tmp_path / "root", tmp_path / "state", tmp_path / "other").splitlines()
    assert written in (["refused", "True"], ["written", "True"])
    assert (tmp_path / "root" / "a").exists()
    assert (tmp_path / "other" / "a").exists() is (written[0] == "written")
