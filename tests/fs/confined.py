"""Code that is run in a process of its own, since what it gives up does not come back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.sources import PROJECT

__all__ = ["run_confined"]


def run_confined(code: str, *arguments: str | Path) -> str:
    """Run Python code to its end, which must be good; returns what it printed."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout
