"""The side that was connected to: it does what the other side asks for, within the limits that it was started with.

Of the two roles only that one is loaded which is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from deltasync.channel.moving import MovingLink
from deltasync.channel.stream import Link
from deltasync.engine.data_move import Far
from deltasync.engine.handshake import accept, opening, ready
from deltasync.engine.peer import Peer
from deltasync.engine.reporter import RemoteReporter
from deltasync.errors import (
    AuthenticationError,
    ConnectionLost,
    DeadlineExceeded,
    DeltasyncError,
    ExitCode,
    PeerFailure,
    RemoteProtocolError,
)
from deltasync.fs.root import Root
from deltasync.tree.filters import Filters
from deltasync.tree.names import shown
from deltasync.wire.messages import Failure, Setup
from deltasync.wire.session import Speaker
from deltasync.wire.settings import Settings

__all__ = ["Limits", "serve_link", "serve_stdio"]


class Limits(NamedTuple):
    """What a serving side permits.

    Attributes:
        beneath: The only directory that it works in; None for no limit.
        read_only: Whether it only sends.
        to_remote: Whether the user sees it as remote (`<` in itemized lines).
    """

    beneath: Root | None = None
    read_only: bool = False
    to_remote: bool = True


def serve_stdio(root: bytes | None, read_only: bool, stop: threading.Event) -> int:
    """Serve one session on standard input and output; return the exit code.

    Args:
        root: The only directory to work in, or None.
        read_only: Whether nothing may be written.
        stop: Ends the session from outside.

    Raises:
        DeltasyncError: No session could be begun, so that there was no peer to tell.
    """
    from deltasync.channel.pipes import PipeStream
    from deltasync.channel.secure import Credentials, open_responder
    from deltasync.wire.preamble import Suite

    stream = PipeStream(0, 1)
    try:
        link = open_responder(stream, Credentials(), Credentials(Suite.XK, static=_own_key))
    except DeltasyncError:
        stream.close()
        raise
    try:
        beneath = Root.open(root) if root is not None else None
    except OSError as error:
        return refuse(link, f"{shown(root or b'')}: --root can't be opened: {error.strerror}", stop)
    return serve_link(MovingLink(link), Limits(beneath, read_only), stop)


def _own_key() -> bytes:
    """Return this installation's private key, which only a client that asks for it needs."""
    from deltasync.fs.own_key import home, load_or_make

    return load_or_make(home()).private


def refuse(link: Link, text: str, stop: threading.Event) -> int:
    """End a session before it begins, saying why."""
    peer = Peer(link, Speaker.RESPONDER, stop)
    try:
        peer.send(Failure(ExitCode.LOCAL_IO, text))
        peer.finish()
    except DeltasyncError:
        # The peer may be gone already; the exit code says it all the same.
        return ExitCode.LOCAL_IO
    finally:
        peer.close()
    return ExitCode.LOCAL_IO


def serve_link(
    link: Link, limits: Limits, stop: threading.Event, ended: Callable[[DeltasyncError], DeltasyncError] = lambda error: error
) -> int:
    """Serve one session; return the exit code. Errors of the session are told to the peer, as `ended` words them; none is raised.

    A link that can move is moved if the peer wants it.
    """
    moving = link if isinstance(link, MovingLink) else None
    peer = Peer(link, Speaker.RESPONDER, stop, ping_s=15.0, beside=None if moving is None else lambda peer: Far(peer, moving))
    try:
        setup = accept(peer, data=moving is not None)
        reporter = RemoteReporter(peer)
        if setup.sends:
            _receive(peer, setup, limits, reporter)
        else:
            _send(peer, setup, limits, reporter)
        peer.finish()
    except (ConnectionLost, PeerFailure, DeadlineExceeded) as error:
        return error.exit_code
    except DeltasyncError as error:
        told = ended(error)
        peer.say_why(told.exit_code, str(told))
        return told.exit_code
    except Exception as error:  # noqa: BLE001 - the user sits at the other side: a defect must reach them as one line.
        peer.say_why(ExitCode.PROTOCOL, f"internal error at the far end: {type(error).__name__}: {error}; please report it")
        return ExitCode.PROTOCOL
    finally:
        peer.close()
    return ExitCode.OK


def _receive(peer: Peer, setup: Setup, limits: Limits, reporter: RemoteReporter) -> None:
    if limits.read_only:
        raise AuthenticationError("this deltasync serves read-only: nothing can be pushed to it")
    filters = _filters(setup.settings)
    ready(peer)
    # Loaded while the answer travels.
    from deltasync.engine.receiver import Receiver
    from deltasync.engine.receiving import receiving

    tree = opening(peer, reporter.take)
    dest, settings, far = setup.places[0], setup.settings, limits.to_remote
    with receiving(peer, tree, dest, settings, filters, reporter, to_remote=far, beneath=limits.beneath) as (ground, destination):
        if tree.live:
            from deltasync.engine.live_receiver import receive_live

            receive_live(peer, ground, destination, tree)
        else:
            Receiver(peer, ground, destination, tree).run()


def _filters(settings: Settings) -> Filters:
    try:
        return Filters.from_wire(settings.rules)
    except ValueError as error:
        raise RemoteProtocolError(f"the peer sent a malformed filter rule: {error}") from error


def _send(peer: Peer, setup: Setup, limits: Limits, reporter: RemoteReporter) -> None:
    from deltasync.detect.sources import Sources
    from deltasync.engine.sender import Sender

    sources = Sources(
        setup.places, beneath=limits.beneath, recursive=setup.settings.recursive, dirs=setup.settings.dirs, relative=setup.settings.relative
    )
    try:
        _filters(setup.settings)
        ready(peer)
        Sender(sources, setup.settings, check=peer.check).run(peer, reporter)
    finally:
        sources.close()
