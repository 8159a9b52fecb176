"""What the user's ssh_config says about a host, as far as paramiko can follow it."""

from __future__ import annotations

import os
import pwd
import shlex
from dataclasses import dataclass
from typing import Any

from deltasync.channel.address import Remote
from deltasync.errors import UsageError
from deltasync.tree.names import shown

__all__ = ["Route", "route_to"]

_USER_CONFIG = "~/.ssh/config"
_USER_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_IDENTITIES = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
_BEYOND_US = ("proxyjump", "revokedhostkeys")
"""What changes the way or what may be trusted, and must not be passed over in silence."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a host.

    Attributes:
        host: Where to connect to, or what to tell the proxy.
        port: TCP port.
        user: Login name.
        alias: HostKeyAlias: what the host is called in known_hosts; None for its own name.
        known_hosts: Files with host keys.
        identities: Private key files, those asked for first.
        identities_only: Whether the agent may offer no other keys.
        proxy: ProxyCommand, for the user's shell; None for a connection of our own.
    """

    host: str
    port: int
    user: str
    alias: str | None
    known_hosts: tuple[str, ...]
    identities: tuple[str, ...]
    identities_only: bool
    proxy: str | None


def route_to(remote: Remote) -> Route:
    """Return the way to a host; what `remote` says itself wins over the configuration.

    Raises:
        UsageError: The configuration can't be read, or asks for what paramiko can't do.
    """
    options = _options(remote)
    for option in _BEYOND_US:
        if str(options.get(option, "none")).lower() != "none":
            raise UsageError(f"paramiko can't follow the {option} of the ssh_config for {remote.host}: use the OpenSSH client")
    proxy = options.get("proxycommand")
    listed = options.get("identityfile") or ([] if remote.identity else _IDENTITIES)
    asked = [remote.identity] if remote.identity else []
    return Route(
        host=options["hostname"],
        port=_port(options.get("port", 22)),
        user=options.get("user") or pwd.getpwuid(os.getuid()).pw_name,
        alias=options.get("hostkeyalias"),
        known_hosts=(
            *_files(options.get("userknownhostsfile", _USER_KNOWN_HOSTS)),
            *_files(options.get("globalknownhostsfile", _GLOBAL_KNOWN_HOSTS)),
        ),
        identities=tuple(os.path.expanduser(path) for path in (*asked, *listed)),
        identities_only=str(options.get("identitiesonly", "no")).lower() == "yes",
        proxy=proxy if proxy and proxy.lower() != "none" else None,
    )


def _options(remote: Remote) -> dict[str, Any]:
    """Look the host up in the configuration."""
    import paramiko

    path = os.path.expanduser(remote.ssh_config or _USER_CONFIG)
    # What the user says stands first, where it wins, and is known to the tokens of a ProxyCommand.
    ours = [f"{option} {value}" for option, value in (("Port", remote.port), ("User", remote.user)) if value is not None]
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        if remote.ssh_config is not None or not isinstance(error, FileNotFoundError):
            raise UsageError(f"{shown(path)}: this ssh_config can't be read: {error.strerror}") from error
        text = ""
    try:
        return dict(paramiko.SSHConfig.from_text("\n".join([*ours, text])).lookup(remote.host))
    except (paramiko.SSHException, ImportError, ValueError) as error:
        raise UsageError(f"{shown(path)}: paramiko can't read this ssh_config: {shown(str(error))}") from error


def _port(port: int | str) -> int:
    if not str(port).isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"{shown(str(port))} is no TCP port")
    return int(port)


def _files(option: str) -> list[str]:
    return [] if option.lower() == "none" else [os.path.expanduser(word) for word in shlex.split(option)]
