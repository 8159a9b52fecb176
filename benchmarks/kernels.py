"""The kernels on their own: how many GB a second are signed, searched in vain at every offset, compared at their own offset, and sealed.

The content is incompressible; the blocks are of 32 KiB, and 32,768 of them are searched for, as for a base of 1 GiB. Beside the engines
stands what others compute for the same purpose: `rdiff`, with blocks of its own choice, and the functions of pyrsync2. Handshakes are
counted instead of bytes.
"""

from __future__ import annotations

import io
import random
import statistics
import subprocess
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from shutil import which

from blake3 import blake3

from benchmarks.sealing import handshaking, sealing
from deltasync._native import ENGINES, EngineMissing, Kernel, choose
from deltasync.delta.signature import block_digests, weak_sums

__all__ = ["KERNELS", "Speed", "kernel_speeds"]

KERNELS = ("kernel-signatures", "kernel-scan", "kernel-compare", "kernel-records", "kernel-handshakes")
"""The names of the kinds of work."""
BLOCK_BYTES = 32 << 10
PIECE_BYTES = 1 << 20
SUMS = 32_768
HANDSHAKES = 100
SHARES = {"native": 4, "numpy": 16, "python": 1024, "pyrsync2": 1024}
"""Each engine works on this part of the large file, so that none takes long."""
THREADS = (1, 2)

Span = tuple[int, int]


@dataclass(slots=True)
class Speed:
    """What one program takes for one kind of work.

    Attributes:
        work: One of `KERNELS`.
        program: An engine, or another program.
        threads: How many threads share the work.
        size: How many of the unit are worked on.
        wall_s: Seconds of each round.
        unit: `GB`, of which the size tells the bytes, or what else is counted.
    """

    work: str
    program: str
    threads: int
    size: int
    wall_s: list[float] = field(default_factory=list)
    unit: str = "GB"

    @property
    def median_a_second(self) -> float:
        """Units a second, in the round that took the median."""
        return self.size / statistics.median(self.wall_s) / (1e9 if self.unit == "GB" else 1)

    def as_json(self) -> dict[str, object]:
        """A form for JSON."""
        return {**asdict(self), "median_a_second": self.median_a_second}


def kernel_speeds(work: str, large_bytes: int, rounds: int, place: Path) -> list[Speed]:
    """Measure one kind of work with all that is there to do it.

    Args:
        work: One of `KERNELS`.
        large_bytes: The size of a large file, of which parts are worked on.
        rounds: How often each does it.
        place: A directory for files, that is there.
    """
    content = _content(max(large_bytes // SHARES["native"], 2 * BLOCK_BYTES))
    jobs = list(_channel_jobs(work, content))
    if not jobs:
        jobs = [*_engine_jobs(work, content, large_bytes), *_pyrsync2_jobs(work, content, large_bytes), *_rdiff_jobs(work, content, place)]
    for _ in range(rounds):
        for speed, job in jobs:
            began = time.perf_counter()
            job()
            speed.wall_s.append(time.perf_counter() - began)
    return [speed for speed, _ in jobs]


Job = tuple[Speed, Callable[[], None]]


def _content(size: int, seed: int = 1) -> memoryview:
    rng = random.Random(seed)
    return memoryview(b"".join(rng.randbytes(min(PIECE_BYTES, size - at)) for at in range(0, size, PIECE_BYTES)))


def _part(content: memoryview, engine: str, large_bytes: int) -> memoryview:
    return content[: max(large_bytes // SHARES[engine], 2 * BLOCK_BYTES)]


def _channel_jobs(work: str, content: memoryview) -> Iterator[Job]:
    if work == "kernel-records":
        for program, do in sealing(content):
            yield from _threaded(work, program, content, do)
    elif work == "kernel-handshakes":
        for pattern, once in handshaking():

            def many(once: Callable[[], None] = once) -> None:
                for _ in range(HANDSHAKES):
                    once()

            yield Speed(work, pattern, 1, HANDSHAKES, unit="handshakes"), many


def _engine_jobs(work: str, content: memoryview, large_bytes: int) -> Iterator[Job]:
    if work == "kernel-compare":
        # Comparing is hashing alone: no engine has a part in it.
        yield from _threaded(work, "BLAKE3", content, _comparing(content))
        return
    for engine in ENGINES:
        try:
            kernel = choose(engine)
        except EngineMissing:
            # The table shows who is there.
            continue
        data = _part(content, engine, large_bytes)
        yield from _threaded(work, engine, data, _signing(kernel, data) if work == "kernel-signatures" else _scanning(kernel, data))


def _threaded(work: str, program: str, data: memoryview, do: Callable[[Span], None]) -> Iterator[Job]:
    for threads in THREADS:
        yield Speed(work, program, threads, len(data)), _shared(threads, len(data), do)


def _shared(threads: int, size: int, do: Callable[[Span], None]) -> Callable[[], None]:
    """Share work between threads, each of which does one range of whole blocks."""
    blocks = -(-size // BLOCK_BYTES)
    bounds = [min(blocks * number // threads * BLOCK_BYTES, size) for number in range(threads + 1)]

    def job() -> None:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(do, span) for span in pairwise(bounds)]:
                done.result()

    return job


def _signing(kernel: Kernel, data: memoryview) -> Callable[[Span], None]:
    def sign(span: Span) -> None:
        for at in range(*span, PIECE_BYTES):
            piece = data[at : min(at + PIECE_BYTES, span[1])]
            weak_sums(kernel, piece, BLOCK_BYTES)
            block_digests(piece, BLOCK_BYTES)

    return sign


def _scanning(kernel: Kernel, data: memoryview) -> Callable[[Span], None]:
    """Search at every offset for blocks that are not there; a weak sum that agrees by chance costs a hash."""
    rng = random.Random(2)
    table = kernel.build_table(array("I", [rng.getrandbits(32) for _ in range(SUMS)]))

    def scan(span: Span) -> None:
        at, stop = span
        while at < stop:
            found, _ = kernel.scan(data, at, stop, BLOCK_BYTES, table)
            if found < 0:
                break
            blake3(data[found : found + BLOCK_BYTES]).digest()
            at = found + 1

    return scan


def _comparing(data: memoryview) -> Callable[[Span], None]:
    expected = block_digests(data, BLOCK_BYTES)

    def compare(span: Span) -> None:
        for at in range(*span, PIECE_BYTES):
            piece = data[at : min(at + PIECE_BYTES, span[1])]
            first = at // BLOCK_BYTES
            found = block_digests(piece, BLOCK_BYTES)
            if found != expected[first : first + len(found)]:
                raise AssertionError("the same content has another digest")

    return compare


def _pyrsync2_jobs(work: str, content: memoryview, large_bytes: int) -> Iterator[Job]:
    """The functions of pyrsync2, which end in an error where a block at the end matches: so they compare nothing."""
    if work == "kernel-compare" or find_spec("pyrsync2") is None:
        return
    pyrsync2 = import_module("pyrsync2")
    data = bytes(_part(content, "pyrsync2", large_bytes))
    other = pyrsync2.blockchecksums(io.BytesIO(_content(len(data), seed=3)), BLOCK_BYTES)

    def sign() -> None:
        list(pyrsync2.blockchecksums(io.BytesIO(data), BLOCK_BYTES))

    def scan() -> None:
        list(pyrsync2.rsyncdelta(io.BytesIO(data), other, BLOCK_BYTES))

    yield Speed(work, "pyrsync2 itself", 1, len(data)), sign if work == "kernel-signatures" else scan


def _rdiff_jobs(work: str, content: memoryview, place: Path) -> Iterator[Job]:
    """`rdiff`, with its own start and its files; what it writes for content without any match is the content."""
    if which("rdiff") is None:
        return
    data, signed, other = place / "rdiff-content", place / "rdiff-signature", place / "rdiff-other"
    data.write_bytes(content)

    def run(*words: str | Path) -> None:
        subprocess.run(["rdiff", "--force", *words], check=True)

    if work == "kernel-signatures":
        yield Speed(work, "rdiff", 1, len(content)), lambda: run("signature", data, signed)
        return
    if work == "kernel-scan":
        other.write_bytes(_content(len(content), seed=4))
    run("signature", data if work == "kernel-compare" else other, signed)
    yield Speed(work, "rdiff", 1, len(content)), lambda: run("delta", signed, data, place / "rdiff-delta")
