"""Run one command and report what it cost: a script of its own, since a process begins with the memory peak of whoever started it.

Started as `python -I -S runner.py DESCRIPTOR COMMAND...`; writes one JSON object to the descriptor. So no peak below this script's own,
some 9 MiB, can be told.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

__all__ = ["main"]


def main() -> None:
    """Do so; what Python ignores by itself, the command hears again, and a request to end is passed on to it."""
    report, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(report, False)
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(pid, number))
    _, status, usage = os.wait4(pid, 0)
    figures = {
        "wall_s": time.perf_counter() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss << 10,
        "status": os.waitstatus_to_exitcode(status),
    }
    os.write(report, json.dumps(figures).encode())


if __name__ == "__main__":
    main()
