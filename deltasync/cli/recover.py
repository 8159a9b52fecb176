"""`deltasync recover DIR`: interrupted patches in place are finished or discarded, without a peer."""

from __future__ import annotations

import os
from collections.abc import Callable

from deltasync.cli.failures import problem_line
from deltasync.cli.signals import StopEvent, caught
from deltasync.cli.streams import STDERR, LineWriter, print_text
from deltasync.errors import ExitCode, Interrupted, UsageError
from deltasync.tree.names import shown

__all__ = ["recover"]

HELP = """\
Usage: deltasync recover DIR

Finish or discard the interrupted patches beneath DIR; no peer and no network is needed. A push or pull into a directory does so by itself.

Prints a line for each file:

  replayed PATH      it was being changed, and is now what it was to become
  discarded PATH     nothing of it had been changed: it is what it was
  quarantined PATH   somebody else changed it meanwhile: it is left as it is, and the journal beside it set aside
  busy PATH          a live process is at it

Exit code 23 if anything was quarantined, is busy or could not be read; 0 otherwise.
"""


def recover(words: list[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        DeltasyncError: Wrong usage, no such directory, or a signal.
    """
    if "--help" in words:
        print_text(HELP)
        return ExitCode.OK
    places = [word for word in words if word != "--"]
    if len(places) != 1 or (words[0] != "--" and words[0].startswith("-")):
        raise UsageError("recover needs one directory; see deltasync recover --help")
    stop = StopEvent()

    def check() -> None:
        if stop.is_set():
            raise Interrupted("interrupted")

    with caught(stop):
        return _recover(os.fsencode(places[0]), check)


def _recover(top: bytes, check: Callable[[], None]) -> int:
    from deltasync.engine.recovering import recover_tree
    from deltasync.patch.recovery import Outcome

    code = ExitCode.OK
    errors = LineWriter(STDERR)
    for path, outcome, error in recover_tree(top, check):
        if outcome is None or outcome in (Outcome.QUARANTINED, Outcome.BUSY):
            code = ExitCode.PARTIAL
        if outcome is None:
            reason = error.strerror if error is not None and error.strerror else "it can't be recovered"
            errors.line(problem_line(path, f"{reason}; mend that and run `deltasync recover` again"))
        else:
            print_text(f"{outcome} {shown(path)}\n")
    return code
