"""Power cuts on a real filesystem: what `--fsync` has called done is there afterwards, and what it had not yet is old or new."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.commands import command
from tests.disks import Disk, mounted
from tests.sources import PROJECT

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(0 if "DELTASYNC_POWER_CUTS" in os.environ else 120)]

CUTS = int(os.environ.get("DELTASYNC_POWER_CUTS", "2"))


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A disk of each kind."""
    if shutil.which(f"mkfs.{request.param}") is None:
        pytest.skip(f"needs mkfs.{request.param}")
    with mounted(tmp_path / "disk", request.param) as made:
        yield made


def fill(source: Path, rng: random.Random) -> None:
    """Give the source other content: small files and large ones, some of which change a little."""
    (source / "sub").mkdir(parents=True, exist_ok=True)
    for number in range(60):
        (source / f"sub/small{number}").write_bytes(rng.randbytes(rng.randrange(1, 5000)))
    (source / "new").write_bytes(rng.randbytes(3 << 20))
    changed = bytearray((source / "large").read_bytes() if (source / "large").exists() else rng.randbytes(4 << 20))
    changed[1000:2000] = rng.randbytes(1000)
    (source / "large").write_bytes(changed)


def contents(place: Path) -> dict[str, bytes]:
    """Every file but ours."""
    files = [path for path in place.rglob("*") if path.is_file() and ".deltasync~" not in path.name]
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


def test_what_was_called_done_survives(disk: Disk, tmp_path: Path) -> None:
    """After a run that ends with 0 everything is there, also where backups were made; cut in the middle, each file is old or new."""
    rng = random.Random(int(os.environ.get("DELTASYNC_CUTS_SEED", "1")))
    source, dest = tmp_path / "source", disk.place / "dest"
    old: dict[str, bytes] = {}
    for number in range(CUTS):
        fill(source, rng)
        words = ("push", "--fsync", "--backup-dir", "../backups", f"{source}/", str(dest))
        if number % 2:
            environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
            running = subprocess.Popen([sys.executable, "-m", "deltasync", *words], env=environment, stderr=subprocess.DEVNULL)
            with suppress(subprocess.TimeoutExpired):
                running.wait(rng.uniform(0.15, 0.45))
            running.kill()
            done = running.wait() == 0
        else:
            done = command(*words).code == 0
            assert done
        disk.cut()
        new, found = contents(source), contents(dest)
        if done:
            assert found == new
            backups = contents(disk.place / "backups") if (disk.place / "backups").exists() else {}
            assert {name: content for name, content in old.items() if content != new[name]}.items() <= backups.items()
        else:
            assert all(found[name] in (content, new[name]) for name, content in old.items()), "a file is neither old nor new"
        old = found


def test_what_is_patched_in_place_is_old_or_new(disk: Disk, tmp_path: Path) -> None:
    """Cut in the middle of a patch in place, without `--fsync`, and recovered when the power is back; cut again after that."""
    rng = random.Random(int(os.environ.get("DELTASYNC_CUTS_SEED", "1")))
    source, dest = tmp_path / "source", disk.place / "dest"
    source.mkdir()
    (source / "large").write_bytes(rng.randbytes(8 << 20))
    words = ("push", "--inplace", f"{source}/", str(dest))
    assert command(*words).code == 0
    os.sync()
    for number in range(CUTS):
        old = (dest / "large").read_bytes()
        new = bytearray(old)
        new[0:0] = rng.randbytes(1 + number % 2 * 5000)
        new[4 << 20 : (4 << 20) + 1000] = rng.randbytes(1000)
        (source / "large").write_bytes(new)
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        running = subprocess.Popen([sys.executable, "-m", "deltasync", *words], env=environment, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            running.wait(rng.uniform(0.2, 0.6))
        done = running.poll() == 0
        alive = number % 2 == 1
        if alive:
            disk.power_off()
        running.kill()
        running.wait()
        if not alive:
            disk.power_off()
        disk.power_on()
        assert command("recover", str(dest)).code == 0
        disk.cut()
        found = (dest / "large").read_bytes()
        assert found in (old, bytes(new)), "the file is neither old nor new"
        assert not done or found == new, "it was called done"
