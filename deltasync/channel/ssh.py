"""A session over SSH: which SSH carries it, and what that must be able to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from deltasync.channel.address import Remote
from deltasync.channel.openssh import OpenSshStream
from deltasync.channel.programs import is_program
from deltasync.channel.stream import ByteStream
from deltasync.errors import DeltasyncError

__all__ = ["SshStream", "connect", "wants_paramiko"]


class SshStream(ByteStream, Protocol):
    """The standard input and output of a deltasync that serves at the far end."""

    heard: Callable[[bytes], None] | None
    """Called with each line that SSH or the far end writes to standard error, without its end, by a thread that sends or receives; None
    only keeps the last of them for `explain`."""

    def explain(self, error: DeltasyncError) -> DeltasyncError:
        """Turn an error of the stream or of the session over it into one that says what is wrong, and where; else return it as it is."""


def wants_paramiko(remote: Remote) -> bool:
    """Tell whether paramiko carries a session, which takes long to load; else the OpenSSH binary does, or what replaces it."""
    return remote.rsh is None and (remote.ssh == "paramiko" or (remote.ssh == "auto" and not is_program("ssh")))


def connect(remote: Remote) -> SshStream:
    """Begin a session; the connection itself may be made only when the first bytes are sent.

    Raises:
        TransportError: There is no ssh here, or no proxy as configured.
        UsageError: The host is none, or the ssh_config can't be read.
    """
    if wants_paramiko(remote):
        from deltasync.channel.paramiko_ssh import ParamikoStream

        return ParamikoStream(remote)
    return OpenSshStream(remote)
