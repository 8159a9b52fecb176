"""`deltasync listen`: from its options to a listener that is ready, and what it prints."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from deltasync.channel.address import TCP_PORT, TcpAddress
from deltasync.channel.tcp_listen import bound, handed_over, place_of
from deltasync.cli.signals import StopEvent, caught
from deltasync.cli.streams import STDERR, LineWriter, print_text
from deltasync.cli.systemd import Notifier
from deltasync.engine.admission import Admission, Pairing, SharedRoot
from deltasync.engine.listen_log import Field, ListenLog
from deltasync.engine.listen_sessions import Sessions
from deltasync.engine.listener import MAX_PEERS, Listener, Rules
from deltasync.errors import DestinationError, UsageError
from deltasync.fs.confinement import Account
from deltasync.fs.own_key import home, load_or_make
from deltasync.fs.trust import authorized_peers
from deltasync.tree.names import ROOT_NAME, shown
from deltasync.wire.keys import encode
from deltasync.wire.pairing import Invitation

__all__ = ["ListenOptions", "listen", "log_line", "parse_listen"]

HELP = """\
Usage: deltasync listen --root NAME=PATH[:ro]... [OPTIONS]

Serve directories over TCP, encrypted, to clients whose keys are trusted: see deltasync trust. INT or TERM ends it.

  --root NAME=PATH[:ro]   share PATH as tcp://HOST:PORT/NAME; with :ro nobody can write to it. May be repeated
  --bind ADDR[:PORT]      where to listen (127.0.0.1:8730); port 0 picks one
  --pair                  print a line for deltasync pair: it lets one client in, once, within ten minutes
  --once                  end after the first session, with its exit code
  --max-peers N           how many sessions there may be at once (32)
  --user NAME             serve sessions as this user; only root can
  --json                  print JSON objects, one a line; the log on standard error too
  --help                  this text
"""

_VALUES = ("--root", "--bind", "--max-peers", "--user")
_FLAGS = ("--pair", "--once", "--json")
_READ_ONLY = ":ro"


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """The options of `listen`.

    Attributes:
        roots: Name, path and whether it is read-only, of each.
        bind: Where to listen; None for the default, or for the sockets of `LISTEN_FDS`.
        pair: Whether a pairing is open.
        once: Whether it ends with the first session.
        max_peers: How many sessions there may be.
        user: Whom sessions run as; None for this user.
        json: Whether JSON is printed.
    """

    roots: tuple[tuple[str, bytes, bool], ...]
    bind: TcpAddress | None = None
    pair: bool = False
    once: bool = False
    max_peers: int = MAX_PEERS
    user: str | None = None
    json: bool = False


def parse_listen(words: list[str]) -> ListenOptions:
    """Return the options; of those that may not be repeated the last one counts.

    Raises:
        UsageError: A word is not one of them, a value is wrong, or there is no root.
    """
    values: dict[str, list[str]] = {name: [] for name in _VALUES}
    flags: set[str] = set()
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if name in values:
            value = value if equals else next(left, "")
            if not value:
                raise UsageError(f"listen: {name} needs a value; see deltasync listen --help")
            values[name].append(value)
        elif word in _FLAGS:
            flags.add(word)
        else:
            kind = "option" if word.startswith("-") else "argument"
            raise UsageError(f"listen: no such {kind}: {shown(word)}; see deltasync listen --help")
    if not values["--root"]:
        raise UsageError("listen shares nothing without --root: deltasync listen --root data=/srv/data (with :ro behind it to read alone)")
    roots = tuple(map(_root, values["--root"]))
    if len({name for name, _, _ in roots}) < len(roots):
        raise UsageError("listen: two roots have the same name")
    most = values["--max-peers"][-1:] or [str(MAX_PEERS)]
    if not most[0].isdecimal() or not 0 < int(most[0]) <= 1024:
        raise UsageError("listen: --max-peers is a number from 1 to 1024")
    return ListenOptions(
        roots,
        bind=_address(values["--bind"][-1]) if values["--bind"] else None,
        pair="--pair" in flags,
        once="--once" in flags,
        max_peers=int(most[0]),
        user=values["--user"][-1] if values["--user"] else None,
        json="--json" in flags,
    )


def _root(text: str) -> tuple[str, bytes, bool]:
    name, equals, path = text.partition("=")
    directory = path.removesuffix(_READ_ONLY)
    if not equals or ROOT_NAME.fullmatch(name) is None or not directory:
        raise UsageError(f"listen: --root {shown(text)}: write NAME=PATH or NAME=PATH:ro, NAME of letters, digits, `.`, `_` and `-`")
    return name, os.fsencode(directory), directory != path


def _address(text: str) -> TcpAddress:
    """Return where to listen: an address, in brackets or not if it is of IPv6, and a port or none."""
    host, port = text, ""
    if text.startswith("["):
        host, closing, port = text[1:].partition("]")
        host = host if closing else ""
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        port = f":{port}"
    number = port.removeprefix(":")
    if not host or (port and (not port.startswith(":") or not number.isdecimal() or int(number) > 65535)):
        raise UsageError(f"listen: --bind {shown(text)}: write ADDR or ADDR:PORT, with brackets around IPv6")
    return TcpAddress(host, int(number) if port else TCP_PORT)


def log_line(event: str, fields: Mapping[str, Field], *, as_json: bool, at: float) -> str:
    """Return a line of the log: whatever a field holds, it is one line, and nothing in it steers a terminal.

    Args:
        event: What happened.
        fields: What is known of it.
        as_json: Whether the line is a JSON object.
        at: When, in seconds since the epoch.
    """
    told = {name: shown(value) if isinstance(value, str) else value for name, value in fields.items()}
    if as_json:
        return json.dumps({"event": event, "at": at, **told})
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return " ".join([moment, event, *(f"{name}={_quoted(value)}" for name, value in told.items())])


def _quoted(value: Field) -> str:
    text = str(value)
    return text if text and not set(text) & set(' "=\\') else json.dumps(text, ensure_ascii=False)


def listen(words: list[str]) -> int:
    """Run `deltasync listen`; return the exit code.

    Raises:
        DeltasyncError: Wrong usage, or it can't begin to listen.
    """
    if "--help" in words:
        print_text(HELP)
        return 0
    options = parse_listen(words)
    stop = StopEvent()
    with caught(stop):
        account = None if options.user is None else _account(options.user)
        directory = home()
        own = load_or_make(directory)
        roots = {name: _opened(name, path, read_only) for name, path, read_only in options.roots}
        sockets = handed_over(os.environ)
        if sockets and options.bind is not None:
            raise UsageError("listen: --bind can't be given where the sockets are handed over by LISTEN_FDS")
        sockets = sockets or [bound(options.bind or TcpAddress("127.0.0.1", TCP_PORT))]
        pairing = Pairing() if options.pair else None
        stderr = LineWriter(STDERR, stop)
        notifier = Notifier()

        def write(event: str, fields: Mapping[str, Field]) -> None:
            stderr.line(log_line(event, fields, as_json=options.json, at=time.time()))
            if event == "stopping":
                notifier.stopping()

        admission = Admission(roots, authorized_peers(directory), pairing)
        rules = Rules(own.private, options.max_peers, options.once)
        listener = Listener(sockets, rules, admission, Sessions(directory, account), ListenLog(write))
        place = place_of(sockets[0])
        _announce(place, own.public, pairing, options)
        notifier.standing(f"listening on {place}", ready=True)
        return listener.run(stop)


def _announce(place: TcpAddress, key: bytes, pairing: Pairing | None, options: ListenOptions) -> None:
    """Say that it is ready, and how to pair."""
    lines = [f"listening on {place} key {encode(key)}"]
    if options.json:
        roots = [name for name, _, _ in options.roots]
        lines = [json.dumps({"event": "listening", "host": place.host, "port": place.port, "key": encode(key), "roots": roots})]
    if pairing is not None:
        # Who listens everywhere is reached by a name.
        reached = TcpAddress(socket.gethostname(), place.port) if place.host in ("0.0.0.0", "::") else place  # noqa: S104 - only compared.
        url = str(Invitation(str(reached), key, pairing.token))
        lines.append(json.dumps({"event": "pairing", "url": url}) if options.json else f"pair {url}")
    print_text("".join(f"{line}\n" for line in lines))


def _opened(name: str, path: bytes, read_only: bool) -> SharedRoot:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise DestinationError(f"{shown(path)}: the root {name} can't be opened: {error.strerror}") from error
    return SharedRoot(name, path, fd, read_only)


def _account(name: str) -> Account:
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError) as error:
        raise UsageError(f"listen: --user {shown(name)}: there is no such user") from error
    if os.geteuid():
        raise UsageError("listen: --user needs root: only root can become another user")
    return Account(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))
