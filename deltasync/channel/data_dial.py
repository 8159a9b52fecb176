"""This end's part of a data connection: it leads to where SSH leads, by the user's configuration and never by the far end's word."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from deltasync.channel.address import DataPlan, Remote, TcpAddress
from deltasync.channel.pipes import PipeStream
from deltasync.channel.secure import Credentials, SecureLink, open_initiator
from deltasync.channel.ssh import wants_paramiko
from deltasync.channel.tcp import dial
from deltasync.errors import DeltasyncError, TransportError
from deltasync.wire.preamble import Suite

__all__ = ["REACH_S", "reach"]

REACH_S = 10.0
"""How long the connection may take, and how long the answer; the far end waits a little longer."""
_CONFIG_TIMEOUT_S = 5.0
_HOST_NAME = re.compile(rb"^hostname (\S+)$", re.MULTILINE)


def reach(
    remote: Remote, plan: DataPlan, port: int, key: bytes, given_up: Callable[[], bool], *, timeout_s: float | None = None
) -> SecureLink:
    """Connect to the port that the far end opened, and prove the key of this session to each other.

    Args:
        remote: Where SSH leads.
        plan: What the user says about it.
        port: Where the far end listens, by its word.
        key: The key of this session, 32 bytes.
        given_up: Tells whether nobody waits for it any more.
        timeout_s: The longest silence of the peer, once it stands; None for any.

    Raises:
        TransportError: It can't be reached, or whoever is there does not hold the key.
        Interrupted: It was given up.
    """
    if plan.first_port and not plan.first_port <= port <= plan.last_port:
        raise TransportError("the far end listens at another port than it may")
    address = TcpAddress(plan.host or _host_of(remote), port)
    fd = dial(address, timeout_s=REACH_S, given_up=given_up).detach()
    stream = PipeStream(fd, fd)
    stream.timeout_s = REACH_S
    try:
        link = open_initiator(stream, Credentials(Suite.NNPSK0, psk=key), peer=str(address), through_shell=False)
    except DeltasyncError as error:
        stream.close()
        raise TransportError(f"{address} did not answer as the far end: {error}") from error
    stream.timeout_s = timeout_s
    return link


def _host_of(remote: Remote) -> str:
    """Return where SSH leads; the host as written where its configuration can't be asked."""
    if wants_paramiko(remote):
        from deltasync.channel.paramiko_config import route_to

        return route_to(remote).host
    words = list(remote.rsh or ["ssh"])
    if os.path.basename(words[0]) != "ssh":
        return remote.host
    import subprocess

    options = [] if remote.ssh_config is None else ["-F", remote.ssh_config]
    try:
        said = subprocess.run(
            [words[0], "-G", *words[1:], *options, "--", remote.host],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_CONFIG_TIMEOUT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return remote.host
    found = _HOST_NAME.search(said.stdout)
    return remote.host if found is None else os.fsdecode(found[1])
