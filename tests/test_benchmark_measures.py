"""What the benchmarks measure with: costs of processes, bytes that pass, ratios, tables, and the speeds of the kernels."""

from __future__ import annotations

import socket
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from benchmarks.counting import counting_proxy
from benchmarks.kernels import KERNELS, THREADS, Speed, kernel_speeds
from benchmarks.outcome import Outcome, compared
from benchmarks.table import OUTCOME_HEAD, SPEED_HEAD, outcome_lines, speed_lines
from benchmarks.usage import Running, Usage, measured
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


def test_the_table_has_a_line_for_each_contestant() -> None:
    """With as many cells as its head."""
    lines = outcome_lines(OUTCOMES)
    assert lines[0] == "| row | tmpfs | deltasync | 3.000 | 0.500 | 0.500 | 1,000 | 0.500 | 1.50 + 0.75 | 20, 30 |"
    assert lines[3] == "| row | tmpfs | rsync --inplace | 10.000 |  |  | 8,000 |  | 4.00 + 0.75 | 20, 30 |"
    assert {line.count("|") for line in (*OUTCOME_HEAD.splitlines(), *lines)} == {11}


def test_the_table_of_speeds_has_a_line_for_each_program() -> None:
    """One thread beside two; who has only one leaves the other empty."""
    speeds = [Speed("scan", "a", 1, 10**9, [2.0, 1.0, 4.0]), Speed("scan", "a", 2, 10**9, [0.5]), Speed("scan", "b", 1, 10**9, [3.0])]
    lines = speed_lines(speeds)
    assert lines == ["| scan | a | 0.5 | 2 |", "| scan | b | 0.3333 |  |"]
    assert {line.count("|") for line in (*SPEED_HEAD.splitlines(), *lines)} == {5}


@pytest.mark.parametrize("work", KERNELS)
def test_kernels_are_measured_with_one_thread_and_with_two(work: str, tmp_path: Path) -> None:
    """Those that are there; each as often as asked for."""
    speeds = kernel_speeds(work, 8 << 20, 2, tmp_path)
    ours = "BLAKE3" if work == "kernel-compare" else engine_name()
    assert [speed.threads for speed in speeds if speed.program == ours] == list(THREADS)
    assert all(speed.work == work and len(speed.wall_s) == 2 and speed.median_gb_s > 0 for speed in speeds)
