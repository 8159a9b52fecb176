"""A live session at the receiver: it waits for an earlier one of the same destination to end, and not for long."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deltasync.engine import live_receiver
from deltasync.engine.live_receiver import _alone
from deltasync.errors import ConnectionLost
from deltasync.fs.locks import lock_directory
from deltasync.fs.root import Root


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[int]:
    """A descriptor by which an earlier session holds the destination."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    assert lock_directory(fd)
    yield fd
    os.close(fd)


def ground(place: Path, check: Any) -> Any:
    """What a session knows of its destination."""
    return SimpleNamespace(root=Root.open(os.fsencode(place)), check=check)


def test_an_earlier_session_is_waited_for(tmp_path: Path, earlier: int) -> None:
    """What it was told last is done before anything of this one is; then this one holds the destination."""
    looks: list[int] = []

    def check() -> None:
        looks.append(1)
        if len(looks) == 3:
            os.dup2(os.open(os.devnull, os.O_RDONLY), earlier)

    later = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    with _alone(ground(tmp_path, check)):
        assert len(looks) == 3
        assert not lock_directory(later)
    assert lock_directory(later)
    os.close(later)


@pytest.mark.usefixtures("earlier")
def test_another_watch_of_the_same_destination_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment both go on."""
    monkeypatch.setattr(live_receiver, "PREDECESSOR_S", 0.05)
    with _alone(ground(tmp_path, lambda: None)):
        pass


@pytest.mark.usefixtures("earlier")
def test_whoever_waits_can_be_ended(tmp_path: Path) -> None:
    """As by a connection that breaks."""

    def check() -> None:
        raise ConnectionLost("gone")

    with pytest.raises(ConnectionLost), _alone(ground(tmp_path, check)):
        pass
