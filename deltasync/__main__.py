"""`python -m deltasync`: the same as the `deltasync` command."""

from __future__ import annotations

from deltasync.cli.main import entry

__all__ = ["entry"]

if __name__ == "__main__":
    entry()
