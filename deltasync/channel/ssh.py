"""A session over SSH: which SSH carries it, and what that must be able to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Protocol

from deltasync.channel.address import Remote
from deltasync.channel.openssh import OpenSshStream
from deltasync.channel.stream import ByteStream
from deltasync.errors import DeltasyncError

__all__ = ["SshStream", "connect"]


class SshStream(ByteStream, Protocol):
    """The standard input and output of a deltasync that serves at the far end."""

    heard: Callable[[bytes], None] | None
    """Called with each line that SSH or the far end writes to standard error, without its end, by a thread that sends or receives; None
    only keeps the last of them for `explain`."""

    def explain(self, error: DeltasyncError) -> DeltasyncError:
        """Turn an error of the stream or of the session over it into one that says what is wrong, and where; else return it as it is."""


def connect(remote: Remote) -> SshStream:
    """Begin a session; the connection itself may be made only when the first bytes are sent.

    Raises:
        TransportError: There is no ssh here, or no proxy as configured.
        UsageError: The host is none, or the ssh_config can't be read.
    """
    if remote.rsh is None and (remote.ssh == "paramiko" or (remote.ssh == "auto" and shutil.which("ssh") is None)):
        from deltasync.channel.paramiko_ssh import ParamikoStream

        return ParamikoStream(remote)
    return OpenSshStream(remote)
