"""Power cuts on a real filesystem: what `--fsync` has called done is there afterwards, and what it had not yet is old or new."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.commands import command
from tests.sources import PROJECT

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(0 if "DELTASYNC_POWER_CUTS" in os.environ else 120)]

CUTS = int(os.environ.get("DELTASYNC_POWER_CUTS", "2"))
SHUTDOWN = 0x8004587D
"""The ioctl that ends a filesystem as a power cut does (`EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`)."""
NO_LOG_FLUSH = struct.pack("I", 2)


class Disk:
    """A filesystem mounted from a file."""

    def __init__(self, base: Path, kind: str) -> None:
        self.image, self.place = base / "image", base / "place"
        self.place.mkdir()
        with self.image.open("wb") as file:
            file.truncate(400 << 20)
        subprocess.run([f"mkfs.{kind}", "-q", self.image], check=True, stderr=subprocess.DEVNULL)
        self.mount()

    def mount(self) -> None:
        """Mount it, as after a start of the machine."""
        if subprocess.run(["mount", "-o", "loop", self.image, self.place], check=False, capture_output=True).returncode:
            pytest.skip("needs loop")

    def cut(self) -> None:
        """Cut the power, and start again."""
        fd = os.open(self.place, os.O_RDONLY)
        fcntl.ioctl(fd, SHUTDOWN, NO_LOG_FLUSH)
        os.close(fd)
        subprocess.run(["umount", self.place], check=True)
        self.mount()

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", self.place], check=False, capture_output=True)


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A disk of each kind."""
    if shutil.which(f"mkfs.{request.param}") is None:
        pytest.skip(f"needs mkfs.{request.param}")
    made = Disk(tmp_path, request.param)
    yield made
    made.close()


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
