"""`python -m benchmarks [ROW...]`: run the rows, print tables in Markdown, write JSON."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest import Place, Row, contest
from benchmarks.kernels import KERNELS, Speed, kernel_speeds
from benchmarks.modes import MODES, Written, written_by_modes
from benchmarks.outcome import Outcome
from benchmarks.results import Measured, keep
from benchmarks.rows import rows
from benchmarks.server import CIPHER, sshd
from benchmarks.table import OUTCOME_HEAD, SPEED_HEAD, WATCHED_HEAD, WRITTEN_HEAD, outcome_lines, speed_lines, watched_lines, written_lines
from benchmarks.watching import WATCHES, Seen, watches

__all__ = ["main"]

TMPFS = Path("/dev/shm")  # noqa: S108 - the place of tmpfs on Linux.
TEMPORARY = Path(tempfile.gettempdir())
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deltasync-benchmarks"


def main(words: Sequence[str] | None = None) -> None:
    """Run what the command line names."""
    parser = _parser()
    chosen = parser.parse_args(words)
    all_rows = rows(chosen.large_mib << 20, chosen.cache)
    others = (*KERNELS, MODES, *WATCHES)
    unknown = [word for word in chosen.rows if not any(_is_meant(name, [word]) for name in (*(row.name for row in all_rows), *others))]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(row.name for row in all_rows)}, {', '.join(others)}")
    outcomes: list[Outcome] = []
    speeds: list[Speed] = []
    written: list[Written] = []
    watched: list[Seen] = []
    try:
        _contests(
            [row for row in all_rows if _is_meant(row.name, chosen.rows) and (chosen.rows or not row.heavy)],
            chosen.work or [TMPFS],
            chosen.rounds,
            outcomes,
        )
        _speeds([name for name in KERNELS if _is_meant(name, chosen.rows)], chosen.large_mib << 20, chosen.rounds, speeds)
        if MODES in chosen.rows:
            _modes(chosen.large_mib << 20, chosen.rounds, (chosen.work or [TEMPORARY])[0], written)
        _watches([name for name in WATCHES if _is_meant(name, chosen.rows)], chosen.rounds, chosen.large_mib << 20, watched)
    finally:
        measured = Measured(_machine(), {"large_mib": chosen.large_mib, "rounds": chosen.rounds}, outcomes, speeds, written, watched)
        if chosen.json:
            chosen.json.write_text(measured.as_json())
        if chosen.results and (outcomes or speeds or written or watched):
            keep(measured, chosen.results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to run, or the beginning of their names, as `delta`; all without any")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contestant (default 5)")
    parser.add_argument("--work", type=Path, action="append", help="where the data is made; may be repeated (default /dev/shm: tmpfs)")
    parser.add_argument("--large-mib", type=int, default=1024, help="size of the large file, in MiB (default 1024)")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"where downloads are kept (default {CACHE})")
    parser.add_argument("--json", type=Path, help="write the figures to this file, also those of a run that fails later")
    parser.add_argument("--results", type=Path, help="renew the rows that are run in this directory's tables and plots, as docs/benchmarks")
    return parser


def _is_meant(name: str, words: Sequence[str]) -> bool:
    return not words or any(name == word or name.startswith(f"{word}-") for word in words)


def _contests(chosen: Sequence[Row], works: Sequence[Path], rounds: int, outcomes: list[Outcome]) -> None:
    """Run rows in each of the directories; what is measured is printed and added as it comes."""
    if chosen:
        print(OUTCOME_HEAD, flush=True)
    for above in works if chosen else ():
        work = Path(tempfile.mkdtemp(prefix="deltasync-bench-", dir=above))
        try:
            with sshd(work / "server") as server:
                for row in chosen:
                    made = contest(row, Place(work, server), rounds)
                    print(*outcome_lines(made), sep="\n", flush=True)
                    outcomes += made
                    shutil.rmtree(work / row.name)
        finally:
            shutil.rmtree(work)


def _speeds(names: Sequence[str], large_bytes: int, rounds: int, speeds: list[Speed]) -> None:
    """Measure kinds of work; what is measured is printed and added as it comes."""
    if names:
        print(f"\n{SPEED_HEAD}", flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(dir=TMPFS if TMPFS.is_dir() else None) as place:
            made = kernel_speeds(name, large_bytes, rounds, Path(place))
        print(*speed_lines(made), sep="\n", flush=True)
        speeds += made


def _modes(large_bytes: int, rounds: int, work: Path, written: list[Written]) -> None:
    """Measure the ways to change a large file; what is measured is printed and added as it comes."""
    print(f"\n{WRITTEN_HEAD}", flush=True)
    for made in written_by_modes(large_bytes, rounds, work):
        print(*written_lines(made), sep="\n", flush=True)
        written += made


def _watches(names: Sequence[str], rounds: int, large_bytes: int, watched: list[Seen]) -> None:
    """Measure watches; what is measured is printed and added as it comes."""
    if names:
        print(f"\n{WATCHED_HEAD}", flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="deltasync-bench-", dir=TMPFS if TMPFS.is_dir() else None) as place:
            for seen in watches(name, Path(place), rounds, large_bytes=large_bytes):
                print(*watched_lines([seen]), sep="\n", flush=True)
                watched.append(seen)


def _machine() -> dict[str, object]:
    rsync = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True).stdout.split("\n", 1)[0]
    versions = {"system": platform.platform(), "python": platform.python_version(), "rsync": rsync, "cipher": CIPHER}
    return {**versions, "processor": _processor(), "cores": os.cpu_count()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
