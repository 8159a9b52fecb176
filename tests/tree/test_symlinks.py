"""Symlinks that lead out of the tree: the rules of rsync, and rsync itself."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from deltasync.tree.symlinks import leads_out


@pytest.mark.parametrize(
    ("target", "path", "out"),
    [
        (b"/etc/passwd", b"link", True),
        (b"", b"link", True),
        (b"file", b"link", False),
        (b"../file", b"link", True),
        (b"../file", b"d/link", False),
        (b"../../file", b"d/link", True),
        (b"d/../file", b"link", True),
        (b"..", b"d/link", False),
        (b"../..", b"d/e/link", True),
        (b"./d//e/.", b"link", False),
        (b"..file", b"link", False),
    ],
)
def test_where_it_leads(target: bytes, path: bytes, out: bool) -> None:
    """Absolute, above the top, or up again after it went down."""
    assert leads_out(target, path) == out


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("seed", range(8))
def test_rsync_passes_over_the_same(tmp_path: Path, seed: int) -> None:
    """Targets of every odd form, at several depths."""
    rng = random.Random(seed)
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    links: dict[str, str] = {}
    for number in range(60):
        directory = source.joinpath(*(rng.choice("abc") for _ in range(rng.randint(0, 3))))
        directory.mkdir(parents=True, exist_ok=True)
        target = "/".join(rng.choice(["..", "..", ".", "a", "b", "x", ""]) for _ in range(rng.randint(1, 5)))
        target = rng.choice(["", "", "/"]) + target + rng.choice(["", "/"])
        if target:
            link = directory / f"link{number}"
            link.symlink_to(target)
            links[str(link.relative_to(source))] = os.readlink(link)
    subprocess.run(["rsync", "-a", "--safe-links", f"{source}/", f"{dest}/"], check=True)
    sent = {path for path in links if os.path.lexists(dest / path)}
    assert {path for path, target in links.items() if not leads_out(target.encode(), path.encode())} == sent
