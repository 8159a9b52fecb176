"""`deltasync doctor`: what this machine and a far end can do, and what to do where they can't."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from deltasync import __version__
from deltasync._native import engine_name
from deltasync.cli.jsonout import event
from deltasync.cli.signals import StopEvent, caught
from deltasync.cli.streams import print_text
from deltasync.errors import DeltasyncError, ExitCode, UsageError
from deltasync.fs import landlock
from deltasync.fs.home import check_private, state_directory
from deltasync.fs.openat2 import available
from deltasync.tree.names import shown

__all__ = ["doctor"]

HELP = """\
Usage: deltasync doctor [--json] [OPTIONS] [PLACE...]

Look at what deltasync needs on this machine, and at far ends: each PLACE is
one that push or pull takes, with their options for the connection. One line a
thing: ok, or what is missing and what to do. With --json each is an object.

Exit code 0 if every far end answers, else that of the first that does not.
"""
FEW_WATCHES = 65_536
FEW_INSTANCES = 64
TIMEOUT_S = 20.0
_ENGINES = {
    "native": "",
    "numpy": "install deltasync where there is a C compiler, which makes large files faster",
    "python": "install deltasync where there is a C compiler, or numpy beside it; without either parts of large files are sent whole",
}
_INOTIFY = Path("/proc/sys/fs/inotify")


class Finding(NamedTuple):
    """What was looked at.

    Attributes:
        name: What it is.
        good: Whether it is as it should be.
        text: How it is.
        remedy: What to do; empty for nothing.
        exit_code: What the program ends with for it.
    """

    name: str
    good: bool
    text: str
    remedy: str = ""
    exit_code: int = ExitCode.OK


def doctor(words: list[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        UsageError: An option is unknown, or a place names no host.
    """
    if "--help" in words:
        print_text(HELP)
        return ExitCode.OK
    as_json = "--json" in words
    rest = [word for word in words if word != "--json"]
    stop = StopEvent()
    codes: list[int] = []
    with caught(stop):
        for finding in (*_here(), *_far_ends(rest, stop)):
            codes.append(finding.exit_code)
            print_text((_event(finding) if as_json else _line(finding)) + "\n")
    return next((code for code in codes if code), ExitCode.OK)


def _event(finding: Finding) -> str:
    return event("check", what=finding.name, ok=finding.good, text=finding.text, remedy=finding.remedy)


def _line(finding: Finding) -> str:
    remedy = f": {finding.remedy}" if finding.remedy else ""
    return f"{'ok     ' if finding.good else 'look at'}  {finding.name}: {finding.text}{remedy}"


def _here() -> Iterator[Finding]:
    """Look at this machine."""
    yield Finding("deltasync", True, f"{__version__}, Python {'.'.join(map(str, sys.version_info[:3]))}")
    engine = engine_name()
    yield Finding("engine", engine == "native", engine, _ENGINES[engine])
    yield _state()
    if sys.platform == "linux":
        yield from _kernel()
        yield from _inotify()


def _state() -> Finding:
    place = state_directory()
    if place is None:
        return Finding("memory", False, "there is no directory for it", "set HOME or DELTASYNC_HOME; unchanged large files are read again")
    try:
        if os.path.lexists(place):
            check_private(place)
            if not os.access(place, os.W_OK | os.X_OK):
                raise PermissionError("it can't be written")
    except OSError as error:
        why = error.strerror or str(error)
        return Finding("memory", False, f"{shown(place)}: {why}", "chmod 700 it and own it, or name another directory in DELTASYNC_HOME")
    return Finding("memory", True, shown(place))


def _kernel() -> Iterator[Finding]:
    if available():
        yield Finding("openat2", True, "paths are confined by the kernel")
    else:
        yield Finding("openat2", False, "not to be had: paths are walked name by name, which is slower", "Linux 5.6 or later has it")
    version = landlock.abi()
    if version:
        yield Finding("landlock", True, f"version {version}: sessions of deltasync listen are confined to their root")
    else:
        remedy = "Linux 5.13 or later has it, with landlock among lsm= of its command line"
        yield Finding("landlock", False, "not to be had: sessions of deltasync listen are confined by deltasync alone", remedy)


def _inotify() -> Iterator[Finding]:
    for name, few, what in (("max_user_watches", FEW_WATCHES, "directories"), ("max_user_instances", FEW_INSTANCES, "watching programs")):
        try:
            most = int((_INOTIFY / name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            yield Finding(f"inotify {name}", False, "it can't be read", "watched directories are polled if there are no events")
            continue
        remedy = f"for larger trees `sudo sysctl fs.inotify.{name}={8 * few}`; beyond it directories are polled"
        yield Finding(f"inotify {name}", most >= few, f"{most:,} {what}", "" if most >= few else remedy)


def _far_ends(words: list[str], stop: StopEvent) -> Iterator[Finding]:
    """Look at the places that are named."""
    if not words:
        return
    from deltasync.cli.job import make_job, output_options, settings_of
    from deltasync.cli.options import parse
    from deltasync.cli.places import parse_place, route
    from deltasync.engine.checkup import look

    given = parse("push", words)
    if given is None or not given.places:
        raise UsageError("doctor: a place is missing; see deltasync doctor --help")
    for text in given.places:
        way = route("push", [parse_place(".")], parse_place(text))
        if way.host is None:
            raise UsageError(f"doctor: {shown(text)} is a place on this machine; name one of another, as HOST: or tcp://HOST/NAME")
        job = make_job(given._replace(places=(".", text)), way, settings_of(given, output_options(given)))
        try:
            far = look(job, stop, job.settings.timeout_s or TIMEOUT_S)
        except DeltasyncError as error:
            yield Finding(text, False, str(error), exit_code=error.exit_code)
            continue
        same = far.software == __version__
        version = f"deltasync {far.software}, engine {far.engine}, ready after {far.seconds * 1000:.0f} ms"
        yield Finding(text, same, version, "" if same else f"here is {__version__}; the same version at both ends is best")
