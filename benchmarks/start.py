"""The rows of starting: the version alone, and a push of nothing over SSH beside SSH itself."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.contest import Contestant, Place, Row, deltasync, rsync
from benchmarks.server import CIPHER
from benchmarks.trees import equal

__all__ = ["start_rows"]


def _nothing(_source: Path) -> None:
    """Make nothing."""


def _version(_place: Place) -> list[Contestant]:
    command = str(Path(sys.executable).parent / "deltasync")
    return [
        Contestant("deltasync --version", lambda _source, _dest: [command, "--version"], ours=True),
        Contestant("python -c pass", lambda _source, _dest: [sys.executable, "-c", "pass"], aside=True),
    ]


def _empty(place: Place) -> list[Contestant]:
    words = ["ssh", "-F", str(place.server.ssh_config), "-c", CIPHER, place.host, "true"]
    return [deltasync(place), rsync(place), Contestant("ssh true", lambda _source, _dest: words, aside=True)]


def start_rows() -> list[Row]:
    """Return the rows."""
    return [
        Row("start-version", _nothing, equal, _version, wire=False),
        Row("start-empty-push", _nothing, equal, _empty),
    ]
