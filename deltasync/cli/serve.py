"""`deltasync serve --stdio`: the far end of a push or pull over SSH. Its options are few, so that it starts without click."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from deltasync.cli.signals import StopEvent, caught
from deltasync.cli.streams import print_text
from deltasync.errors import UsageError
from deltasync.tree.names import shown

__all__ = ["ServeOptions", "parse_serve", "serve"]

HELP = """\
Usage: deltasync serve --stdio [--root DIR] [--read-only]

The far end of a push or pull over SSH, on standard input and output; push and pull start it by themselves.

  --stdio       serve one session on standard input and output
  --root DIR    take every path beneath DIR, absolute or not
  --read-only   only send, never write
  --help        this text

As a command= in authorized_keys, a key that may fetch beneath one directory and nothing else:

  restrict,command="deltasync serve --stdio --root /srv/data --read-only" ssh-ed25519 AAAA...
"""


class ServeOptions(NamedTuple):
    """What the serving side was started with; see `engine.serve.serve_stdio`."""

    root: bytes | None = None
    read_only: bool = False


def parse_serve(words: list[str]) -> ServeOptions:
    """Return the options of `serve`; the last `--root` counts.

    Raises:
        UsageError: A word is not one of them, or `--stdio` is missing.
    """
    root: bytes | None = None
    stdio = read_only = False
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if name == "--root":
            value = value if equals else next(left, "")
            if not value:
                raise UsageError("serve: --root needs a directory")
            root = os.fsencode(value)
        elif word == "--stdio":
            stdio = True
        elif word == "--read-only":
            read_only = True
        else:
            raise UsageError(
                f"serve: no such {'option' if word.startswith('-') else 'argument'}: {shown(word)}; see deltasync serve --help"
            )
    if not stdio:
        raise UsageError("serve needs --stdio; see deltasync serve --help")
    return ServeOptions(root, read_only)


def serve(words: list[str]) -> int:
    """Serve one session; return the exit code.

    Raises:
        DeltasyncError: Wrong usage, or no session could be begun.
    """
    if "--help" in words:
        print_text(HELP)
        return 0
    options = parse_serve(words)
    stop = StopEvent()
    with caught(stop):
        if sys.stdin is None or sys.stdout is None:
            raise UsageError("serve --stdio needs standard input and output, and one of them is closed")
        from deltasync.engine.serve import serve_stdio

        return serve_stdio(options.root, options.read_only, stop)
