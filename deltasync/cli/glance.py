"""A first look at the command line: where it leads, found before the parser and the engine are loaded, so that ssh connects meanwhile.

The look only knows the common options and gives up at anything else; then nothing is begun early, and what is wrong is told by the parser,
which takes every command line apart again. A difference between the two could only cost a connection in vain.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from deltasync.channel.address import Remote, refuse_unsafe_names
from deltasync.channel.ssh import wants_paramiko
from deltasync.cli.places import parse_place, route
from deltasync.cli.remote import remote_of
from deltasync.errors import UsageError

__all__ = ["FLAGS", "LETTERS", "VALUES", "environment_prefix", "glance"]

LETTERS = frozenset("arlptgoDEHSunciIvqzPbOJyxmFC0Rd")
"""Options of one letter without a value; `-e` has one."""
FLAGS = frozenset(
    f"--{name}"
    for name in (
        "archive", "recursive", "links", "perms", "times", "group", "owner", "devices", "specials",
        "no-recursive", "no-links", "no-perms", "no-times", "no-group", "no-owner", "no-devices", "no-specials", "no-r", "no-l", "no-p",
        "no-t", "no-g", "no-o", "no-D", "existing", "ignore-existing", "update", "checksum", "ignore-times", "size-only", "dry-run",
        "hard-links", "sparse", "numeric-ids", "mkpath", "partial", "inplace", "backup", "fsync", "executability",
        "one-file-system", "prune-empty-dirs",
        "cvs-exclude", "gitignore", "from0", "relative", "dirs", "safe-links",
        "omit-dir-times", "omit-link-times", "fuzzy", "delete", "delete-before", "delete-during", "delete-delay", "delete-after", "del",
        "delete-excluded", "force-empty", "ignore-errors", "compress", "no-compress", "no-z",
        "itemize-changes", "verbose", "quiet", "progress", "no-progress", "stats", "json",
    )
)  # fmt: skip
"""Options without a value, which change nothing about where it leads."""
VALUES = {
    "--files-from": "", "--exclude": "", "--include": "", "--filter": "", "--chmod": "", "--chown": "", "--usermap": "", "--groupmap": "",
    "--max-size": "", "--min-size": "", "--backup-dir": "", "--suffix": "",
    "-e": "rsh", "--rsh": "rsh", "--port": "port", "--ssh": "ssh", "--ssh-config": "ssh_config",
    "--identity": "identity", "--remote-path": "remote_path", "--data": "", "--e2e": "",
}  # fmt: skip
"""Options with a value, and which of those of `remote_of` it is; `""` where it changes nothing."""


def environment_prefix(command: str) -> str:
    """Return what the names of the variables begin with that stand for the options of a command."""
    return f"DELTASYNC_{command.upper()}"


def glance(push: bool, words: Iterable[str]) -> Remote | None:
    """Return where a command line leads by the OpenSSH binary; None where that is nowhere, or is not found out at a glance.

    Args:
        push: Whether it is that of `push`; else it is that of `pull`.
        words: What follows the command.
    """
    if any(name.startswith(f"{environment_prefix('push' if push else 'pull')}_") for name in os.environ):
        return None
    values: dict[str, str | int | None] = dict.fromkeys(("rsh", "ssh", "port", "ssh_config", "identity", "remote_path"))
    try:
        places = [parse_place(place) for place in _places(iter(words), values)]
        if len(places) < 2:
            return None
        way = route("push" if push else "pull", places[:-1], places[-1])
        if way.host is None or (push and not any(os.path.lexists(os.path.expanduser(source)) for source in way.sources)):
            return None
        remote = remote_of(values, way.host)
        refuse_unsafe_names(remote)
    except (UsageError, ValueError):
        return None
    return None if wants_paramiko(remote) else remote


def _places(words: Iterator[str], values: dict[str, str | int | None]) -> Iterator[str]:
    """Yield the words that are no options, and put the values of those that are into `values`.

    Raises:
        ValueError: An option is unknown here, or its value is missing or can't be.
    """
    for word in words:
        if word == "--":
            yield from words
        elif not word.startswith("-") or word == "-":
            yield _ordinary(word)
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            if name in VALUES:
                _take(values, name, value if equals else next(words, None))
            elif equals or name not in FLAGS:
                raise ValueError(word)
        else:
            before, found, value = word[1:].partition("e")
            if not LETTERS.issuperset(before):
                raise ValueError(word)
            if found:
                _take(values, "-e", value or next(words, None))


def _ordinary(place: str) -> str:
    if "://" in place and not place.lower().startswith("ssh://"):
        raise ValueError(place)
    return place


def _take(values: dict[str, str | int | None], name: str, value: str | None) -> None:
    if value is None:
        raise ValueError(name)
    kind = VALUES[name]
    if kind == "port":
        port = int(value) if value.isascii() and value.isdigit() else 0
        if not 0 < port < 1 << 16:
            raise ValueError(value)
        values[kind] = port
    elif kind == "ssh" and value not in ("auto", "openssh"):
        raise ValueError(value)
    elif kind:
        values[kind] = value
