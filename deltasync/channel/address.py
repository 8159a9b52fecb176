"""Where the other end of a session is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Remote"]


@dataclass(frozen=True, slots=True)
class Remote:
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
