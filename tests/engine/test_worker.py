"""The process of one session: what it is told, and what it loads before it gives up the way to its own program."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from deltasync.engine.worker import LATER, ROOMS, Task
from deltasync.fs.confinement import Account
from tests.sources import PROJECT, package_modules

TASK = Task(1, 2, 3, read_only=True, send=b"\1" * 32, receive=b"\2" * 32)


@pytest.mark.parametrize("task", [TASK, replace(TASK, account=Account(5, 6, (6, 7)), state="/var/lib/x é"), replace(TASK, read_only=False)])
def test_a_task_survives_its_pipe(task: Task) -> None:
    """And shows no key when it is printed."""
    assert Task.decode(task.encode()) == task
    assert str(task.send) not in repr(task)
    assert task.send.hex() not in repr(task)


def test_nothing_is_left_to_be_loaded() -> None:
    """Each library that a room loads only when it is needed is on the list, for sessions of a user who can't reach it later."""
    engines = {"numpy", "pyrsync2"}
    late = {
        found.name
        for module in package_modules()
        if module.room in ROOMS
        for found in module.imports()
        if not found.at_load and not found.name.startswith("deltasync") and found.name.split(".")[0] not in engines
    }
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys; from deltasync.engine.worker import load_all; load_all(); print(*sys.modules)"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.split()
    missing = {name for name in late if name not in loaded and name.rpartition(".")[0] not in loaded}
    assert missing <= {"compression.zstd", "compression"} - set(LATER)
    for name in ("deltasync.engine.receiver", "deltasync.engine.sender", "deltasync.patch.staging", "deltasync.fs.index", "difflib"):
        assert name in loaded
