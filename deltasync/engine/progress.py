"""How far a run has come, in numbers: what the two roles tell while they work."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Progress"]


class Progress(NamedTuple):
    """How far a run has come; every number only grows.

    Attributes:
        files_total: Regular files seen by the scan so far.
        bytes_total: Their content bytes.
        files_done: Regular files that need no more work (unchanged, sent, or failed).
        bytes_done: Their content bytes, with what is sent of the file in hand.
        bytes_sent: Bytes of deltasync on the channel, both directions.
        total_known: Whether the scan is complete, so that the totals are final.
        current: The destination-relative path of the file in hand; `b""` for none.
    """

    files_total: int = 0
    bytes_total: int = 0
    files_done: int = 0
    bytes_done: int = 0
    bytes_sent: int = 0
    total_known: bool = False
    current: bytes = b""
