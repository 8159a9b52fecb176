"""Where the command begins: it picks the subcommand, and loads nothing that the others need.

Every error ends here as one line and an exit code; a traceback is for those who set `DELTASYNC_DEBUG`.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

__all__ = ["entry", "main"]

HELP = """\
Usage: deltasync COMMAND ...

Mirror files and trees, locally or over SSH; the options are those of rsync.

  deltasync push  [OPTIONS] SRC... DEST    send to DEST, here or at another host
  deltasync pull  [OPTIONS] SRC... DEST    fetch: the same, the roles exchanged
  deltasync recover DIR                    finish interrupted patches in place
  deltasync explain PATH [OPTIONS]         which filter rule decides about PATH
  deltasync status [--json]                the running watches
  deltasync doctor [PLACE...]              what this machine and far ends can do
  deltasync serve --stdio [--root DIR] [--read-only]
                                           the far end of both over SSH
  deltasync listen --root NAME=PATH[:ro]   the far end of both over TCP
  deltasync key, trust, known, pair        who is who over TCP

A place is PATH, [USER@]HOST:PATH, ssh://[USER@]HOST[:PORT]/PATH or
tcp://HOST[:PORT]/NAME[/PATH].
A trailing slash on SRC means its contents.

  deltasync COMMAND --help                 the options of a command
  deltasync --version                      version, engine, protocol and Python
"""

GC_ALLOCATIONS = 50_000
"""After how many more objects made than dropped cycles are looked for; Python's own number is 700."""


def entry() -> NoReturn:
    """Run the command and end the process with its exit code.

    It ends without taking the interpreter apart: nothing is left to be done, and whoever waits for the end waits 20 ms less. Cycles are
    looked for seldom: hardly any are made, and looking among all that is loaded takes a tenth of the start.
    """
    gc.set_threshold(GC_ALLOCATIONS)
    code = main()
    for stream in (sys.stdout, sys.stderr):
        # Nobody reads any more, or the stream is closed: that was dealt with where something was written.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code, one of `errors.ExitCode`.

    Args:
        arguments: What follows the program's name; None for this process's own.
    """
    _fill_standard_descriptors()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except KeyboardInterrupt:
        # Before the command has its own handlers there is nothing to clean up.
        return 20
    except Exception as error:  # noqa: BLE001 - the last place where a defect can still be told as one line.
        from deltasync.cli.failures import told

        return told(error)


def _dispatch(words: list[str]) -> int:
    command, rest = (words[0], words[1:]) if words else ("", [])
    if command in ("push", "pull"):
        return _transfer(command == "push", rest)
    if command == "serve":
        from deltasync.cli.serve import serve

        return serve(rest)
    if command == "recover":
        from deltasync.cli.recover import recover

        return recover(rest)
    if command == "explain":
        from deltasync.cli.explain import explain

        return explain(rest)
    if command in ("key", "trust", "known"):
        from deltasync.cli import trust

        return {"key": trust.key, "trust": trust.trust, "known": trust.known}[command](rest)
    if command == "listen":
        from deltasync.cli.listen import listen

        return listen(rest)
    if command == "status":
        from deltasync.cli.status import status

        return status(rest)
    if command == "doctor":
        from deltasync.cli.doctor import doctor

        return doctor(rest)
    if command == "pair":
        from deltasync.cli.pair import pair

        return pair(rest)
    text = _version() if command == "--version" else HELP if command == "--help" else None
    if text is not None and not rest:
        return _print(text)
    from deltasync.errors import UsageError

    if text is not None:
        raise UsageError(f"{command} takes no argument")
    if not command:
        raise UsageError("a command is missing: push, pull, recover, listen, ...; see deltasync --help")
    kind = "option" if command.startswith("-") else "command"
    raise UsageError(f"no such {kind}: {command}; see deltasync --help")


def _transfer(push: bool, words: list[str]) -> int:
    from deltasync.cli.signals import StopEvent, caught

    stop = StopEvent()
    # An exception out of a signal handler must not hit the imports: extension modules lose it while they load, and crash later.
    with caught(stop):
        from deltasync.channel.ahead import Ahead
        from deltasync.cli.glance import glance

        with Ahead(glance(push, words)) as ahead:
            # All this is loaded while ssh connects.
            from deltasync.cli.transfer import transfer

            return transfer("push" if push else "pull", words, stop, ahead)


def _version() -> str:
    from deltasync import __version__
    from deltasync._native import engine_name
    from deltasync.wire.version import PROTOCOL_VERSION

    python = ".".join(map(str, sys.version_info[:3]))
    return f"deltasync {__version__} (engine: {engine_name()}, protocol {PROTOCOL_VERSION}, Python {python})\n"


def _print(text: str) -> int:
    from deltasync.cli.streams import print_text

    print_text(text)
    return 0


def _fill_standard_descriptors() -> None:
    """Open /dev/null in the place of closed standard streams, so that no file of the run gets their number and our output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one, since those beneath it are open by now.
            os.open(os.devnull, os.O_RDWR)
