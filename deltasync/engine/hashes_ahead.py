"""Large files that are hashed while the connection is still being made, when nothing else is left to do.

A push of a few large files is seldom one of files that did not change; so what is read now need not be read when their deltas are made.
Nothing depends on it: what did not get done, or changed since, is hashed then.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import suppress
from typing import NamedTuple

from deltasync._native.columns import column
from deltasync.delta.digest import leaf_bytes
from deltasync.delta.signature import block_digests, zero_digests
from deltasync.detect.scan import Chunk
from deltasync.detect.sources import Sources
from deltasync.engine.pool import SEGMENT_BYTES, Pool
from deltasync.engine.reading import OPEN_FLAGS, Changing, is_hole, read_exactly
from deltasync.fs.identity import Identity, look

__all__ = ["MAX_FILES", "MIN_BYTES", "HashesAhead"]

MIN_BYTES = 4 << 20
"""Smaller files are hashed in no time."""
MAX_FILES = 8
"""Where there are more large files than that, most of them are likely to stay what they are."""


class _Large(NamedTuple):
    source: int
    directory: bytes
    name: bytes


class HashesAhead:
    """Hashes the leaves of large files, from their starts, as far as there is time for it.

    Args:
        sources: The opened sources.
        threads: How many threads hash; None for what suits this machine.
    """

    def __init__(self, sources: Sources, threads: int | None) -> None:
        self._sources = sources
        self._pool = Pool(threads, lambda: None)
        self._files: list[_Large] = []
        self._leaves: dict[Identity, list[bytes]] = {}
        self._work: Generator[None, None, None] | None = None
        self._over = False

    def see(self, chunk: Chunk) -> None:
        """Take note of the large files of a chunk of the scan."""
        for section, origins in zip(chunk.sections, chunk.origins, strict=True):
            if len(self._files) > MAX_FILES:
                return
            modes = section.rows.mode_column()
            large = [at for at, size in enumerate(column("Q", section.rows.sizes)) if size >= MIN_BYTES and stat.S_ISREG(modes[at])]
            names = [entry.name for entry in section.rows.pick(large)]
            sources = [origins[at] if origins is not None else 0 for at in large]
            self._files += [_Large(source, section.path, name) for source, name in zip(sources, names, strict=True)]

    def advance(self) -> bool:
        """Hash a segment more, once everything has been seen; False when nothing is left, or there are too many files."""
        if self._over or len(self._files) > MAX_FILES:
            return False
        if self._work is None:
            self._work = self._hash()
        self._over = next(self._work, self) is self
        return not self._over

    def stop(self) -> None:
        """Come to an end; what has been hashed remains known."""
        self._over = True
        if self._work is not None:
            self._work.close()
        self._pool.close()

    def leaves(self, identity: Identity) -> list[bytes]:
        """Return the digests of the first leaves of a file, as many as are known."""
        return self._leaves.get(identity, [])

    def _hash(self) -> Generator[None, None, None]:
        for source, directory, name in self._files:
            try:
                with self._sources.roots[source].dir(directory) as lease:
                    fd = os.open(name, OPEN_FLAGS, dir_fd=lease.fd)
            except OSError:
                # Whoever wants the file tells what is wrong with it.
                continue
            try:
                yield from self._hash_file(fd)
            finally:
                os.close(fd)

    def _hash_file(self, fd: int) -> Generator[None, None, None]:
        seen = look(fd)
        size = seen.identity.size
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not seen.identity.settled(seen.at_ns):
            return
        leaf = leaf_bytes(size)
        leaves = self._leaves[seen.identity] = []
        step = max(SEGMENT_BYTES // leaf, 1) * leaf
        segments = ((at, min(step, size - at)) for at in range(0, size, step))
        # What can't be read, or has become shorter, is found out again by whoever wants the file.
        with suppress(OSError, Changing):
            for future in self._pool.in_order((self._digests, (fd, at, length, leaf)) for at, length in segments):
                leaves += future.result()
                yield

    def _digests(self, fd: int, at: int, length: int, leaf: int) -> list[bytes]:
        """Hash the leaves of a segment; runs on the pool."""
        if is_hole(fd, at, length):
            return zero_digests(length, leaf)
        view = self._pool.buffer(length)
        read_exactly(fd, at, view)
        return block_digests(view, leaf)
