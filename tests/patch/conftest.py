"""Fixtures of the tests of patching."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.fs.openat2 import DIRECTORY_FLAGS


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory to work in, open to every user."""
    made = tmp_path / "place"
    made.mkdir()
    made.chmod(0o777)
    return made


@pytest.fixture
def dir_fd(place: Path) -> Iterator[int]:
    """`place`, held open."""
    fd = os.open(place, DIRECTORY_FLAGS)
    yield fd
    os.close(fd)
