"""What a person reads: itemized lines, names, and the figures at the end, worded as rsync words them. Pure."""

from __future__ import annotations

from deltasync.engine.job import Summary
from deltasync.tree.itemize import DELETING
from deltasync.tree.names import shown

__all__ = ["item_line", "name_line", "stats_lines", "total_lines"]


def item_line(code: str, path: bytes, link: bytes) -> str:
    """Return the line of `-i` for an item of the engine: rsync's `%i %n%L`."""
    if code == DELETING:
        return f"{DELETING}   {shown(path)}"
    return f"{code} {_name(code, path, link)}"


def name_line(code: str, path: bytes, link: bytes) -> str | None:
    """Return the line of `-v`: the name alone; None where only attributes changed, which `-v` does not tell but of directories."""
    if code == DELETING:
        return f"deleting {shown(path)}"
    if code[0] == "." and code[1] != "d":
        return None
    return _name(code, path, link)


def _name(code: str, path: bytes, link: bytes) -> str:
    name = shown(path) + ("/" if code[1] == "d" else "")
    if not link:
        return name
    return f"{name} {'=>' if code[0] == 'h' else '->'} {shown(link)}"


def total_lines(summary: Summary, *, dry_run: bool) -> list[str]:
    """Return the last two lines of `-v` and `--stats`."""
    moved = summary.bytes_sent + summary.bytes_received
    rate = moved / summary.elapsed_s if summary.elapsed_s > 0 else 0.0
    speedup = summary.bytes_total / moved if moved else 0.0
    return [
        f"sent {summary.bytes_sent:,} bytes  received {summary.bytes_received:,} bytes  {rate:,.2f} bytes/sec",
        f"total size is {summary.bytes_total:,}  speedup is {speedup:,.2f}{' (DRY RUN)' if dry_run else ''}",
    ]


def stats_lines(summary: Summary) -> list[str]:
    """Return the figures of `--stats`; the two lines of `total_lines` come after them."""
    modes = ", ".join(f"{name} {count:,}" for name, count in summary.update_modes.items())
    return [
        f"Number of files: {summary.files_total:,}",
        f"Number of changed entries: {summary.entries_changed:,}",
        f"Number of deleted files: {summary.files_deleted:,}",
        f"Number of regular files transferred: {summary.files_sent:,}",
        f"Number of files sent again whole: {summary.resent_whole:,}",
        f"Number of problems: {len(summary.problems):,}",
        f"Total file size: {summary.bytes_total:,} bytes",
        f"Literal data: {summary.literal_bytes:,} bytes",
        f"Matched data: {summary.matched_bytes:,} bytes",
        f"Files written by: {modes}",
        f"Total bytes sent: {summary.bytes_sent:,}",
        f"Total bytes received: {summary.bytes_received:,}",
        f"Elapsed time: {summary.elapsed_s:,.3f} seconds",
        f"Channel: {summary.channel}, cipher {summary.cipher}, engine {summary.engine}",
    ]
