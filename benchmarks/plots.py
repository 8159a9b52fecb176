"""Plots of what was measured, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.outcome import Outcome, compared

__all__ = ["plot_growth", "plot_ratios"]

BAR_INCHES = 0.32
OURS, RSYNC = "#2a7ab0", "#b0b0b0"


def plot_ratios(outcomes: Sequence[Outcome], path: Path) -> bool:
    """Plot the times of deltasync as shares of rsync's; return whether there was anything to compare."""
    bars: list[tuple[str, float]] = []
    for (row, filesystem), group in groupby(outcomes, key=lambda one: (one.row, one.filesystem)):
        together = list(group)
        for one in together:
            ratios = compared(one, together)
            if ratios is not None:
                bars.append((f"{row} ({filesystem}){one.contestant.removeprefix('deltasync')}", ratios.time))
    if not bars:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + BAR_INCHES * len(bars)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in bars], [ratio for _, ratio in bars], color=OURS)
    axes.invert_yaxis()
    axes.axvline(1, color=RSYNC)
    axes.set_xlabel("time of deltasync / time of the better rsync: less is better")
    _save(figure, path)
    return True


def plot_growth(outcomes: Sequence[Outcome], path: Path) -> bool:
    """Plot the time for a unit of work against how many there were; return whether there was anything to plot."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for one in outcomes:
        lines.setdefault(f"{one.row.rpartition('-')[0]} ({one.filesystem})", []).append((one.units, one.median_s / one.units))
    if not lines:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        points.sort()
        least = points[-1][1]
        axes.plot([units for units, _ in points], [unit_s / least for _, unit_s in points], marker="o", label=name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("files, or bytes")
    axes.set_ylabel("time of each, the largest job's = 1")
    axes.legend()
    _save(figure, path)
    return True


def _save(figure: object, path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    # The same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "deltasync", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
