"""What the command line asks of a watch, and what it hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from deltasync.engine.job import Observer, Summary
from deltasync.engine.latency import Latency

__all__ = ["RESCAN_S", "BatchDone", "LiveObserver", "Standing", "WatchOptions", "Watched"]


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
        alive_s: Tell how the watch stands at least so often; None to tell of changes only.
    """

    settle_s: float | None = None
    poll_s: float | None = None
    rescan_s: float = RESCAN_S
    deletes: bool = True
    alive_s: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a watch stands.

    Attributes:
        state: `starting`, `syncing`, `watching`, `away` (the peer) or `paused` (the source).
        mode: How changes are seen: `events`, `polling`, `mixed`, or nothing before the first sync is done.
        queued: How many places wait to be looked at.
        files: Files whose content was sent.
        batches: How often something was sent after the first sync.
        reconnects: How often the connection was made again.
        last_at: When the last batch was in place, in seconds since the epoch; 0 before the first.
        last_changes: How much was changed and deleted by it.
        last_s: How long it took from the detection of its first change.
    """

    state: str = "starting"
    mode: str = ""
    queued: int = 0
    files: int = 0
    batches: int = 0
    reconnects: int = 0
    last_at: float = 0.0
    last_changes: int = 0
    last_s: float = 0.0


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

    def standing(self, standing: Standing) -> None:
        """The watch stands otherwise than before, or it is time for a sign of life."""

    def paused(self, reason: str) -> None:
        """The watch waits for the source."""
