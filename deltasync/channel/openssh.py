"""A session carried by the user's own ssh: their configuration, agent, jump hosts and host keys simply work, and are never weakened."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from deltasync.channel.address import Remote, refuse_unsafe_names
from deltasync.channel.child import GRACE_S, Child
from deltasync.channel.ciphers import preferring_gcm
from deltasync.channel.pipes import PipeStream
from deltasync.channel.remote_command import remote_words
from deltasync.channel.ssh_errors import (
    changed_host_key,
    denied,
    ended,
    last_line,
    revoked_host_key,
    silent,
    unknown_host_key,
    unreachable,
)
from deltasync.channel.stream import Buffer
from deltasync.errors import ConnectionLost, DeadlineExceeded, DeltasyncError

__all__ = ["OpenSshStream", "command_line"]

_OWN_FAILURE = 255
"""What ssh exits with when it failed itself, and not the remote command."""

_REVOKED = re.compile(rb"REVOKED HOST KEY|marked as revoked")
_CHANGED = re.compile(rb"REMOTE HOST IDENTIFICATION HAS CHANGED|host key .* has changed")
_UNKNOWN = re.compile(rb"Host key verification failed|host key is known for|No matching host key")
_DENIED = re.compile(rb"Permission denied \(|Too many authentication failures|No more authentication methods|Authentication failed")


def command_line(remote: Remote) -> list[str]:
    """Return the words that connect to `remote` and start deltasync there.

    Of a command that replaces ssh (`-e`) only `-l`, `-p`, `-F` and `-i` are asked, and only if the user asks for them.

    Raises:
        UsageError: The host or the user would be taken for something else.
    """
    refuse_unsafe_names(remote)
    words = list(remote.rsh or ["ssh"])
    is_ssh = os.path.basename(words[0]) == "ssh"
    for option, value in (("-l", remote.user), ("-p", remote.port), ("-F", remote.ssh_config), ("-i", remote.identity)):
        if value is not None:
            words += [option, str(value)]
    if is_ssh and not _has_terminal():
        words += ["-o", "BatchMode=yes"]
    if remote.rsh is None:
        words += preferring_gcm([*words, "--", remote.host], remote.ssh_config)
    return [*words, *(["-T", "--"] if is_ssh else []), remote.host, *remote_words(remote.remote_path)]


def _has_terminal() -> bool:
    """Tell whether ssh can ask the user."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class OpenSshStream:
    """An `SshStream` over a child that runs ssh, or what replaces it.

    The connection is made in the background: what goes wrong with it is met as `ConnectionLost` while sending or receiving, and `explain`
    turns that into what ssh said.

    Args:
        remote: Where to.

    Raises:
        TransportError: There is no ssh here.
        UsageError: The host or the user would be taken for something else.
    """

    def __init__(self, remote: Remote) -> None:
        self._peer = str(remote)
        self._remote_path = remote.remote_path
        self._answered = False
        self._child = Child(command_line(remote), self._peer)
        fd = self._child.socket.detach()
        self._pipes = PipeStream(fd, fd, self._child.said)

    @property
    def timeout_s(self) -> float | None:
        """See `ByteStream.timeout_s`."""
        return self._pipes.timeout_s

    @timeout_s.setter
    def timeout_s(self, timeout_s: float | None) -> None:
        self._pipes.timeout_s = timeout_s

    @property
    def heard(self) -> Callable[[bytes], None] | None:
        """See `SshStream.heard`."""
        return self._child.said.heard

    @heard.setter
    def heard(self, heard: Callable[[bytes], None] | None) -> None:
        self._child.said.heard = heard

    def send(self, data: Buffer) -> None:
        """See `ByteStream.send`."""
        self._pipes.send(data)

    def recv_into(self, buffer: memoryview) -> int:
        """See `ByteStream.recv_into`."""
        count = self._pipes.recv_into(buffer)
        self._answered = self._answered or count > 0
        return count

    def close_send(self) -> None:
        """See `ByteStream.close_send`."""
        self._pipes.close_send()

    def close(self) -> None:
        """See `ByteStream.close`; ssh gets a second to end by itself if the far end has answered, one more when told to, and is reaped."""
        self._pipes.close()
        self._child.end(GRACE_S if self._answered else 0)

    def explain(self, error: DeltasyncError) -> DeltasyncError:
        """See `SshStream.explain`."""
        if isinstance(error, DeadlineExceeded):
            return silent(error, self._peer)
        if not isinstance(error, ConnectionLost):
            return error
        exit_code = self._child.wait(GRACE_S)
        # Taking what is left has it passed on too; what was passed on as it came need not be told again.
        kept = self._child.said.kept()
        said = kept if self.heard is None else b""
        if exit_code == _OWN_FAILURE and not self._answered:
            return _own_failure(self._peer, said)
        return ended(error, self._peer, self._remote_path, answered=self._answered, exit_code=exit_code, said=said)


def _own_failure(peer: str, said: bytes) -> DeltasyncError:
    """Tell by what ssh said why it gave up."""
    if _REVOKED.search(said):
        return revoked_host_key(peer)
    if _CHANGED.search(said):
        return changed_host_key(peer)
    if _UNKNOWN.search(said):
        return unknown_host_key(peer)
    why = last_line(said) or "ssh gave up without a word"
    if _DENIED.search(said):
        return denied(peer, why)
    return unreachable(peer, why)
