"""`deltasync pair`: trust a listener and be trusted by it, by an invitation that works once."""

from __future__ import annotations

import socket

from deltasync.cli.places import tcp_address
from deltasync.cli.streams import print_text
from deltasync.errors import AuthenticationError, UsageError
from deltasync.wire.pairing import Invitation

__all__ = ["pair"]

HELP = """\
Usage: deltasync pair HOST:PORT/KEY#TOKEN

Use the line that deltasync listen --pair prints, within ten minutes and once: the listener then trusts the key of this installation with
all its roots as they are shared, and push and pull here know the listener's key. Put it in quotes.
"""


def pair(words: list[str]) -> int:
    """Run `deltasync pair`; return the exit code.

    Raises:
        DeltasyncError: Wrong usage, nobody there, or the invitation is not good any more.
    """
    if "--help" in words:
        print_text(HELP)
        return 0
    if len(words) != 1:
        raise UsageError("pair takes one HOST:PORT/KEY#TOKEN; see deltasync pair --help")
    try:
        invitation = Invitation.parse(words[0])
    except ValueError as error:
        raise UsageError(f"this is no invitation: {error}") from error
    address = tcp_address(invitation.address)

    from deltasync.channel.pipes import PipeStream
    from deltasync.channel.secure import Credentials
    from deltasync.channel.tcp import dial
    from deltasync.channel.tcp_client import call
    from deltasync.errors import ConnectionLost
    from deltasync.fs.own_key import home, load_or_make
    from deltasync.fs.trust import Daemon, known_daemons
    from deltasync.wire.preamble import Suite

    own = load_or_make(home())
    fd = dial(address).detach()
    stream = PipeStream(fd, fd)
    name = socket.gethostname().encode("utf-8", "replace")[:64]
    credentials = Credentials(Suite.XKPSK3, static=own.private, remote_static=invitation.key, psk=invitation.token, request=name)
    try:
        # Its FIN says that it has written down who this is.
        if call(stream, credentials, str(address)).recv() is not None:
            raise AuthenticationError(f"{address} did not confirm the pairing")
    except (AuthenticationError, ConnectionLost) as error:
        why = "the invitation works once, for ten minutes, and only there; deltasync listen --pair prints another"
        raise AuthenticationError(f"{address} did not pair: {why}") from error
    finally:
        stream.close()
    known_daemons(home()).add(Daemon(str(address), invitation.key))
    return 0
