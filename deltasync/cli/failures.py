"""How a failure is told: one line on stderr, and the exit code that belongs to it."""

from __future__ import annotations

import os

from deltasync.cli.streams import STDERR, LineWriter
from deltasync.errors import DeltasyncError, ExitCode
from deltasync.tree.names import shown

__all__ = ["LocalFileError", "failure_line", "problem_line", "told"]


class LocalFileError(DeltasyncError):
    """A file that an option names, or standard output, can't be read or written."""

    exit_code = ExitCode.LOCAL_IO


def problem_line(path: bytes, error: str) -> str:
    """Return the line for a path that failed."""
    return f"deltasync: {shown(path)}: {shown(error)}" if path else f"deltasync: {shown(error)}"


def failure_line(error: Exception) -> tuple[str, ExitCode]:
    """Return the line and the exit code of what ended a run; what is not ours is a defect, and is told as one."""
    if isinstance(error, DeltasyncError):
        return f"deltasync: {shown(str(error))}", error.exit_code
    return f"deltasync: internal error: {shown(f'{type(error).__name__}: {error}')}; please report it", ExitCode.PROTOCOL


def told(error: Exception) -> ExitCode:
    """Tell on stderr what ended the command, with a traceback if `DELTASYNC_DEBUG` is set; return the exit code."""
    line, code = failure_line(error)
    stderr = LineWriter(STDERR)
    if os.environ.get("DELTASYNC_DEBUG"):
        import traceback

        stderr.write("".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace"))
    stderr.line(line)
    return code
