"""What strangers do is told once a second for each address, what trusted clients do always."""

from __future__ import annotations

from collections.abc import Mapping

from deltasync.engine.listen_log import MAX_ADDRESSES, Field, ListenLog


def test_a_stranger_fills_no_disk() -> None:
    """One line for each address and second, and how many were left out; the addresses kept apart are bounded too."""
    lines: list[tuple[str, Mapping[str, Field]]] = []
    now = [0.0]
    log = ListenLog(lambda name, fields: lines.append((name, fields)), lambda: now[0])
    for _ in range(1000):
        log.stranger("refused", "192.0.2.1", why="noise")
    log.stranger("refused", "192.0.2.2", why="noise")
    assert lines == [("refused", {"address": address, "why": "noise"}) for address in ("192.0.2.1", "192.0.2.2")]
    now[0] += 1
    log.stranger("refused", "192.0.2.1", why="late")
    assert lines[2:] == [("untold", {"events": 999}), ("refused", {"address": "192.0.2.1", "why": "late"})]
    for number in range(2 * MAX_ADDRESSES):
        log.stranger("refused", f"address {number}")
    assert len(lines) == 3 + MAX_ADDRESSES
    for _ in range(3):
        log.event("session-begin", root="data")
    assert lines[-3:] == [("session-begin", {"root": "data"})] * 3
