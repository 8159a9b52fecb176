"""The client of a listener: it tells nothing to who has not proven the known key, and tells the user which side refused."""

from __future__ import annotations

from collections.abc import Callable

from deltasync.channel.address import TcpRemote
from deltasync.channel.pipes import PipeStream
from deltasync.channel.secure import Credentials, SecureLink, open_initiator
from deltasync.channel.tcp import dial
from deltasync.errors import AuthenticationError, ConnectionLost, DeadlineExceeded, DeltasyncError, Unanswered
from deltasync.fs.own_key import home, load_or_make
from deltasync.fs.trust import known_daemons
from deltasync.tree.names import shown
from deltasync.wire.keys import encode
from deltasync.wire.preamble import Suite

__all__ = ["HANDSHAKE_S", "Caller", "call"]

HANDSHAKE_S = 15.0
"""How long the listener may take to answer within the handshake unless `--timeout` says otherwise; it gives up itself after ten."""


def call(stream: PipeStream, credentials: Credentials, peer: str, timeout_s: float | None = None) -> SecureLink:
    """Do the handshake over TCP, with an answer due within `timeout_s` (None: 15 seconds).

    Raises:
        AuthenticationError: Whoever is there did not prove the key, and was told nothing.
        DeadlineExceeded: It did not answer.
        RemoteProtocolError: It is no deltasync, or of another version.
    """
    stream.timeout_s = timeout_s or HANDSHAKE_S
    try:
        link = open_initiator(stream, credentials, peer=peer, through_shell=False)
    except (AuthenticationError, ConnectionLost) as error:
        key = encode(credentials.remote_static or b"")
        kind = Unanswered if isinstance(error, ConnectionLost) else AuthenticationError
        raise kind(f"{peer} did not prove that it holds the key {key}; nothing was told to it") from error
    except DeadlineExceeded as error:
        raise DeadlineExceeded(f"{peer} accepted the connection and did not answer for {stream.timeout_s:g} s") from error
    stream.timeout_s = timeout_s
    return link


class Caller:
    """One session's way to a listener.

    Args:
        remote: The listener's root.
        given_up: Tells whether nobody waits for the connection any more.

    Raises:
        AuthenticationError: No key is known for the listener.
        StateError: Own key or known keys can't be read.
    """

    def __init__(self, remote: TcpRemote, *, given_up: Callable[[], bool] = lambda: False) -> None:
        self._remote = remote
        self._peer = shown(str(remote.address))
        self._given_up = given_up
        directory = home()
        known = next((daemon.key for daemon in known_daemons(directory).entries() if daemon.address == str(remote.address)), None)
        if known is None:
            raise AuthenticationError(
                f"no key is known for {self._peer}: deltasync listen prints it there as it starts; "
                f"deltasync known add {self._peer} KEY remembers it"
            )
        self._own = load_or_make(directory)
        self._credentials = Credentials(Suite.XK, static=self._own.private, remote_static=known, request=remote.root.encode("ascii"))
        self._link: SecureLink | None = None
        self._greeted_at = 0

    def connect(self, timeout_s: float | None) -> PipeStream:
        """Return a stream to the listener.

        Raises:
            TransportError: Nobody answers there.
            Interrupted: It was given up.
        """
        fd = dial(self._remote.address, timeout_s=timeout_s, given_up=self._given_up).detach()
        return PipeStream(fd, fd)

    def open(self, stream: PipeStream, timeout_s: float | None) -> SecureLink:
        """Do the handshake; see `call`."""
        self._link = call(stream, self._credentials, self._peer, timeout_s)
        self._greeted_at = self._link.bytes_received
        return self._link

    def explain(self, error: DeltasyncError) -> DeltasyncError:
        """Return what an error of the session means: who is let in is greeted, and who is not hears nothing at all."""
        greeted = self._link is not None and self._link.bytes_received > self._greeted_at
        if greeted or not isinstance(error, ConnectionLost):
            return error
        key, root = encode(self._own.public), self._remote.root
        return Unanswered(
            f"{self._peer} does not let this client use {root}: there, deltasync trust add {key} --allow {root} would; "
            f"or it shares nothing of that name"
        )
