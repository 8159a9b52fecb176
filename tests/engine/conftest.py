"""Fixtures of the engine's tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user can reach and write in, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="deltasync-test-"))
    made.chmod(0o777)
    yield made
    for directory, names, _ in os.walk(made):
        for name in names:
            # Before it is gone into: a plain user can't list a directory without permissions, nor remove what is in it.
            if not os.path.islink(os.path.join(directory, name)):
                os.chmod(os.path.join(directory, name), 0o700)
    shutil.rmtree(made)
