"""Where symlinks lead, by what is written in them alone. Pure."""

from __future__ import annotations

import re

__all__ = ["leads_out"]

_CLIMB = re.compile(rb"\A(?:\.\./+)*")


def leads_out(target: bytes, path: bytes) -> bool:
    """Tell whether a symlink leads out of the transfer, or may: rsync's `--safe-links` passes these over.

    It does if it is absolute, if it climbs above the top, and if it climbs after it has gone down, since there may be symlinks on the way.

    Args:
        target: What is in it.
        path: Where it stands, relative to the root of the transfer.
    """
    if not target or target.startswith(b"/"):
        return True
    rest = _CLIMB.sub(b"", target)
    if b"/../" in rest or (len(target) > len(b"/..") and target.endswith(b"/..")):
        return True
    depth = path.count(b"/")
    for part in target.split(b"/")[:-1]:
        if part not in (b"", b"."):
            depth += -1 if part == b".." else 1
        if depth < 0:
            return True
    return target.rpartition(b"/")[2] == b".." and not depth
