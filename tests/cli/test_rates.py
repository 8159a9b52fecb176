"""Amounts: rsync's rates, and sizes and times as people read them."""

from __future__ import annotations

import subprocess

import pytest

from deltasync.cli.rates import duration, parse_rate, size

GOOD = {
    "0": 0, "100": 102_400, "1.5": 2048, "1.5m": 1_572_864, "1K": 1024, "2KB": 2048, "1KiB": 1024,
    "10MB": 10_000_384, "1g": 1 << 30, "1t": 1 << 40,
    "1p": 1 << 50, "1024b": 1024, "512B": 1024, "0.5": 1024, ".5m": 524_288, "1.": 1024, "1m+1": 1_048_576, "1536b-1": 1024, "0b": 0,
}  # fmt: skip
BAD = ["", "m", "1x", "-1", "1kbb", "1kb2", "0.1", "511b", "1 m", "1+2", "1e3", "9999999p", "٣"]


@pytest.mark.parametrize(("text", "bytes_s"), GOOD.items())
def test_a_rate_is_read_as_rsync_reads_it(text: str, bytes_s: int) -> None:
    """KiB by default, suffixes by 1024 or 1000, rounded to KiB; 0 is no limit."""
    assert parse_rate(text) == bytes_s


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_rate_is_refused(text: str) -> None:
    """Neither a wrong word nor a rate beneath 512 bytes a second passes."""
    with pytest.raises(ValueError, match=r"is not a rate|is too (small|large)"):
        parse_rate(text)


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("text", [*GOOD, *BAD[2:-3]])
def test_rsync_accepts_and_refuses_the_same(text: str) -> None:
    """What rsync takes for a rate is one here, but for rates without a digit, which it takes for 0."""
    done = subprocess.run(["rsync", f"--bwlimit={text}", "/dev/null"], capture_output=True, check=False, timeout=10)
    assert (done.returncode == 0) == (text in GOOD)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "0.98 KiB"), (1536, "1.50 KiB"), (12_345_678, "11.8 MiB"), (1 << 60, "1,024.0 PiB")],
)
def test_a_size_has_three_digits(amount: int, text: str) -> None:
    """Sizes are short, whatever their magnitude."""
    assert size(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (0.1, "0:00:01"), (59.5, "0:01:00"), (3661, "1:01:01"), (360_000, "100:00:00")]
)
def test_a_duration_is_rounded_up(seconds: float, text: str) -> None:
    """What takes any time at all takes a second."""
    assert duration(seconds) == text
