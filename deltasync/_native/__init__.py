"""The one place that knows which engine computes checksums and deltas: a compiled kernel, or what stands in for it.

Everything above asks here and never looks for an extension module itself, so that a missing compiler is noticed in one place only. All
engines give the same results; they differ in speed: `native` rolls over some 0.8 GB a second and thread, `numpy` 0.25, `python` and
`pyrsync2` 0.003. The last stands on the package of that name, which only who wants to compare installs.
"""

from __future__ import annotations

from array import array
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

__all__ = ["ENGINES", "Bulk", "EngineMissing", "Kernel", "KernelTable", "choose", "engine_name", "find_bulk"]

ENGINES = ("native", "numpy", "python", "pyrsync2")
"""From the fastest to the slowest."""
_MODULES = {"native": "kernel", "numpy": "numpy_kernel", "python": "python_kernel", "pyrsync2": "pyrsync2_kernel"}
_HINTS = {
    "native": "install deltasync where there is a C compiler",
    "numpy": "pip install numpy beside deltasync",
    "pyrsync2": "with Python 3.11, beside deltasync: "
    "`echo setuptools==56.1.0 > bc.txt; pip wheel --no-deps --build-constraint bc.txt pyrsync2`, then `pip install ./pyrsync2-*.whl`",
}


class EngineMissing(LookupError):
    """The named engine is not there; the text says what to do."""


class KernelTable(Protocol):
    """The weak sums of a signature, ready to be looked up."""

    def first(self, weak: int, /) -> int:
        """Return the lowest number of a block with this weak sum, or -1."""

    def next(self, index: int, /) -> int:
        """Return the next higher number of a block with the same weak sum, or -1."""


class Kernel(Protocol):
    """What an engine offers; each raises `ValueError` or `TypeError` for arguments out of range or of the wrong kind.

    Attributes:
        NAME: Its name, one of `ENGINES`.
    """

    NAME: str

    def weak_sums(self, data: bytes | bytearray | memoryview, block_bytes: int, out: array[int], /) -> None:
        """Put the weak sum of each block of `data` into `out`, which has exactly that many items; the last block may be short."""

    def build_table(self, sums: array[int], /) -> KernelTable:
        """Make a table of the weak sums of at most 4,194,304 blocks."""

    def scan(self, data: bytes | bytearray | memoryview, start: int, stop: int, block_bytes: int, table: KernelTable, /) -> tuple[int, int]:
        """Return the first offset from `start`, before `stop`, at which a block has a sum of the table, and this sum; (-1, 0) for none."""


class Bulk(Protocol):
    """What deals with many entries of a directory at once."""

    def list_names(self, dir_fd: int, /) -> bytes:
        """Return all names of a directory but `.` and `..`, in ascending order, joined by NUL.

        Raises:
            OSError: It can't be read.
        """

    def look(self, dir_fd: int, names: bytes, count: int, /) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes] | None:
        """Look at `count` entries of a directory, whose names are joined by NUL, and follow no symlink.

        Returns: u32 modes, u64 sizes (0 of what is no regular file), i64 mtimes in ns, u32 owners, u32 groups, u64 devices, u64 inodes and
        u64 numbers of links, little-endian; None where one of them can't be looked at, is a device node, or has a time beyond 64 bits.
        """

    def put_small(self, dir_fd: int, stem: bytes, names: bytes, contents: bytes, sizes: bytes, modes: bytes, mtimes_ns: bytes, /) -> bytes:
        """Make files in a directory, each staged under a name of its own that begins with `stem` (at most 108 bytes), and then renamed.

        Args:
            dir_fd: The directory.
            stem: How the staged names begin.
            names: The files' names, joined by NUL.
            contents: Their contents, one after the other.
            sizes: The lengths of these, u32 each, little-endian.
            modes: Permission bits, likewise.
            mtimes_ns: Modification times, i64 each.

        Returns: A byte for each, 1 if it is in its place with these attributes; 0 where anything went wrong, and nothing is left of it.

        Raises:
            ValueError: The arguments are not of the same files.
        """


def find_bulk() -> Bulk | None:
    """Return what deals with many entries at once, if it was compiled; else each is to be dealt with by itself."""
    try:
        return cast("Bulk", import_module("deltasync._native.bulk"))
    except ImportError:
        return None


def choose(engine: str = "auto") -> Kernel:
    """Return an engine; `auto` is the fastest that is there.

    Raises:
        EngineMissing: The named engine is not there.
    """
    name = engine_name() if engine == "auto" else engine
    if name not in ENGINES:
        raise EngineMissing(f"--engine {name}: there is no such engine; take one of auto, {', '.join(ENGINES)}")
    try:
        return cast("Kernel", import_module(f"deltasync._native.{_MODULES[name]}"))
    except ImportError as error:
        raise EngineMissing(f"--engine {name}: this engine is not there; {_HINTS[name]}; or take --engine auto") from error


def engine_name() -> str:
    """Name the fastest engine that is there, without loading it."""
    if find_spec("deltasync._native.kernel") is not None:
        return "native"
    return "numpy" if find_spec("numpy") is not None else "python"
