"""Tables of what was measured, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.kernels import Speed
from benchmarks.modes import Written
from benchmarks.outcome import Outcome, compared
from benchmarks.watching import Seen

__all__ = [
    "OUTCOME_HEAD",
    "SPEED_HEAD",
    "UNIT_HEAD",
    "WATCHED_HEAD",
    "WRITTEN_HEAD",
    "outcome_lines",
    "speed_lines",
    "unit_lines",
    "watched_lines",
    "written_lines",
]

OUTCOME_HEAD = """\
| row | on | program | median s | of the better rsync | by round | bytes on the wire | of rsync's | CPU s near + far | MiB near, far |
|---|---|---|--:|--:|--:|--:|--:|--:|--:|"""
SPEED_HEAD = """\
| work | program | a second, 1 thread | 2 threads | of |
|---|---|--:|--:|---|"""

UNIT_HEAD = """\
| row | on | median s | ns for each file or byte | MiB near, far |
|---|---|--:|--:|--:|"""

WATCHED_HEAD = """\
| row | program | median ms | 99th percentile | median us a file | itself: detection to sent | to applied, us a file |
|---|---|--:|--:|--:|--:|--:|"""

WRITTEN_HEAD = """\
| way | on | median s | MiB written to the disk | of the file |
|---|---|--:|--:|--:|"""


def outcome_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each contestant of one row."""
    lines = []
    for one in outcomes:
        ratios = compared(one, outcomes)
        time, by_round, wire = ("" if ratio is None else f"{ratio:.3f}" for ratio in ratios or (None, None, None))
        near_s = sum(one.near_cpu_s) / len(one.near_cpu_s)
        peaks = f"{one.near_peak_bytes >> 20}, {one.far_peak_bytes >> 20}"
        cells = (one.row, one.filesystem, one.contestant, f"{one.median_s:.3f}", time, by_round, f"{one.wire_bytes:,}", wire)
        lines.append(_line((*cells, f"{near_s:.2f} + {one.far_cpu_s:.2f}", peaks)))
    return lines


def speed_lines(speeds: Sequence[Speed]) -> list[str]:
    """Return a line for each program of one kind of work."""
    programs = {(speed.work, speed.program): speed.unit for speed in speeds}
    found = {(speed.work, speed.program, speed.threads): f"{speed.median_a_second:.4g}" for speed in speeds}
    lines = []
    for (work, program), unit in programs.items():
        lines.append(_line((work, program, *(found.get((work, program, threads), "") for threads in (1, 2)), unit)))
    return lines


def unit_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each size of a job that grows."""
    lines = []
    for one in sorted(outcomes, key=lambda one: (one.row.rpartition("-")[0], one.filesystem, one.units)):
        peaks = f"{one.near_peak_bytes >> 20}, {one.far_peak_bytes >> 20}"
        lines.append(_line((one.row, one.filesystem, f"{one.median_s:.3f}", f"{one.median_s / one.units * 1e9:.4g}", peaks)))
    return lines


def written_lines(written: Sequence[Written]) -> list[str]:
    """Return a line for each way to change a file."""
    lines = []
    for one in written:
        share = f"{one.median_bytes / one.size:.4f}"
        lines.append(_line((one.contestant, one.filesystem, f"{one.median_s:.2f}", f"{one.median_bytes / (1 << 20):,.0f}", share)))
    return lines


def watched_lines(watched: Sequence[Seen]) -> list[str]:
    """Return a line for each contestant that watches."""
    lines = []
    for one in watched:
        own = [f"{us / one.files:,.0f}" if us else "" for us in (one.sent_us, one.applied_us)]
        times = (f"{one.median_s * 1e3:,.1f}", f"{one.worst_s * 1e3:,.1f}", f"{one.median_s / one.files * 1e6:,.0f}")
        lines.append(_line((one.row, one.contestant, *times, *own)))
    return lines


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
