"""What the command line asks of a watch, and what it hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from deltasync.engine.job import Observer, Summary
from deltasync.engine.latency import Latency

__all__ = ["RESCAN_S", "BatchDone", "LiveObserver", "WatchOptions", "Watched"]


RESCAN_S = 3600.0
"""About how often the whole tree is looked at, by itself."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How changes are watched.

    Attributes:
        settle_s: How long everything waits for the next change in its place, in seconds; None for what suits.
        poll_s: Poll everything at this interval; None to poll only where needed.
        rescan_s: About how often the whole tree is looked at, in seconds.
        deletes: Whether what is gone is deleted at the peer.
    """

    settle_s: float | None = None
    poll_s: float | None = None
    rescan_s: float = RESCAN_S
    deletes: bool = True


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A batch that is in place at the peer; times are seconds since the epoch, by this side's clock.

    Attributes:
        done: Its counts.
        detected_at: When the first change of it was seen.
        sent_at: When all of it had been sent.
        applied_at: When the peer had said that all of it is in place.
    """

    done: Summary
    detected_at: float
    sent_at: float
    applied_at: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What a watch has come to.

    Attributes:
        done: The sum of the first sync and of all batches.
        sent: How long files took from their detection until they had been sent.
        applied: And until the peer had said that they are in place.
        batches: How many batches there were.
        reconnects: How often the connection was made again.
    """

    done: Summary
    sent: Latency
    applied: Latency
    batches: int = 0
    reconnects: int = 0


class LiveObserver(Observer, Protocol):
    """Whoever watches a watch; called on the session's control thread."""

    def watching(self, mode: Literal["events", "polling", "mixed"], polled: tuple[bytes, ...]) -> None:
        """The first full sync is done, or the way in which changes are seen is another one now."""

    def batch(self, batch: BatchDone) -> None:
        """A batch is in place."""

    def connection(self, state: Literal["up", "down"], why: str) -> None:
        """The connection stands, or is gone."""

    def paused(self, reason: str) -> None:
        """The watch waits for the source."""
