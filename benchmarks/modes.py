"""What each way to change a large file costs: its time, and what it writes to the disk, counted by the block device."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from benchmarks.data import NEW_NS, large_file
from benchmarks.usage import measured

__all__ = ["MODES", "Written", "written_by_modes"]

MODES = "modes"
"""The name of the row."""
SIZE_FACTOR = 4
"""The file is so many times as large as the other rows' large file."""
EDIT_BYTES = 4096
CHANGED_SHARE = 100
"""One byte in so many is changed."""
SECTOR_BYTES = 512
"""The unit of /sys/dev/block/*/stat, whatever the device's is."""
FILESYSTEMS = {"ext4": ("-F",), "xfs": ("-m", "reflink=1")}


@dataclass(slots=True)
class Written:
    """What one contestant took.

    Attributes:
        filesystem: Of the destination.
        contestant: Its name.
        size: The length of the file.
        wall_s: Seconds of each round, until the disk has everything.
        written_bytes: What the disk was given in each.
    """

    filesystem: str
    contestant: str
    size: int
    wall_s: list[float] = field(default_factory=list)
    written_bytes: list[int] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        """The median time."""
        return statistics.median(self.wall_s)

    @property
    def median_bytes(self) -> float:
        """The median of what was written."""
        return statistics.median(self.written_bytes)

    def as_json(self) -> dict[str, object]:
        """A form for JSON."""
        return {**asdict(self), "median_s": self.median_s, "median_bytes": self.median_bytes}


def written_by_modes(large_bytes: int, rounds: int, work: Path) -> Iterator[list[Written]]:
    """Change a hundredth of the pages of a file of four times `large_bytes`, as of a disk image; yield the contestants of each filesystem.

    Raises:
        RuntimeError: Filesystems can't be made or mounted here, or a result is wrong.
    """
    if os.geteuid() != 0:
        raise RuntimeError(f"{MODES} mounts filesystems, which needs root")
    size = large_bytes * SIZE_FACTOR
    with tempfile.TemporaryDirectory(prefix="deltasync-bench-", dir=work) as above:
        place = Path(above)
        old, new = place / "old", place / "source" / "image"
        new.parent.mkdir()
        large_file(old, size)
        shutil.copyfile(old, new)
        _edit(new)
        for filesystem, options in FILESYSTEMS.items():
            with _mounted(place, filesystem, options, 2 * size + (size >> 2) + (512 << 20)) as mounted:
                yield _compete(filesystem, old, new, mounted, rounds)


def _compete(filesystem: str, old: Path, new: Path, mounted: Path, rounds: int) -> list[Written]:
    deltasync = [str(Path(sys.executable).parent / "deltasync"), "push", "--update-mode"]
    rsync = ["rsync", "-a", "--no-whole-file"]
    commands = {
        "deltasync, clone": [*deltasync, "clone"],
        "deltasync, stage": [*deltasync, "stage"],
        "deltasync, inplace": [*deltasync, "inplace"],
        "rsync": rsync,
        "rsync --inplace": [*rsync, "--inplace"],
    }
    if filesystem == "ext4":
        del commands["deltasync, clone"]
    outcomes = [Written(filesystem, name, new.stat().st_size) for name in commands]
    for number in range(rounds):
        turn = list(zip(outcomes, commands.values(), strict=True))
        for outcome, command in turn if number % 2 == 0 else reversed(turn):
            _run(outcome, command, old, new, mounted)
    return outcomes


def _run(outcome: Written, command: Sequence[str], old: Path, new: Path, mounted: Path) -> None:
    dest = mounted / "dest"
    shutil.rmtree(dest, ignore_errors=True)
    dest.mkdir()
    shutil.copyfile(old, dest / new.name)
    subprocess.run(["sync", "-f", mounted], check=True)
    subprocess.run(["fstrim", mounted], check=False, capture_output=True)
    before = _sectors(mounted)
    words = ["sh", "-c", '"$@" && sync -f "$0"', str(mounted), *command, str(new), f"{dest}/"]
    usage = measured(words, {"DELTASYNC_HOME": str(mounted.parent / "home")})
    outcome.wall_s.append(usage.wall_s)
    outcome.written_bytes.append((_sectors(mounted) - before) * SECTOR_BYTES)
    if subprocess.run(["cmp", "-s", new, dest / new.name], check=False).returncode:
        raise RuntimeError(f"{outcome.contestant} left another file than it was given")


def _edit(path: Path) -> None:
    size = path.stat().st_size
    rng = Random(size)
    with path.open("r+b") as file:
        for _ in range(size // CHANGED_SHARE // EDIT_BYTES):
            file.seek(rng.randrange(size // EDIT_BYTES) * EDIT_BYTES)
            file.write(rng.randbytes(EDIT_BYTES))
    os.utime(path, ns=(NEW_NS, NEW_NS))


@contextmanager
def _mounted(place: Path, filesystem: str, options: Sequence[str], size: int) -> Iterator[Path]:
    """Mount a new filesystem from a file."""
    image, mounted = place / f"{filesystem}.image", place / filesystem
    with image.open("wb") as file:
        file.truncate(size)
    try:
        subprocess.run([f"mkfs.{filesystem}", "-q", *options, image], check=True)
        mounted.mkdir()
        subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(f"no {filesystem} can be made and mounted here: {error}") from error
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)
        image.unlink()


def _sectors(mounted: Path) -> int:
    """Return how many sectors the device of a filesystem was given so far."""
    device = mounted.stat().st_dev
    return int(Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()[6])
