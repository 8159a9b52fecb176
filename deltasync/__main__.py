"""`python -m deltasync`: the same as the `deltasync` command."""

from __future__ import annotations

import sys

from deltasync.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
