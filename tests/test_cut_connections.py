"""Connections that are cut, stall or trickle at chosen bytes, through the command itself: the next run goes on from what has come."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.cutting import Cutter, Fate, Passed
from tests.listeners import Client, Listening

pytestmark = pytest.mark.timeout(0 if "DELTASYNC_CUTS" in os.environ else 120)

CUTS = int(os.environ.get("DELTASYNC_CUTS", "2"))
SEED = int(os.environ.get("DELTASYNC_CUTS_SEED", "1"))
SIZE = 8 << 20
LOST_BYTES = (1 << 20) + (64 << 10)
"""What may come again in any case: a frame that was cut, what is too short to be kept, and what a session costs by itself."""


class Places:
    """A listener behind a proxy, a client, and a source of one large file."""

    def __init__(self, base: Path) -> None:
        self.root, self.source = base / "root", base / "source"
        self.root.mkdir()
        self.source.mkdir()
        self.listening = Listening(base, ("--root", f"data={self.root}"))
        self.cutter = Cutter(self.listening.port)
        self.client: Client = self.listening.client("client", "data")
        self.client.know(self.address, self.listening.key)

    @property
    def address(self) -> str:
        """Where the proxy is."""
        return f"127.0.0.1:{self.cutter.port}"

    def close(self) -> None:
        """End both."""
        self.cutter.close()
        self.listening.close()

    def begin(self, content: bytes, old: bytes | None) -> None:
        """Have a file at the source, and an old version of it at the destination, or none."""
        (self.source / "f").write_bytes(content)
        for name in os.listdir(self.root):
            (self.root / name).unlink()
        if old is not None:
            (self.root / "f").write_bytes(old)
            os.utime(self.root / "f", ns=(10**18, 10**18))

    def push(self, *fates: Fate, retries: int = 0, words: tuple[str, ...] = ()) -> tuple[int, dict[str, Any], Passed]:
        """Push; returns the exit code, the summary, and what went through the last connection."""
        self.cutter.fates = list(fates)
        options = ("--json", "--no-compress", "--retries", str(retries), *words)
        done = self.client.run("push", *options, f"{self.source}/", "@data", address=self.address)
        self.wait()
        return done.code, json.loads(done.out.splitlines()[-1]), self.cutter.passed[-1]

    def wait(self) -> None:
        """Wait until no session runs."""
        deadline = monotonic() + 20
        while subprocess.run(["pgrep", "-P", str(self.listening.process.pid)], capture_output=True, check=False).stdout.strip():
            assert monotonic() < deadline, "a session does not end"
            sleep(0.01)

    def names(self) -> list[str]:
        """What stands at the destination."""
        return sorted(os.listdir(self.root))


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


@pytest.mark.parametrize("kind", ["new", "delta"])
def test_a_cut_anywhere_costs_no_more_than_a_frame(kind: str, places: Places) -> None:
    """Cut at random places, and at the ends of records and a byte beside: what came is kept, used, and nothing of it is left behind."""
    rng = random.Random(SEED)
    old, new, later = versions(rng)
    base = old if kind == "delta" else None
    places.begin(new, base)
    code, summary, whole = places.push()
    assert code == 0
    chosen = [rng.randrange(1, whole.up) for _ in range(CUTS)]
    starts = rng.sample(whole.starts, min(max(CUTS // 3, 1), len(whole.starts)))
    chosen += [start + beside for start in starts for beside in ((-1, 0, 1) if CUTS > 3 else (rng.choice((-1, 0, 1)),))]
    for number, at in enumerate(chosen):
        target = later if number % 3 == 2 else new
        places.begin(new, base)
        code, _, first = places.push(Fate(at))
        assert code == 10, f"cut at {at}"
        assert (places.root / "f").read_bytes() == old if base is not None else not (places.root / "f").exists()
        (places.source / "f").write_bytes(target)
        code, summary, second = places.push()
        resent = first.up + second.up - whole.up
        told = f"cut at {at} of {whole.up}: {second.up} bytes afterwards, {resent} of them again; {summary['problems']}"
        assert (code, (places.root / "f").read_bytes() == target, places.names()) == (0, True, ["f"]), told
        assert resent <= 0.05 * first.up + LOST_BYTES, told


def test_one_command_goes_on_where_the_connection_broke(places: Places) -> None:
    """It connects again by itself, several times, and sends no more than a frame each time again; the counts add up."""
    _, new, _ = versions(random.Random(SEED))
    places.begin(new, None)
    before = len(places.cutter.passed)
    code, summary, _ = places.push(Fate(3 << 20), Fate(40), Fate(2 << 20), retries=4)
    passed = places.cutter.passed[before:]
    assert (code, (places.root / "f").read_bytes() == new, places.names(), len(passed)) == (0, True, ["f"], 4)
    assert sum(one.up for one in passed) <= 1.05 * SIZE + 2 * LOST_BYTES
    assert summary["files_sent"] == summary["entries_changed"] == 1
    # What was given to the system and cut off before it arrived counts as sent.
    assert SIZE <= summary["literal_bytes"] < summary["bytes_sent"]
    assert sum(one.up for one in passed) <= summary["bytes_sent"]


def test_a_peer_that_falls_silent_is_given_up(places: Places) -> None:
    """Both ends stop waiting after `--timeout`, on a connection that stays open; what came is kept."""
    _, new, _ = versions(random.Random(SEED))
    places.begin(new, None)
    began_at = monotonic()
    code, summary, first = places.push(Fate(5 << 20, "stall"), words=("--timeout", "1"))
    assert (code, summary["exit_code"]) == (30, 30)
    assert monotonic() - began_at < 15
    code, _, second = places.push()
    assert (code, (places.root / "f").read_bytes() == new, places.names()) == (0, True, ["f"])
    assert first.up + second.up - SIZE <= 0.05 * first.up + LOST_BYTES


@pytest.mark.parametrize("at", [1, 1 << 20])
def test_a_trickle_is_no_obstacle(at: int, places: Places) -> None:
    """Bytes that come one by one make what they make together."""
    content = random.Random(at).randbytes(2 << 20)
    places.begin(content, None)
    assert places.push(Fate(at, "trickle"))[0] == 0
    assert (places.root / "f").read_bytes() == content
