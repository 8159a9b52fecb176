"""What is kept of measurements: one file of figures, a page of tables, and plots; rows that are measured anew replace what was there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.kernels import Speed
from benchmarks.modes import Written
from benchmarks.outcome import Outcome
from benchmarks.plots import plot_growth, plot_ratios
from benchmarks.table import (
    OUTCOME_HEAD,
    SPEED_HEAD,
    UNIT_HEAD,
    WATCHED_HEAD,
    WRITTEN_HEAD,
    outcome_lines,
    speed_lines,
    unit_lines,
    watched_lines,
    written_lines,
)
from benchmarks.watching import Seen

__all__ = ["Measured", "keep"]

FIGURES = "results.json"
INTRODUCTION = """\
# Benchmarks

Made by `nox -s bench -- --results docs/benchmarks`; [results.json](results.json) has every figure. The contestants of a row ran in turns,
and after each run the trees were compared. Ratios are those of deltasync to the better run of rsync in that row: of the medians, and the
median of the ratios in each round. Bytes are those that TCP carried, counted by a proxy. Memory is that of the largest process of each end.
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one run.

    Attributes:
        machine: What it ran on.
        asked: Its options.
        outcomes: What the contestants of the rows took.
        speeds: What the kernels alone do.
        written: What the ways to change a large file write.
        watched: What watches take.
    """

    machine: dict[str, object]
    asked: dict[str, object]
    outcomes: Sequence[Outcome]
    speeds: Sequence[Speed]
    written: Sequence[Written] = ()
    watched: Sequence[Seen] = ()

    def as_json(self) -> str:
        """A file of all figures."""
        figures = {"outcomes": [one.as_json() for one in self.outcomes], "speeds": [one.as_json() for one in self.speeds]}
        figures["written"] = [one.as_json() for one in self.written]
        figures["watched"] = [one.as_json() for one in self.watched]
        return json.dumps({"machine": self.machine, "asked": self.asked, **figures}, indent=1) + "\n"


def keep(measured: Measured, directory: Path) -> None:
    """Add figures to those of a directory, and make its page and its plots anew."""
    directory.mkdir(parents=True, exist_ok=True)
    figures = directory / FIGURES
    known = json.loads(figures.read_text(encoding="utf-8")) if figures.exists() else {}
    new_rows = {(one.row, one.filesystem) for one in measured.outcomes}
    new_works = {speed.work for speed in measured.speeds}
    new_watches = {seen.row for seen in measured.watched}
    watched = [_restored(Seen, one) for one in known.get("watched", []) if one["row"] not in new_watches]
    outcomes = [_restored(Outcome, one) for one in known.get("outcomes", []) if (one["row"], one["filesystem"]) not in new_rows]
    speeds = [_restored(Speed, one) for one in known.get("speeds", []) if one["work"] not in new_works]
    every = Measured(
        measured.machine,
        measured.asked,
        sorted([*outcomes, *measured.outcomes], key=lambda one: (one.row.partition("-")[0], one.row, one.filesystem)),
        sorted([*speeds, *measured.speeds], key=lambda speed: speed.work),
        measured.written or [_restored(Written, one) for one in known.get("written", [])],
        sorted([*watched, *measured.watched], key=lambda seen: (seen.row, seen.median_s)),
    )
    figures.write_text(every.as_json(), encoding="utf-8")
    plots = _plots(every.outcomes, directory)
    (directory / "README.md").write_text(_page(every, plots), encoding="utf-8")


def _restored(kind: type[Any], figures: dict[str, Any]) -> Any:  # noqa: ANN401 - of this kind.
    """Make a record of its JSON, which has further figures that follow from these."""
    return kind(**{field.name: figures[field.name] for field in fields(kind) if field.name in figures})


def _plots(outcomes: Sequence[Outcome], directory: Path) -> list[str]:
    made = []
    compared = [one for one in outcomes if not one.units]
    for kind, group in groupby(compared, key=lambda one: one.row.partition("-")[0]):
        if plot_ratios(list(group), directory / f"{kind}.svg"):
            made.append(f"{kind}.svg")
    if plot_growth([one for one in outcomes if one.units], directory / "growth.svg"):
        made.append("growth.svg")
    return made


def _page(measured: Measured, plots: Sequence[str]) -> str:
    machine = ", ".join(f"{name}: {value}" for name, value in measured.machine.items())
    parts = [INTRODUCTION, f"The machine: {machine}.\n", *(f"![{plot.partition('.')[0]}]({plot})\n" for plot in plots)]
    compared = [one for one in measured.outcomes if not one.units]
    if compared:
        parts.append(OUTCOME_HEAD)
        for _, group in groupby(compared, key=lambda one: (one.row, one.filesystem)):
            parts += outcome_lines(list(group))
    if growing := [one for one in measured.outcomes if one.units]:
        parts += ["", UNIT_HEAD, *unit_lines(growing)]
    if measured.written:
        parts += ["", WRITTEN_HEAD, *written_lines(measured.written)]
    if measured.watched:
        parts += ["", WATCHED_HEAD, *watched_lines(measured.watched)]
    if measured.speeds:
        parts += ["", SPEED_HEAD]
        for _, speeds in groupby(measured.speeds, key=lambda speed: speed.work):
            parts += speed_lines(list(speeds))
    return "\n".join(parts) + "\n"
