"""What a place on the command line stands for: a local path, or a path at a host. Pure."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from deltasync.channel.address import TcpAddress
from deltasync.errors import UsageError
from deltasync.tree.names import ROOT_NAME, shown

__all__ = ["Host", "Place", "Route", "parse_place", "route", "tcp_address"]

_SCHEME = re.compile(r"(ssh|tcp|rsync)://", re.IGNORECASE)
_HOST_PATH = re.compile(r"(?:(?P<user>[^/:]*)@)?(?:\[(?P<literal>[^\]/]*)\]|(?P<host>[^/:\[]*)):(?P<path>.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?:(?P<user>.*)@)?(?:\[(?P<literal>[^\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>.*))?", re.DOTALL)
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f]")


class Host(NamedTuple):
    """A host as the place names it.

    Attributes:
        name: Name or address, without brackets.
        user: Login name, or None.
        port: 1 to 65,535, or None.
        root: Over TCP the name of the listener's root; None over SSH.
    """

    name: str
    user: str | None = None
    port: int | None = None
    root: str | None = None


class Place(NamedTuple):
    """A path, and where it is.

    Attributes:
        path: As written; at a host it is relative to the home there, and `b""` is that home.
        host: The host, or None for this machine.
    """

    path: bytes
    host: Host | None = None


class Route(NamedTuple):
    """From where to where.

    Attributes:
        sources: Paths, all on one side; at least one.
        dest: The path on the other side.
        host: The host of the side that is not here; None if both are.
        sends: Whether the sources are here.
    """

    sources: tuple[bytes, ...]
    dest: bytes
    host: Host | None
    sends: bool


def parse_place(text: str) -> Place:
    """Return what a place stands for.

    Raises:
        UsageError: It is empty, or names a host in a way that can't be.
    """
    if not text:
        raise UsageError("a place is empty; the current directory is .")
    scheme = _SCHEME.match(text)
    if scheme is not None:
        return _url(text, scheme[1].lower(), text[scheme.end() :])
    remote = _HOST_PATH.fullmatch(text)
    if remote is not None:
        if remote["path"].startswith(":"):
            raise UsageError(f"{shown(text)}: rsync daemons are not spoken to; write HOST:PATH")
        return Place(os.fsencode(remote["path"]), _host(text, remote))
    if ":" in text.partition("/")[0]:
        raise UsageError(f"{shown(text)}: this is neither HOST:PATH nor [ADDRESS]:PATH; write ./ before a local name with a colon")
    return Place(_local(text))


def _local(text: str) -> bytes:
    # The shell has replaced every ~ that meant a home; one that is left is a name.
    return os.fsencode(f"./{text}" if text.startswith("~") else text)


def _url(text: str, scheme: str, rest: str) -> Place:
    if scheme == "tcp":
        return _tcp(text, rest)
    if scheme == "rsync":
        raise UsageError(f"{shown(text)}: rsync daemons are not spoken to; write HOST:PATH")
    authority, slash, path = rest.partition("/")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise UsageError(f"{shown(text)}: this is not ssh://[USER@]HOST[:PORT]/PATH")
    if path.startswith("~"):
        # `~/x` is relative to the home as `x` is; `~name/x` is for the far end to look up.
        home_relative = path.removeprefix("~").lstrip("/") if path == "~" or path.startswith("~/") else path
        return Place(os.fsencode(home_relative), _host(text, found, found["port"]))
    return Place(os.fsencode(slash + path), _host(text, found, found["port"]))


def _tcp(text: str, rest: str) -> Place:
    authority, _, path = rest.partition("/")
    found = _AUTHORITY.fullmatch(authority)
    root, _, path = path.partition("/")
    if found is None or found["user"] is not None or ROOT_NAME.fullmatch(root) is None:
        raise UsageError(f"{shown(text)}: this is not tcp://HOST[:PORT]/NAME[/PATH], NAME being a root of the listener")
    # The name of a root alone is its contents, as with rsync's modules; and a path within it begins at the root.
    return Place(os.fsencode(path.lstrip("/")), _host(text, found, found["port"])._replace(root=root))


def tcp_address(text: str) -> TcpAddress:
    """Return where a listener is.

    Raises:
        UsageError: It is not `HOST:PORT`.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None or found["user"] is not None or not found["port"]:
        raise UsageError(f"{shown(text) or repr('')} is not HOST:PORT; an IPv6 address stands in brackets")
    host = _host(text, found, found["port"])
    assert host.port is not None
    return TcpAddress(host.name, host.port)


def _host(text: str, found: re.Match[str], port: str | None = None) -> Host:
    name = found["host"] if found["literal"] is None else found["literal"]
    user = found["user"]
    if not name:
        raise UsageError(f"{shown(text)}: the host is missing")
    if user == "":
        raise UsageError(f"{shown(text)}: the user before @ is missing")
    for what, word in (("host", name), ("user", user or "")):
        if word.startswith("-") or _UNFIT.search(word):
            raise UsageError(f"{shown(text)}: a {what} can't begin with - or hold white space")
    return Host(name, user, _port(text, port))


def _port(text: str, port: str | None) -> int | None:
    if not port:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
        raise UsageError(f"{shown(text)}: a port is a number from 1 to 65535")
    return int(port)


def route(direction: str, sources: list[Place], dest: Place) -> Route:
    """Return from where to where a `push` or `pull` goes.

    Raises:
        UsageError: The places don't fit the command, or each other.
    """
    hosts = {place.host for place in sources}
    if len(hosts) > 1:
        raise UsageError("the sources are not all on one host")
    source_host = sources[0].host
    if direction == "push" and source_host is not None:
        raise UsageError("the sources of a push are local; use pull to fetch")
    if direction == "pull" and dest.host is not None:
        raise UsageError("the destination of a pull is local; use push to send")
    paths = tuple(place.path for place in sources)
    return Route(paths, dest.path, source_host or dest.host, source_host is None)
