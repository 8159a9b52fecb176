"""What the benchmarks measure with: costs of processes, bytes that pass, ratios, tables, and the speeds of the kernels."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks.counting import counting_proxy
from benchmarks.kernels import KERNELS, THREADS, Speed, kernel_speeds
from benchmarks.modes import written_by_modes
from benchmarks.outcome import Outcome, compared
from benchmarks.plots import plot_growth, plot_ratios
from benchmarks.results import Measured, keep
from benchmarks.table import (
    OUTCOME_HEAD,
    SPEED_HEAD,
    UNIT_HEAD,
    WRITTEN_HEAD,
    outcome_lines,
    speed_lines,
    unit_lines,
    watched_lines,
    written_lines,
)
from benchmarks.usage import Running, Usage, measured
from benchmarks.watching import watches
from deltasync._native import engine_name


def python(code: str) -> list[str]:
    """A command that runs this code."""
    return [sys.executable, "-S", "-c", code]


def test_the_cost_of_a_command_is_its_own() -> None:
    """Its time, its processor time and its memory are measured, whatever this process has; what its children take counts as its own."""
    ours = bytearray(100 << 20)
    small = measured(python("import time; time.sleep(0.2)"))
    busy = "import time; x = b'1' * (80 << 20); a = time.process_time()\nwhile time.process_time() < a + 0.2: pass"
    large = measured(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"))
    assert small.wall_s > 0.2
    assert small.peak_bytes < 50 << 20 < 80 << 20 < large.peak_bytes < len(ours) + (80 << 20)
    assert large.cpu_s > 0.2 > small.cpu_s


def test_a_command_that_fails_is_an_error() -> None:
    """With its status, and what it said."""
    with pytest.raises(RuntimeError, match="ended with 3: something"):
        measured(python("import sys; sys.stderr.write('something'); sys.exit(3)"))


def test_a_command_talks_over_its_connection() -> None:
    """It is its standard input and output; the environment is what was given."""
    ours, theirs = socket.socketpair()
    with theirs:
        running = Running(["sh", "-c", 'read line; echo "$line $GIVEN"'], {"GIVEN": "there"}, theirs)
    with ours:
        ours.sendall(b"hello\n")
        assert b"".join(iter(lambda: ours.recv(100), b"")) == b"hello there\n"
    usage, said = running.finish()
    assert (usage.status, said) == (0, "")


def test_bytes_are_counted_in_both_directions() -> None:
    """What passes is counted, and passes unchanged, with the end of each direction."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            heard = b"".join(iter(lambda: connection.recv(65536), b""))
            connection.sendall(heard[:10])

    thread = threading.Thread(target=answer)
    thread.start()
    with counting_proxy(0, partial(socket.create_connection, server.getsockname())) as counter:
        with socket.create_connection(("127.0.0.1", counter.port)) as client:
            client.sendall(bytes(range(250)) * 40)
            client.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: client.recv(65536), b"")) == bytes(range(10))
        thread.join()
    server.close()
    assert (counter.up, counter.down) == (10_000, 10)


def outcome(name: str, wall_s: list[float], wire_bytes: int) -> Outcome:
    """What a contestant took."""
    one = Outcome("row", name, "tmpfs", name.startswith("deltasync"), up_bytes=wire_bytes - 100, down_bytes=100)
    for seconds in wall_s:
        one.add_round(Usage(seconds, seconds / 2, 20 << 20, 0))
    one.add_far([Usage(1.0, 0.5, 10 << 20, 0), Usage(1.0, 0.25, 30 << 20, 0)])
    return one


OUTCOMES = [
    outcome("deltasync", [2.0, 3.0, 4.0], 1000),
    outcome("deltasync, warm", [1.0, 1.0, 1.0], 900),
    outcome("rsync", [6.0, 5.0, 8.0], 2000),
    outcome("rsync --inplace", [4.0, 10.0, 10.0], 8000),
]


def test_ours_are_compared_with_the_better_of_the_others() -> None:
    """In time by medians and in each round, in bytes with the first of them; others are not compared."""
    # By medians 3 of 6; by rounds 2 of 4, 3 of 5, 4 of 8.
    assert compared(OUTCOMES[0], OUTCOMES) == (3 / 6, 0.5, 0.5)
    assert compared(OUTCOMES[1], OUTCOMES) == (1 / 6, 1 / 5, 0.45)
    assert compared(OUTCOMES[2], OUTCOMES) is None
    assert compared(OUTCOMES[0], OUTCOMES[:2]) is None
    beside = Outcome("row", "other", "tmpfs", ours=False, aside=True, wall_s=[0.1, 0.1, 0.1])
    assert compared(OUTCOMES[0], [*OUTCOMES, beside]) == (3 / 6, 0.5, 0.5)
    assert compared(replace(OUTCOMES[0], up_bytes=0), [OUTCOMES[0], replace(OUTCOMES[2], up_bytes=0, down_bytes=0)]) == (3 / 6, 0.5, None)


def test_the_table_has_a_line_for_each_contestant() -> None:
    """With as many cells as its head."""
    lines = outcome_lines(OUTCOMES)
    assert lines[0] == "| row | tmpfs | deltasync | 3.000 | 0.500 | 0.500 | 1,000 | 0.500 | 1.50 + 0.75 | 20, 30 |"
    assert lines[3] == "| row | tmpfs | rsync --inplace | 10.000 |  |  | 8,000 |  | 4.00 + 0.75 | 20, 30 |"
    assert {line.count("|") for line in (*OUTCOME_HEAD.splitlines(), *lines)} == {11}


def test_the_table_of_speeds_has_a_line_for_each_program() -> None:
    """One thread beside two; who has only one leaves the other empty."""
    speeds = [Speed("scan", "a", 1, 10**9, [2.0, 1.0, 4.0]), Speed("scan", "a", 2, 10**9, [0.5]), Speed("scan", "b", 1, 10**9, [3.0])]
    speeds.append(Speed("shake", "c", 1, 100, [2.0], "hands"))
    lines = speed_lines(speeds)
    assert lines == ["| scan | a | 0.5 | 2 | GB |", "| scan | b | 0.3333 |  | GB |", "| shake | c | 50 |  | hands |"]
    assert {line.count("|") for line in (*SPEED_HEAD.splitlines(), *lines)} == {6}


def test_the_table_of_growth_tells_the_time_of_a_unit() -> None:
    """Of each size, the smallest first, whatever comes first."""
    growing = [Outcome(f"files-{units}", "deltasync", "xfs", ours=True, units=units, wall_s=[0.5]) for units in (1000, 50)]
    lines = unit_lines(growing)
    assert lines == ["| files-50 | xfs | 0.500 | 1e+07 | 0, 0 |", "| files-1000 | xfs | 0.500 | 5e+05 | 0, 0 |"]
    assert {line.count("|") for line in (*UNIT_HEAD.splitlines(), *lines)} == {6}


def test_results_are_kept_and_renewed(tmp_path: Path) -> None:
    """Rows that are measured anew replace what was there, others stay; the page has all of them, and the plots what can be compared."""
    growing = [Outcome(f"growth-x-{units}", "deltasync", "tmpfs", ours=True, units=units, wall_s=[units / 1000]) for units in (10, 40)]
    again = [replace(one, wall_s=[one.median_s * 2]) for one in OUTCOMES]
    speeds = [Speed("scan", "a", 1, 10**9, [2.0])]
    for outcomes in (OUTCOMES, growing, again):
        keep(Measured({"system": "this one"}, {"rounds": 3}, outcomes, speeds), tmp_path)
    figures = json.loads((tmp_path / "results.json").read_text())
    page = (tmp_path / "README.md").read_text()
    assert [one["wall_s"] for one in figures["outcomes"]] == [[0.01], [0.04], [6.0], [2.0], [12.0], [20.0]]
    assert all(line in page for line in (*outcome_lines(again), *unit_lines(growing), *speed_lines(speeds)))
    assert "system: this one" in page
    assert {path.name for path in tmp_path.glob("*.svg")} == {"row.svg", "growth.svg"}
    assert all(f"]({path.name})" in page for path in tmp_path.glob("*.svg"))
    assert "row (tmpfs), warm" in (tmp_path / "row.svg").read_text()


def test_the_same_figures_give_the_same_plots(tmp_path: Path) -> None:
    """So that what is kept changes only where something was measured; who has no rival is not plotted."""
    made = []
    for name in ("one.svg", "two.svg"):
        assert plot_ratios(OUTCOMES, tmp_path / name)
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    assert not plot_ratios(OUTCOMES[:2], tmp_path / "none.svg")
    assert not plot_growth([], tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


@pytest.mark.needs("root", "rsync", "mkfs.ext4", "mkfs.xfs")
def test_what_each_way_to_change_a_file_writes_is_counted(tmp_path: Path) -> None:
    """By the disk itself: a staged file is written once, a patched one hardly; a clone only where the filesystem can; nothing is left."""
    made = list(written_by_modes(6 << 20, 1, tmp_path))
    ext4, xfs = ({one.contestant: one for one in outcomes} for outcomes in made)
    assert list(ext4) == ["deltasync, stage", "deltasync, inplace", "rsync", "rsync --inplace"]
    assert set(xfs) - set(ext4) == {"deltasync, clone"}
    for outcomes in (ext4, xfs):
        assert all(one.size == 24 << 20 and len(one.wall_s) == 1 for one in outcomes.values())
        assert outcomes["deltasync, stage"].median_bytes > 24 << 20
        assert outcomes["deltasync, inplace"].median_bytes < 8 << 20
    assert xfs["deltasync, clone"].median_bytes < 8 << 20
    lines = written_lines(made[1])
    assert {line.count("|") for line in (*WRITTEN_HEAD.splitlines(), *lines)} == {6}
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("work", KERNELS)
def test_kernels_are_measured_with_one_thread_and_with_two(work: str, tmp_path: Path) -> None:
    """Those that are there; each as often as asked for."""
    speeds = kernel_speeds(work, 8 << 20, 2, tmp_path)
    ours = {"kernel-compare": "BLAKE3", "kernel-records": "records, opened", "kernel-handshakes": "XK"}.get(work, engine_name())
    threads = [speed.threads for speed in speeds if speed.program == ours]
    assert threads == ([1] if work == "kernel-handshakes" else list(THREADS))
    assert all(speed.work == work and len(speed.wall_s) == 2 and speed.median_a_second > 0 for speed in speeds)


@pytest.mark.parametrize("row", ["watch-save", "watch-large-1g"])
def test_a_watch_is_measured_from_outside(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the change to the same bytes, and what the watch says itself; who is not installed does not compete."""
    monkeypatch.setattr("benchmarks.watching.SAVES", 2)
    monkeypatch.setattr("benchmarks.watching.SETTLED_S", 0.05)
    monkeypatch.setattr("benchmarks.watching.shutil.which", lambda _: None)
    [seen] = watches(row, tmp_path, 1, files=20, large_bytes=1 << 20)
    assert (seen.row, seen.contestant) == (row, "deltasync tcp://")
    assert all(0 < wall_s < 30 for wall_s in seen.wall_s)
    assert 0 < seen.sent_us <= seen.applied_us
    assert watched_lines([seen])[0].startswith(f"| {row} | deltasync tcp:// | ")
