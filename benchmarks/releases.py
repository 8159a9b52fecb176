"""Releases of projects that many know, as PyPI has them: fetched once by pip, and kept."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

__all__ = ["unpack_sdist", "unpack_wheel"]

_WHEEL = ("--only-binary=:all:", "--python-version=3.12", "--platform=manylinux2014_x86_64")
_SDIST = ("--no-binary=:all:",)
_PIECE_BYTES = 1 << 20


def unpack_wheel(release: str, cache: Path, into: Path) -> None:
    """Unpack the wheel of a release, as `numpy-2.2.5`, into a directory.

    Raises:
        RuntimeError: It could not be downloaded.
    """
    with zipfile.ZipFile(_fetched(release, "-*.whl", _WHEEL, cache)) as wheel:
        wheel.extractall(into)


def unpack_sdist(release: str, cache: Path, into: Path) -> None:
    """Put the source tree of a release, as `django-5.2.1`, into a directory as one tar file named after the project.

    Raises:
        RuntimeError: It could not be downloaded.
    """
    name = release.partition("-")[0]
    with gzip.open(_fetched(release, ".tar.gz", _SDIST, cache)) as packed, (into / f"{name}.tar").open("wb") as tar:
        while piece := packed.read(_PIECE_BYTES):
            tar.write(piece)


def _fetched(release: str, ending: str, options: tuple[str, ...], cache: Path) -> Path:
    """Return the archive of a release: from the cache, where it is put first if it is missing."""
    kept = next(cache.glob(release + ending), None)
    if kept is not None:
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as arriving:
        words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *options, "-d", arriving, release.replace("-", "==")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        archive = next(Path(arriving).glob(release + ending), None)
        if archive is None:
            raise RuntimeError(f"{release} could not be downloaded: {done.stderr.strip()}")
        os.replace(archive, cache / archive.name)
    return cache / archive.name
