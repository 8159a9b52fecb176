"""`python -m benchmarks [ROW...]`: run the rows, print medians and ratios, write JSON."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
from pathlib import Path

from benchmarks.contest import Outcome, Place, contest
from benchmarks.rows import rows
from benchmarks.server import CIPHER, sshd

__all__ = ["main"]


def main() -> None:
    """Run what the command line names."""
    names = [row.name for row in rows()]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows to run, of {', '.join(names)}; all without any")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contestant (default 5)")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm"), help="where the data is made (default /dev/shm: tmpfs)")  # noqa: S108
    parser.add_argument("--large-mib", type=int, default=1024, help="size of the large file, in MiB (default 1024)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    unknown = set(chosen.rows) - set(names)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    work = Path(tempfile.mkdtemp(prefix="deltasync-bench-", dir=chosen.work))
    outcomes: list[Outcome] = []
    try:
        with sshd(work / "server") as config:
            for row in rows(chosen.large_mib << 20):
                if not chosen.rows or row.name in chosen.rows:
                    made = contest(row, Place(work, config), chosen.rounds)
                    _print(made)
                    outcomes += made
                    shutil.rmtree(work / row.name)
    finally:
        shutil.rmtree(work)
    if chosen.json:
        machine = {"system": platform.platform(), "python": platform.python_version(), "processor": _processor(), "cipher": CIPHER}
        chosen.json.write_text(json.dumps({"machine": machine, "outcomes": [one.as_json() for one in outcomes]}, indent=1) + "\n")


def _print(outcomes: list[Outcome]) -> None:
    ours = next(one for one in outcomes if one.contestant == "deltasync")
    for one in outcomes:
        cpu_s = sum(one.cpu_s) / len(one.cpu_s)
        ratio = ""
        if one is not ours:
            ratio = f"   deltasync takes {ours.median_s / one.median_s:.2f} of it, {ours.wire_bytes / one.wire_bytes:.3f} of the bytes"
        measured = f"median {one.median_s:7.3f} s of {len(one.wall_s)}, own CPU {cpu_s:6.3f} s, {one.wire_bytes:13,} bytes"
        print(f"{one.row:20} {one.contestant:15} {measured}{ratio}", flush=True)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
