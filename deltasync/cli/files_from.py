"""`--files-from`: the names in a file, as sources beneath the one that is named."""

from __future__ import annotations

from typing import Final

from deltasync.cli.filtering import read_file
from deltasync.errors import UsageError

__all__ = ["MAX_FAR_BYTES", "MAX_FAR_NAMES", "check_fits", "named_sources"]

MAX_FAR_NAMES: Final = 65_536
MAX_FAR_BYTES: Final = 768 << 10
"""What fits into the message in which a pull says what it wants."""


def named_sources(source: bytes, file: str, *, nul: bool) -> tuple[bytes, ...]:
    """Return the sources that the names in a file stand for, as `relative_place` takes them.

    Args:
        source: The directory that the names are beneath.
        file: The file, `-` for standard input.
        nul: Whether NUL bytes end the names, rather than line ends.

    Raises:
        UsageError: There are none.
        LocalFileError: The file can't be read.
    """
    data = read_file("--files-from", file)
    lines = data.split(b"\0") if nul else data.replace(b"\r", b"\n").split(b"\n")
    base = source or b"."
    while b"/./" in base:
        base = base.replace(b"/./", b"/")
    base = base.rstrip(b"/") or b"/"
    names = [_beneath(line) for line in lines if line and not line.startswith((b"#", b";"))]
    if not names:
        raise UsageError(f"--files-from {file}: there is no name in it")
    return tuple(dict.fromkeys(base.rstrip(b"/") + name for name in names))


def _beneath(line: bytes) -> bytes:
    """Return a name with a slash before it, and before the part that is kept `/./`; what leads upwards is taken as far as it can."""
    before, anchor, behind = line.partition(b"/./")
    if not anchor:
        before, behind = b"", line
    slash = b"/" if behind.endswith((b"/", b"/.", b"/..")) or behind in (b".", b"..", b"") else b""
    above, kept = _names(before), _names(behind)
    return b"".join(b"/" + name for name in above) + b"/./" + b"/".join(kept) + (slash if kept else b"")


def _names(path: bytes) -> list[bytes]:
    names: list[bytes] = []
    for name in path.split(b"/"):
        if name == b"..":
            del names[-1:]
        elif name not in (b"", b"."):
            names.append(name)
    return names


def check_fits(sources: tuple[bytes, ...]) -> None:
    """Check whether a pull can ask for so much.

    Raises:
        UsageError: It can't.
    """
    if len(sources) > MAX_FAR_NAMES or sum(map(len, sources)) > MAX_FAR_BYTES:
        raise UsageError(f"--files-from: a pull takes at most {MAX_FAR_NAMES} names of {MAX_FAR_BYTES >> 10} KiB together; split the file")
