"""What was measured of one contestant in one row, and how it compares to the others."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from benchmarks.usage import Usage

__all__ = ["Comparison", "Outcome", "compared"]


@dataclass(slots=True)
class Outcome:
    """Measurements.

    The bytes, and what the far end took, are those of one further run, since counting takes time. Bytes are what TCP carries, with what
    SSH adds. Memory is that of the largest process of an end, ssh and sshd included.

    Attributes:
        row, contestant: Names.
        filesystem: The type of the filesystem that it ran on.
        ours: Whether the contestant is deltasync.
        aside: Whether it is neither that nor what that is compared with.
        units: How many files or bytes the row is about, where the time for each is of interest; else 0.
        wall_s: Seconds of each round.
        near_cpu_s: Processor seconds of the end that was started here, of each round.
        near_peak_bytes: Most memory of it in any round.
        far_cpu_s, far_peak_bytes: The same of the other end.
        up_bytes, down_bytes: Bytes on the wire, to the other end and back.
    """

    row: str
    contestant: str
    filesystem: str
    ours: bool
    aside: bool = False
    units: int = 0
    wall_s: list[float] = field(default_factory=list)
    near_cpu_s: list[float] = field(default_factory=list)
    near_peak_bytes: int = 0
    far_cpu_s: float = 0.0
    far_peak_bytes: int = 0
    up_bytes: int = 0
    down_bytes: int = 0

    @property
    def median_s(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.wall_s)

    @property
    def wire_bytes(self) -> int:
        """Bytes in both directions."""
        return self.up_bytes + self.down_bytes

    def add_round(self, usage: Usage) -> None:
        """Take in a round."""
        self.wall_s.append(usage.wall_s)
        self.near_cpu_s.append(usage.cpu_s)
        self.near_peak_bytes = max(self.near_peak_bytes, usage.peak_bytes)

    def add_far(self, sessions: Iterable[Usage]) -> None:
        """Take in what the server's sessions of the further run took."""
        for usage in sessions:
            self.far_cpu_s += usage.cpu_s
            self.far_peak_bytes = max(self.far_peak_bytes, usage.peak_bytes)

    def as_json(self) -> dict[str, object]:
        """A form for JSON."""
        return {**asdict(self), "median_s": self.median_s, "wire_bytes": self.wire_bytes}


class Comparison(NamedTuple):
    """How one of ours stands against its rivals; below 1 it is ahead.

    Attributes:
        time: Its median against the least median of the rivals.
        time_by_round: The median, over the rounds, of its time against the least of the rivals in that round.
        wire: Its bytes on the wire against those of the first rival; None if nothing was counted.
    """

    time: float
    time_by_round: float
    wire: float | None


def compared(one: Outcome, outcomes: Sequence[Outcome]) -> Comparison | None:
    """Compare one outcome of a row with the others; None for a rival's own."""
    rivals = [other for other in outcomes if not other.ours and not other.aside]
    if not one.ours or not rivals:
        return None
    rounds = zip(*(rival.wall_s for rival in rivals), strict=True)
    return Comparison(
        one.median_s / min(rival.median_s for rival in rivals),
        statistics.median(own / min(others) for own, others in zip(one.wall_s, rounds, strict=True)),
        one.wire_bytes / rivals[0].wire_bytes if one.wire_bytes and rivals[0].wire_bytes else None,
    )
