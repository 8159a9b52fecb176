"""Patches in place that an earlier run could not finish: finished, or discarded, where this run meets their journals."""

from __future__ import annotations

from deltasync.engine.ground import Ground
from deltasync.fs.journals import file_of, is_journal
from deltasync.tree.names import join, shown

__all__ = ["finish"]


def finish(ground: Ground, path: bytes, dir_fd: int, reserved: list[bytes]) -> None:
    """Finish what can be finished in a directory, and say so; a dry run only says so.

    Args:
        ground: Where the receiver works.
        path: The directory.
        dir_fd: Its descriptor.
        reserved: The names of ours that are in it.
    """
    journals = [name for name in reserved if is_journal(name)]
    if not journals:
        return
    from deltasync.patch.recovery import Outcome, recover

    for name in journals:
        if ground.settings.dry_run:
            file = file_of(dir_fd, name) or name
            ground.reporter.note(f"{shown(join(path, file))}: an interrupted patch stands here, which a real run finishes first")
            continue
        try:
            met = recover(dir_fd, name)
        except OSError as error:
            ground.failed(path, name, error, "the interrupted patch that it belongs to can't be finished")
            continue
        if met is None or met.outcome is Outcome.BUSY:
            continue
        where = shown(join(path, met.name))
        if met.outcome is Outcome.REPLAYED:
            ground.reporter.note(f"{where}: an interrupted patch was finished first")
        elif met.outcome is Outcome.QUARANTINED:
            ground.reporter.note(f"{where}: somebody changed it while a patch of it was interrupted; the journal was set aside")
