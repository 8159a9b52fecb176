"""Connections that are cut, stall or trickle at chosen bytes, through the command itself: the next run goes on from what has come."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.cutting import Connection, Cutter, Deed, Fate, Passed, Way
from tests.listeners import Client, Listening

pytestmark = pytest.mark.timeout(0 if "DELTASYNC_CUTS" in os.environ else 120)

CUTS = int(os.environ.get("DELTASYNC_CUTS", "2"))
SEED = int(os.environ.get("DELTASYNC_CUTS_SEED", "1"))
LONG = "DELTASYNC_CUTS" in os.environ
SIZE = 8 << 20
DEEDS: tuple[Deed, ...] = ("stall", "trickle")
EXITS = {"cut": 10, "stall": 30, "trickle": 0}
FRAME_BYTES = 512 << 10
OWN_BYTES = 64 << 10
"""What a session costs by itself, the checksums of what is there already, and what was changed in between."""
LET_IN_BYTES = 1000
"""Within these the handshake and the welcome end."""
KEPT_BYTES = 1 << 20
"""What is longer is kept."""
LOG = logging.getLogger(__name__)


def allowed(sent: int) -> int:
    """Return how many bytes may come again: one in twenty and the frame that was cut, or all of what is too short to be kept."""
    too_short = sent <= KEPT_BYTES + FRAME_BYTES + OWN_BYTES
    return (sent if too_short else sent // 20 + FRAME_BYTES) + OWN_BYTES


class Places:
    """A listener behind a proxy, a client, and a directory of one large file at either."""

    def __init__(self, base: Path) -> None:
        self.far, self.near = base / "far", base / "near"
        self.far.mkdir()
        self.near.mkdir()
        self.listening = Listening(base, ("--root", f"data={self.far}"))
        self.cutter = Cutter(self.listening.port)
        self.client: Client = self.listening.client("client", "data")
        self.client.know(self.address, self.listening.key)
        self.pulls = False

    @property
    def address(self) -> str:
        """Where the proxy is."""
        return f"127.0.0.1:{self.cutter.port}"

    @property
    def source(self) -> Path:
        """Where the file comes from."""
        return self.far if self.pulls else self.near

    @property
    def dest(self) -> Path:
        """Where it goes."""
        return self.near if self.pulls else self.far

    def close(self) -> None:
        """End both."""
        self.cutter.close()
        self.listening.close()

    def begin(self, content: bytes, old: bytes | None, *, pulls: bool = False) -> None:
        """Have a file at the source, and an old version of it at the destination, or none."""
        self.pulls = pulls
        for name in os.listdir(self.dest):
            (self.dest / name).unlink()
        (self.source / "f").write_bytes(content)
        if old is not None:
            (self.dest / "f").write_bytes(old)
            os.utime(self.dest / "f", ns=(10**18, 10**18))

    def run(self, *fates: Fate, retries: int = 0, words: tuple[str, ...] = ()) -> tuple[int, dict[str, Any], Connection]:
        """Push or pull; returns the exit code, the summary, and what went through the last connection."""
        self.cutter.fates = list(fates)
        options = ("--json", "--no-compress", "--retries", str(retries), *words)
        places = ("pull", "@data/", self.near) if self.pulls else ("push", f"{self.near}/", "@data")
        done = self.client.run(*places, *options, address=self.address)
        self.wait()
        return done.code, json.loads(done.out.splitlines()[-1]), self.cutter.connections[-1]

    def wait(self) -> None:
        """Wait until no session runs."""
        deadline = monotonic() + 20
        while subprocess.run(["pgrep", "-P", str(self.listening.process.pid)], capture_output=True, check=False).stdout.strip():
            assert monotonic() < deadline, "a session does not end"
            sleep(0.01)

    def stands(self) -> tuple[bytes | None, list[str]]:
        """What the file at the destination holds, if it is there, and all names beside it."""
        file = self.dest / "f"
        return file.read_bytes() if file.exists() else None, sorted(os.listdir(self.dest))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """The places of all these tests."""
    made = Places(tmp_path_factory.mktemp("cut"))
    yield made
    made.close()


def versions(rng: random.Random) -> tuple[bytes, bytes, bytes]:
    """An old version of a file, a new one, half of which is new, and one that changed while it was sent."""
    old = rng.randbytes(SIZE)
    new = bytearray(old)
    for at in range(0, SIZE, 4 << 20):
        new[at + 12_345 : at + 12_345 + (2 << 20)] = rng.randbytes(2 << 20)
    for _ in range(50):
        at = rng.randrange(SIZE - 4000)
        new[at : at + 4000] = rng.randbytes(4000)
    return old, bytes(new), bytes(new[:100]) + rng.randbytes(5000) + bytes(new[100:])


@dataclass(frozen=True)
class Kind:
    """A kind of run, and which way it is cut.

    Attributes:
        delta: There is an old version at the destination.
        pulls: The client fetches the file.
        way: Where bytes are counted until it is cut.
    """

    delta: bool
    pulls: bool
    way: Way


KINDS = {
    "push-new": Kind(delta=False, pulls=False, way="up"),
    "push-delta": Kind(delta=True, pulls=False, way="up"),
    "push-delta-answers": Kind(delta=True, pulls=False, way="down"),
    "pull-new": Kind(delta=False, pulls=True, way="down"),
    "pull-delta": Kind(delta=True, pulls=True, way="down"),
    "pull-delta-answers": Kind(delta=True, pulls=True, way="up"),
}


def fates(kind: Kind, whole: Passed, rng: random.Random) -> Iterator[Fate]:
    """Yield what shall happen: cuts at random places, and at the starts of records and a byte beside; in the long form also stalls."""
    chosen = [rng.randrange(1, whole.bytes) for _ in range(CUTS // len(KINDS) or 1)]
    beside = (-1, 0, 1) if LONG else (rng.choice((-1, 0, 1)),)
    starts = whole.starts if LONG else rng.sample(whole.starts, 1)
    for at in (*chosen, *(start + step for start in starts for step in beside)):
        yield Fate(at, "cut", kind.way)
    if LONG:
        yield from (Fate(rng.randrange(1, whole.bytes), deed, kind.way) for _ in range(5) for deed in DEEDS)


@pytest.mark.parametrize("name", KINDS)
def test_what_breaks_anywhere_costs_no_more_than_a_frame(name: str, places: Places) -> None:
    """The file is old or new; what came is kept and used, also when the source has changed since, and nothing of it is left behind."""
    rng = random.Random(f"{SEED} {name}")
    kind = KINDS[name]
    content: Way = "down" if kind.pulls else "up"
    old, new, later = versions(rng)
    base = old if kind.delta else None
    places.begin(new, base, pulls=kind.pulls)
    code, _, whole = places.run()
    assert code == 0
    complete = whole.went(content).bytes
    worst = 0
    for number, fate in enumerate(fates(kind, whole.went(kind.way), rng)):
        target = later if number % 3 == 2 else new
        places.begin(new, base, pulls=kind.pulls)
        code, _, first = places.run(fate, words=("--timeout", "1") if fate.deed == "stall" else ())
        # Who is cut off before it is let in can't tell that from being refused; whose last word is lost has everything already.
        codes = [EXITS[fate.deed], *((5,) if (fate.at or 0) < LET_IN_BYTES else ())]
        codes += [0] if kind.pulls and kind.way == "up" and places.stands()[0] == new else []
        assert code in codes, f"{fate}: {code}"
        assert places.stands()[0] in (base, new), fate
        (places.source / "f").write_bytes(target)
        code, summary, second = places.run()
        sent = first.went(content).bytes
        resent = sent + second.went(content).bytes - complete
        worst = max(worst, resent)
        told = f"{fate}: {sent} bytes, {resent} again of {complete}; {summary['problems']}"
        assert (code, *places.stands()) == (0, target, ["f"]), told
        assert resent <= allowed(sent), told
    LOG.info("%s: %d times, of %d bytes at most %d came again", name, number + 1, complete, worst)


def test_one_command_goes_on_where_the_connection_broke(places: Places) -> None:
    """It connects again by itself, several times, and sends no more than a frame each time again; the counts add up."""
    _, new, _ = versions(random.Random(SEED))
    places.begin(new, None)
    before = len(places.cutter.connections)
    code, summary, _ = places.run(Fate(3 << 20), Fate(40), Fate(2 << 20), retries=4)
    passed = [one.up.bytes for one in places.cutter.connections[before:]]
    assert (code, *places.stands(), len(passed)) == (0, new, ["f"], 4)
    assert sum(passed) <= 1.05 * SIZE + 3 * (FRAME_BYTES + OWN_BYTES)
    assert summary["files_sent"] == summary["entries_changed"] == 1
    # What was given to the system and cut off before it arrived counts as sent.
    assert SIZE <= summary["literal_bytes"] < summary["bytes_sent"]
    assert sum(passed) <= summary["bytes_sent"]


def test_a_peer_that_falls_silent_is_given_up(places: Places) -> None:
    """Both ends stop waiting after `--timeout`, on a connection that stays open; what came is kept."""
    _, new, _ = versions(random.Random(SEED))
    places.begin(new, None)
    began_at = monotonic()
    code, summary, first = places.run(Fate(5 << 20, "stall"), words=("--timeout", "1"))
    assert (code, summary["exit_code"]) == (30, 30)
    assert monotonic() - began_at < 15
    code, _, second = places.run()
    assert (code, *places.stands()) == (0, new, ["f"])
    assert first.up.bytes + second.up.bytes - SIZE <= allowed(first.up.bytes)


@pytest.mark.parametrize("at", [1, 1 << 20])
def test_a_trickle_is_no_obstacle(at: int, places: Places) -> None:
    """Bytes that come one by one make what they make together."""
    content = random.Random(at).randbytes(2 << 20)
    places.begin(content, None)
    assert places.run(Fate(at, "trickle"))[0] == 0
    assert places.stands() == (content, ["f"])
