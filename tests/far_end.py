"""A program for the far end of an SSH session: it hands its standard input and output to the test, and ends when the test says so.

Run as `far_end.py SOCKET`: the two descriptors travel through the Unix socket at that path; what comes back is the exit code, in decimal,
and no more than the end of the connection is 0.
"""

from __future__ import annotations

import os
import socket
import sys

__all__ = ["main"]


def main() -> int:
    """Hand over, wait, and return the exit code."""
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(sys.argv[1])
        socket.send_fds(control, [b"\0"], [0, 1])
        for fd in (0, 1):
            # The test holds the only ones from now on: closing them there is the end of the stream.
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, fd)
            os.close(nowhere)
        return int(control.recv(10) or b"0")


if __name__ == "__main__":
    sys.exit(main())
