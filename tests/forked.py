"""Running a piece of a test in a forked child: as another user, or killed just before its Nth system call."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any, Final, TypeVar

__all__ = ["NOBODY", "in_child", "killed_before"]

NOBODY: Final = 65534
_KILLED: Final = 77
_CALLS: Final = (
    "open", "write", "pwrite", "fchown", "chown", "fchmod", "chmod", "utime", "close", "rename", "unlink", "mkdir", "rmdir", "symlink",
    "link", "mknod", "ftruncate", "dup", "stat", "fstat",
)  # fmt: skip

T = TypeVar("T")


def in_child(action: Callable[[], T], *, uid: int | None = None) -> T:
    """Run the action in a child, with all rights of root given up if `uid` is set; its result or exception becomes ours."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            if uid is not None:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            answer: tuple[bool, object] = (True, action())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent raises it.
            answer = (False, error)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        good, value = pickle.load(pipe)  # noqa: S301 - our own child wrote it.
    os.waitpid(child, 0)
    if not good:
        raise value
    result: T = value
    return result


def killed_before(number: int, action: Callable[[], object]) -> bool:
    """Run the action in a child that ends, without a chance to clean up, just before its Nth call into the system, from 0.

    False when it made fewer calls and came to its end.
    """
    child = os.fork()
    if not child:
        left = [number]

        def failing(call: Callable[..., Any]) -> Callable[..., Any]:
            def replacement(*arguments: Any, **named: Any) -> Any:
                if not left[0]:
                    os._exit(_KILLED)
                left[0] -= 1
                return call(*arguments, **named)

            return replacement

        try:
            for name in _CALLS:
                setattr(os, name, failing(getattr(os, name)))
            action()
        except BaseException:  # noqa: BLE001 - seen by the parent as a status of its own.
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, _KILLED):
        raise AssertionError(f"the child failed by itself before call {number}")
    return status == _KILLED
