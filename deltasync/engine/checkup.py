"""A look at a far end: whether a session can be had there, and with what."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from deltasync.engine.connecting import Connector
from deltasync.engine.handshake import ask
from deltasync.engine.job import Job
from deltasync.errors import DeltasyncError, Interrupted
from deltasync.wire.messages import Setup
from deltasync.wire.settings import Settings

__all__ = ["FarEnd", "look"]


class FarEnd(NamedTuple):
    """A far end that answered.

    Attributes:
        software: Its version of deltasync.
        engine: What it computes checksums with.
        seconds: How long it took until it was ready.
    """

    software: str
    engine: str
    seconds: float


def look(job: Job, stop: threading.Event, timeout_s: float) -> FarEnd:
    """Begin a session with a far end, as a pull that would write nothing does, and break it off once it is ready.

    Args:
        job: Where to connect to, and how; its destination is the place that is looked at.
        stop: Ends it.
        timeout_s: Longest silence of the far end.

    Raises:
        DeltasyncError: There is no session to be had, in the words of who knows where the far end is.
    """
    began_at = time.monotonic()
    with Connector(job.remote, timeout_s=timeout_s, e2e=job.e2e) as connector:
        while not connector.settled(0.1):
            if stop.is_set():
                raise Interrupted("interrupted")
        connection = connector.result()
        try:
            setup = Setup(False, (job.dest,), Settings(dry_run=True, recursive=False, timeout_s=timeout_s))
            peer = ask(connection.link, setup, stop, lambda: False)
        except DeltasyncError as error:
            raise connection.explain(error) from error
        peer.close()
    return FarEnd(peer.software, peer.engine, time.monotonic() - began_at)
