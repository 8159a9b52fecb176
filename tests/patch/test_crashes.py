"""A patch in place on a disk that loses and reorders what was not synced: after any cut, and cuts of the recovery, a file is old or new.

Source: the crash tests of SQLite (https://www.sqlite.org/testing.html, section 4.2).
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from deltasync.delta.digest import FileDigest
from deltasync.delta.match import Copy
from deltasync.delta.order import Limits, NoOrder
from deltasync.patch import inplace, journal
from deltasync.patch.attributes import Attributes
from deltasync.patch.inplace import InPlace
from deltasync.patch.recovery import Outcome, Recovered, recover
from tests.patch.simulated import PowerCut, SimulatedDisk

pytestmark = pytest.mark.timeout(0 if "DELTASYNC_CRASH_STATES" in os.environ else 60)

STATES = int(os.environ.get("DELTASYNC_CRASH_STATES", "1500"))
"""How many states after a power cut are looked at; `nox -s crash` takes 100,000."""
CUTS_A_JOB = 6
DEEP = 3
NAME = b"file"


class Job(NamedTuple):
    """A patch: pieces of the target that are literals, zeros, or copies of the base.

    Attributes:
        base, target: The file before and after.
        literals, zeros: Where they begin and how long they are.
        copies: The others, but for those that stay where they are.
    """

    base: bytes
    target: bytes
    literals: list[tuple[int, int]]
    zeros: list[tuple[int, int]]
    copies: list[Copy]


def job(rng: random.Random) -> Job:
    """Make one: a rotation, an insertion at the front, or pieces of every kind; of a few sectors, or of many."""
    base = rng.randbytes(rng.randrange(1, 40_000))
    size, kind = len(base), rng.randrange(4)
    if kind == 0:
        cut = rng.randrange(size)
        made = Job(base, b"", [], [], [Copy(0, cut, size - cut), *([Copy(size - cut, 0, cut)] if cut else [])])
    elif kind == 1:
        length = rng.randrange(1, 2000)
        made = Job(base, b"", [(0, length)], [], [Copy(length, 0, size)])
    else:
        made = Job(base, b"", [], [], [])
        at, end = 0, size * rng.random() * 1.3
        while at < end or not at:
            length, chance = rng.randrange(1, 4000), rng.random()
            if chance < 0.3:
                made.literals.append((at, length))
            elif chance < 0.4:
                made.zeros.append((at, length))
            else:
                length = min(length, size)
                stays = chance < 0.7 and at + length <= size
                made.copies.append(Copy(at, at if stays else rng.randrange(size - length + 1), length))
            at += length
    return made._replace(target=_target(made, rng))


def _target(made: Job, rng: random.Random) -> bytes:
    pieces = [(at, bytes(length)) for at, length in made.zeros] + [(at, rng.randbytes(length)) for at, length in made.literals]
    pieces += [(one.target_at, made.base[one.base_at : one.base_at + one.length]) for one in made.copies]
    return b"".join(content for _, content in sorted(pieces))


def patch(disk: SimulatedDisk, made: Job, dir_fd: int) -> None:
    """Carry it out, from its first word to its commit."""
    place = InPlace.create(dir_fd, NAME, len(made.target), disk.put(NAME, made.base), disk=disk)
    for one in made.copies:
        if one.base_at != one.target_at:
            place.move(one)
    for at, length in made.literals:
        half = length // 2
        for start, end in ((at, at + half), (at + half, at + length)):
            if end > start:
                place.put(start, made.target[start:end])
    for at, length in made.zeros:
        place.clear(at, length)
    place.complete()
    seen = bytearray(len(made.target))
    place.read(0, memoryview(seen))
    assert seen == made.target
    digest = FileDigest(len(made.target))
    digest.update(made.target)
    place.seal(digest.digest(), forced=False)
    place.commit(Attributes())


class Found(NamedTuple):
    """What is found when the power is back for good.

    Attributes:
        disk: The disk.
        cuts: How often it was cut.
        replayed: Whether the last recovery finished a patch.
    """

    disk: SimulatedDisk
    cuts: int
    replayed: bool


def recovered(disk: SimulatedDisk, dir_fd: int, rng: random.Random) -> Found:
    """Cut the power, and again while it recovers."""
    outcomes: list[Recovered | None] = []
    for depth in range(DEEP + 1):
        disk = disk.after_power_cut()
        disk.cut_after = rng.randrange(1, 60) if depth < DEEP else None
        with suppress(PowerCut):
            outcomes = [recover(dir_fd, name, disk=disk) for name in sorted(disk.names() - {NAME})]
            break
    return Found(disk, depth + 1, any(one is not None and one.outcome is Outcome.REPLAYED for one in outcomes))


def look_at(seed: str, dir_fd: int) -> Counter[str]:
    """Cut one job at several moments; count the states that were looked at, and what became of them."""
    rng = random.Random(seed)
    made = job(rng)
    whole = SimulatedDisk(rng)
    try:
        patch(whole, made, dir_fd)
    except NoOrder:
        return Counter({"refused": 1})
    assert (whole.content(NAME), whole.names()) == (made.target, {NAME}), seed
    counts: Counter[str] = Counter()
    for _ in range(CUTS_A_JOB):
        disk = SimulatedDisk(rng, cut_after=rng.randrange(1, whole.operations))
        # Writes that are cut short by chance may have it done before.
        with suppress(PowerCut):
            patch(disk, made, dir_fd)
        found = recovered(disk, dir_fd, rng)
        content = found.disk.content(NAME)
        assert content in (made.base, made.target), f"seed {seed}: the file is neither old nor new"
        assert found.disk.names() == {NAME}, f"seed {seed}: something is left"
        assert content == made.target or not found.replayed, f"seed {seed}: replayed, and not new"
        counts["states"] += found.cuts
        counts["new" if content == made.target else "old"] += 1
    return counts


def test_after_any_cut_a_file_is_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> None:
    """Whatever of the writes that were not synced has reached the disk, also when recovery itself is cut three times."""
    # Small windows and a small journal, so that a few sectors take as many steps as a large file does.
    for module in (inplace, journal):
        monkeypatch.setattr(module, "LIMITS", Limits(12_000, 6_000, 2_000))
    dir_fd = os.open(tmp_path, os.O_RDONLY)
    counts: Counter[str] = Counter()
    while counts["states"] < STATES:
        counts += look_at(rng.randbytes(8).hex(), dir_fd)
    os.close(dir_fd)
    assert min(counts["old"], counts["new"]) > STATES // 100
    assert counts["refused"] < counts["old"] + counts["new"]
