"""`deltasync status`: the running watches of this user."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from deltasync.cli.failures import LocalFileError
from deltasync.cli.jsonout import event
from deltasync.cli.live_line import standing_text
from deltasync.cli.streams import print_text
from deltasync.engine.live import Standing
from deltasync.errors import UsageError
from deltasync.fs.standing_file import standings
from deltasync.tree.names import shown

__all__ = ["status"]

HELP = """\
Usage: deltasync status [--json]

List the running watches of this user, one a line: process, source,
destination, and how it stands. With --json each is an object.
"""
_FIELDS = frozenset(field.name for field in dataclasses.fields(Standing))


def status(words: list[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        UsageError: There is an argument that it does not know.
        LocalFileError: What is known of the watches can't be read.
    """
    if words == ["--help"]:
        print_text(HELP)
        return 0
    if words not in ([], ["--json"]):
        raise UsageError(f"status: no such argument: {words[0]}; see deltasync status --help")
    try:
        found = list(standings())
    except OSError as error:
        raise LocalFileError(f"the running watches can't be listed: {error.strerror or error}") from error
    for said in found:
        print_text((event("watch", **said) if words else _line(said)) + "\n")
    return 0


def _line(said: dict[str, Any]) -> str:
    standing = Standing(**{name: value for name, value in said.items() if name in _FIELDS})
    sources = " ".join(shown(source) for source in said["sources"])
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(said["since"]))
    return f"{said['pid']}  {sources} -> {shown(said['dest'])}  since {since} · {standing_text(standing)}"
