"""Time left: told when it can be known, and honest then."""

from __future__ import annotations

from deltasync.cli.estimate import Estimate, Estimator, progress_text
from deltasync.engine.job import Progress

START = Progress(files_total=1000, bytes_total=1_000_000, total_known=True)


def test_nothing_is_foretold_while_the_total_grows() -> None:
    """A scan that goes on makes every forecast a lie."""
    estimator = Estimator()
    estimator.add(0.0, START._replace(total_known=False))
    assert estimator.add(5.0, START._replace(total_known=False, bytes_done=5000, bytes_sent=5000)) == Estimate(1000.0, None)


def test_nothing_is_foretold_at_once() -> None:
    """The first moments say nothing about the rest."""
    estimator = Estimator()
    estimator.add(0.0, START)
    assert estimator.add(1.0, START._replace(bytes_done=10_000)).left_s is None


def test_bytes_foretell() -> None:
    """A tenth in 3 seconds leaves 27."""
    estimator = Estimator()
    estimator.add(0.0, START)
    assert estimator.add(3.0, START._replace(bytes_done=100_000, files_done=1)).left_s == 27.0


def test_many_small_files_count_by_their_number() -> None:
    """Of bytes and files the slower decides."""
    estimator = Estimator()
    estimator.add(0.0, START)
    assert estimator.add(3.0, START._replace(bytes_done=900_000, files_done=100)).left_s == 27.0


def test_a_stall_has_no_end_in_sight() -> None:
    """When nothing has moved within the window, nothing is promised; old speed does not count."""
    estimator = Estimator()
    estimator.add(0.0, START)
    still = START._replace(bytes_done=500_000)
    estimator.add(3.0, still)
    estimator.add(30.0, still)
    assert estimator.add(60.0, still).left_s is None


def test_what_is_done_takes_no_time() -> None:
    """At the end nothing is left, however short the run was."""
    assert Estimator().add(0.0, START._replace(files_done=1000, bytes_done=1_000_000)).left_s == 0.0


def test_a_growing_total_has_a_plus() -> None:
    """The figures say whether the totals are final."""
    progress = Progress(files_total=1234, bytes_total=2048, files_done=5, bytes_done=1024)
    assert progress_text(progress, Estimate(0.0, None)) == "5/1,234+ files  1.00 KiB/2.00 KiB+  0 B/s  time left unknown"
    known = progress._replace(total_known=True)
    assert progress_text(known, Estimate(2048.0, 61.0)) == "5/1,234 files  1.00 KiB/2.00 KiB  2.00 KiB/s  0:01:01 left"
