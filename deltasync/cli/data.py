"""What the command line says about a data connection beside SSH."""

from __future__ import annotations

import re

from deltasync.channel.address import DataPlan
from deltasync.errors import UsageError
from deltasync.tree.names import shown

__all__ = ["data_plan"]

_PORTS = r"(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?"
_HOST = r"(?P<host>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^:\[\]\s]+)"
_WAYS = [re.compile(way) for way in ("tcp", f"tcp:{_PORTS}", f"tcp:{_HOST}", f"tcp:{_HOST}:{_PORTS}")]
MAX_PORT = 65535


def data_plan(text: str | None, *, over_ssh: bool) -> DataPlan | None:
    """Return the plan; None where no data connection is wanted.

    Args:
        text: `ssh`, `tcp`, `tcp:PORTS`, `tcp:HOST` or `tcp:HOST:PORTS`, PORTS being one port or two with a dash between; None for `ssh`.
        over_ssh: Whether the other end is reached by SSH.

    Raises:
        UsageError: It is none of these, or the other end is not reached by SSH.
    """
    if text in (None, "ssh"):
        return None
    found = next((match for way in _WAYS if (match := way.fullmatch(text or "")) is not None), None)
    if found is None:
        raise UsageError(f"--data {shown(text or '')}: ssh, tcp, tcp:PORTS or tcp:HOST[:PORTS], with PORTS as in 60000-60010")
    said = found.groupdict()
    if not over_ssh:
        raise UsageError("--data tcp goes with a place over SSH, as in HOST:PATH")
    host = (said.get("host") or "").strip("[]") or None
    if said.get("first") is None:
        return DataPlan(host)
    first = int(said["first"])
    last = int(said["last"] or first)
    if not 0 < first <= last <= MAX_PORT:
        raise UsageError(f"--data {shown(text or '')}: ports are from 1 to {MAX_PORT}, the first before the last")
    return DataPlan(host, first, last)
