"""Lines for people, in rsync's words."""

from __future__ import annotations

import pytest

from deltasync.cli.text import item_line, name_line, stats_lines, total_lines
from deltasync.engine.job import Summary


@pytest.mark.parametrize(
    ("code", "path", "link", "itemized", "named"),
    [
        (">f+++++++++", b"a/b", b"", ">f+++++++++ a/b", "a/b"),
        ("<f.st......", b"a", b"", "<f.st...... a", "a"),
        ("cd+++++++++", b".", b"", "cd+++++++++ ./", "./"),
        (".d..t......", b"a", b"", ".d..t...... a/", "a/"),
        (".f...p.....", b"a", b"", ".f...p..... a", None),
        ("cL+++++++++", b"l", b"to", "cL+++++++++ l -> to", "l -> to"),
        (".L..t......", b"l", b"to", ".L..t...... l -> to", None),
        ("hf+++++++++", b"h", b"a/f", "hf+++++++++ h => a/f", "h => a/f"),
        ("hL+++++++++", b"h", b"l", "hL+++++++++ h => l", "h => l"),
        ("*deleting", b"a", b"", "*deleting   a", "deleting a"),
        ("*deleting", b"d/", b"", "*deleting   d/", "deleting d/"),
        (">f+++++++++", b"\xff\x1b[2J\n\xc3\xa9", b"", ">f+++++++++ \\xff\\x1b[2J\\x0a\u00e9", "\\xff\\x1b[2J\\x0a\u00e9"),
    ],
)
def test_items_are_lines_as_rsync_prints_them(code: str, path: bytes, link: bytes, itemized: str, named: str | None) -> None:
    """`-i` prints all, `-v` names without attributes; a terminal is safe from any name."""
    assert item_line(code, path, link) == itemized
    assert name_line(code, path, link) == named


def test_totals_are_those_of_rsync() -> None:
    """Bytes, rate and speedup; a dry run says so; nothing divides by zero."""
    summary = Summary(bytes_total=10_000, bytes_sent=1500, bytes_received=500, elapsed_s=2.0)
    assert total_lines(summary, dry_run=False) == [
        "sent 1,500 bytes  received 500 bytes  1,000.00 bytes/sec",
        "total size is 10,000  speedup is 5.00",
    ]
    assert total_lines(Summary(), dry_run=True)[1] == "total size is 0  speedup is 0.00 (DRY RUN)"


def test_stats_tell_every_figure() -> None:
    """Each number of the summary stands in the block once."""
    summary = Summary(
        files_total=1001, files_sent=1002, entries_changed=1003, files_deleted=1004, bytes_total=1005, bytes_sent=1006,
        bytes_received=1007, literal_bytes=1008, matched_bytes=1009, resent_whole=1010, update_modes={"stage": 1011},
    )  # fmt: skip
    block = "\n".join(stats_lines(summary))
    assert all(block.count(f"{number:,}") == 1 for number in range(1001, 1012))
