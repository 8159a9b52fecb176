"""Where the other end of a session is: over SSH, or at a listener over TCP."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from deltasync.errors import UsageError
from deltasync.tree.names import shown

__all__ = ["TCP_PORT", "DataPlan", "Remote", "TcpAddress", "TcpRemote", "refuse_unsafe_names"]

TCP_PORT = 8730
"""Where a listener is reached unless something else is said."""

# A ProxyCommand (`%h`, `%r`) hands both to a shell, so nothing that makes a shell run a command may stand in them. The users of a Windows
# domain have a backslash within their name, its machines a dollar at the end.
_UNSAFE_IN_HOST = re.compile(r"""^-|^$|[\x00-\x20\x7f'"`$\\;&<>|(){}]""")
_UNSAFE_IN_USER = re.compile(r"""^-|^$|[\x00-\x1f\x7f'"`;&<>|(){}]|\s-|\\$""")


class Remote(NamedTuple):
    """Where the other end is, and how to get there over SSH.

    Attributes:
        host: Host name or address, without brackets; never begins with `-`.
        user: Login name, or None for SSH's own choice.
        port: TCP port, or None for SSH's own choice.
        ssh: Which SSH: `auto` (the OpenSSH binary if there is one, else paramiko), `openssh` or `paramiko`.
        rsh: Words of the remote shell command that replaces `ssh` (`-e`); None for `ssh`.
        ssh_config: A file for `ssh -F`, read by paramiko too; None for the user's own.
        identity: A private key file for `ssh -i`; None for SSH's own choice.
        remote_path: The words that start deltasync at the far end (`--remote-path`); None to look for it.
    """

    host: str
    user: str | None = None
    port: int | None = None
    ssh: Literal["auto", "openssh", "paramiko"] = "auto"
    rsh: tuple[str, ...] | None = None
    ssh_config: str | None = None
    identity: str | None = None
    remote_path: str | None = None

    def __str__(self) -> str:
        """The host as a person writes it."""
        return f"{self.user}@{self.host}" if self.user else self.host


class TcpAddress(NamedTuple):
    """Where a listener is: name or address without brackets, and port; as text it is what stands in `known_daemons`."""

    host: str
    port: int

    def __str__(self) -> str:
        """`HOST:PORT`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TcpRemote(NamedTuple):
    """A root of a listener.

    Attributes:
        address: Where the listener is.
        root: What it calls the root.
    """

    address: TcpAddress
    root: str

    def __str__(self) -> str:
        """The listener as a person writes it."""
        return str(self.address)


class DataPlan(NamedTuple):
    """What the user says about the data connection.

    Attributes:
        host: Name or address of the far end for it; None for where SSH leads.
        first_port: The first port that the far end may listen at; 0 for any.
        last_port: The last.
    """

    host: str | None = None
    first_port: int = 0
    last_port: int = 0


def refuse_unsafe_names(remote: Remote) -> None:
    """Refuse a host or user that ssh would take for an option, or a ProxyCommand's shell for a command.

    Raises:
        UsageError: One of them is such a name.
    """
    if _UNSAFE_IN_HOST.search(remote.host):
        raise UsageError(f"{shown(remote.host) or repr('')} is no host name")
    if remote.user is not None and _UNSAFE_IN_USER.search(remote.user):
        raise UsageError(f"{shown(remote.user) or repr('')} is no user name that can be given to ssh")
