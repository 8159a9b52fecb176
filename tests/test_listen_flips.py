"""A root whose directories turn into symlinks while a listener that runs as root works in it: nothing outside is read or changed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.engine.flipper import Flipper
from tests.engine.hostile_arena import seen
from tests.listeners import Client, Listening

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(0 if "DELTASYNC_FLIPS_S" in os.environ else 60)]

FLIPS_S = float(os.environ.get("DELTASYNC_FLIPS_S", "6"))
"""How long the symlinks flip; `nox -s hostile` takes 300 seconds."""
SECRET = b"never read, never changed"
LARGE_BYTES = 1 << 20
PUSHES = [
    [],
    ["--update-mode", "inplace", "-I"],
    ["--update-mode", "stage", "-I", "--fsync"],
    ["--backup", "-H"],
    ["--backup-dir", "aside", "-c"],
    ["--partial", "-W", "-I", "-S"],
    ["--existing", "--size-only"],
]
"""Every kind of deed: files small and large, whole and patched, made, renamed, deleted, linked, backed up, given other attributes."""


class Scene:
    """A root with a directory that flips, a canary with the same names outside of it, and two states of a source.

    Attributes:
        root, canary: The directories.
        sources: The two states.
    """

    def __init__(self, base: Path) -> None:
        self.root, self.canary = base / "root", base / "canary"
        self.sources = base / "one", base / "other"
        rng = random.Random(1)
        content = bytearray(rng.randbytes(LARGE_BYTES))
        for number, source in enumerate(self.sources):
            inside = source / "in"
            (inside / "dir").mkdir(parents=True)
            content[5000:5100] = rng.randbytes(100)
            (inside / f"large{number}").write_bytes(content)
            (inside / "patched").write_bytes(content)
            (inside / "secret").write_bytes(b"%d" % number * 25)
            (inside / "dir" / "deep").write_bytes(b"%d" % number)
            (inside / "dir").chmod(0o750 + number)
            os.link(inside / "secret", inside / "twin")
            (inside / f"link{number}").symlink_to("secret")
            os.mkfifo(inside / f"pipe{number}")
            (inside / f"made{number}").mkdir()
        (self.canary / "dir").mkdir(parents=True)
        for name in ("secret", "dir/deep", "large0", "large1", "patched", "twin", "other"):
            (self.canary / name).write_bytes(SECRET)
        self.before = seen(os.fsencode(self.canary))

    def set(self) -> None:
        """Have the directory and, beside it, the symlink that it changes places with."""
        for name in ("in", "flip"):
            path = self.root / name
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.sources[0] / "in", self.root / "in", symlinks=True, ignore=lambda _, names: {n for n in names if "pipe" in n})
        (self.root / "flip").symlink_to(self.canary)

    def check(self) -> None:
        """State that the canary is as it was, and that nothing of it has come to the root."""
        assert seen(os.fsencode(self.canary)) == self.before
        _without_secrets(self.root)


def _without_secrets(directory: Path) -> None:
    for above, _, names in os.walk(directory):
        for path in (Path(above, name) for name in names):
            assert not (path.is_file() and not path.is_symlink() and SECRET in path.read_bytes()), path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A scene, not yet set."""
    made = Scene(tmp_path / "scene")
    made.root.mkdir()
    return made


@pytest.fixture
def client(scene: Scene, tmp_path: Path) -> Iterator[Client]:
    """A client that may do everything."""
    (tmp_path / "there").mkdir()
    listening = Listening(tmp_path / "there", ("--root", f"data={scene.root}"))
    yield listening.client("laptop", "data")
    listening.close()


def test_nothing_outside_is_read_or_changed(scene: Scene, client: Client, tmp_path: Path) -> None:
    """Pushes with every kind of deed and pulls go on, some fail, none leads out, and the listener lives on."""
    until, number, flips = monotonic() + FLIPS_S, 0, 0
    while monotonic() < until or number < len(PUSHES) + 1:
        scene.set()
        with Flipper(os.fsencode(scene.root), b"in", b"flip") as flipper:
            words = ["push", "-a", "--delete", *PUSHES[number % len(PUSHES)], f"{scene.sources[(number + 1) % 2]}/", "@data"]
            assert "Traceback" not in client.run(*words).err
            pulled = tmp_path / "pulled"
            if number % 3 == 0:
                assert "Traceback" not in client.run("pull", "-a", "@data/", pulled).err
                _without_secrets(pulled)
                shutil.rmtree(pulled, ignore_errors=True)
        assert flipper.error is None
        flips += flipper.flips
        number += 1
        scene.check()
    assert flips > 100
    scene.set()
    assert client.run("push", "-a", f"{scene.sources[0]}/", "@data").code == 0
