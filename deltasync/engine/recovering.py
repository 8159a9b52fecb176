"""Recovery of a whole tree, without a peer: every journal in it is met once."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from deltasync.errors import DestinationError
from deltasync.fs.journals import is_journal
from deltasync.fs.listing import list_names, look
from deltasync.fs.root import Root
from deltasync.patch.recovery import Outcome, recover
from deltasync.tree.names import join, shown

__all__ = ["Met", "recover_tree"]

_SLICE = 4096


class Met(NamedTuple):
    """What was met.

    Attributes:
        path: The file, relative to the tree's root; the journal where its file can't be told; a directory that can't be read.
        outcome: What became of its patch; None if that could not be found out.
        error: Why not.
    """

    path: bytes
    outcome: Outcome | None
    error: OSError | None = None


def recover_tree(top: bytes, check: Callable[[], None]) -> Iterator[Met]:
    """Finish or discard the interrupted patches beneath a directory; symlinks are not followed.

    Args:
        top: The directory.
        check: Called again and again; raises what ends the work.

    Raises:
        DestinationError: The directory can't be opened.
    """
    try:
        root = Root.open(top)
    except OSError as error:
        raise DestinationError(f"{shown(top)}: it can't be opened: {error.strerror}") from error
    try:
        waiting = [b""]
        while waiting:
            yield from _directory(root, waiting.pop(), waiting, check)
    finally:
        root.close()


def _directory(root: Root, path: bytes, waiting: list[bytes], check: Callable[[], None]) -> Iterator[Met]:
    """Recover one directory; its subdirectories are added to those that wait."""
    failures: list[Met] = []
    try:
        with root.dir(path) as lease:
            names, reserved = list_names(lease.fd)
            for name in filter(is_journal, reserved):
                check()
                yield from _journal(lease.fd, path, name)
            for at in range(0, len(names), _SLICE):
                check()
                rows, _ = look(lease.fd, names[at : at + _SLICE], lambda name, error: failures.append(Met(join(path, name), None, error)))
                kinds = zip(rows.name_list(), rows.mode_column(), strict=True)
                waiting += [join(path, name) for name, mode in kinds if stat.S_ISDIR(mode)]
    except OSError as error:
        failures.append(Met(path or b".", None, error))
    yield from failures


def _journal(dir_fd: int, path: bytes, name: bytes) -> Iterator[Met]:
    try:
        met = recover(dir_fd, name)
    except OSError as error:
        yield Met(join(path, name), None, error)
        return
    if met is not None:
        yield Met(join(path, met.name), met.outcome)
