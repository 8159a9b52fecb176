"""Trees for tests: made, changed at random and compared, on real filesystems."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Shape", "change", "make", "nasty_names", "snapshot", "walk"]


class Shape(NamedTuple):
    """Everything about an entry that a push must keep."""

    kind: int
    permissions: int
    mtime_ns: int
    uid: int
    gid: int
    content: bytes
    rdev: int
    links: tuple[bytes, ...]


def nasty_names() -> list[bytes]:
    """Names that Linux allows and programs stumble over."""
    names = [bytes([code]) for code in range(1, 256) if code not in b"/."]
    names += [
        b"-rf",
        b"--delete",
        b" lead",
        b"trail ",
        b"a\nb",
        b"\x1b[31mred",
        b"\xff\xfe",
        b"*",
        b"[a]",
        b"~",
        b"...",
        b"\xc3\xa9",
        b"e\xcc\x81",
    ]
    names += [b"n" * 255, b"\xf0\x9f\x98\x80" * 63, b"$(id)", b"'\"\\", b"\xed\xa0\x80", b"\xee\x80\x80", b"\xc3\xa9\xff"]
    return names


def walk(root: bytes) -> Iterator[bytes]:
    """Yield every path beneath a directory, relative to it, parents first; by descriptor, so that depth does not matter."""
    stack = [(os.open(root, os.O_RDONLY | os.O_DIRECTORY), b"")]
    while stack:
        fd, path = stack.pop()
        try:
            for name in sorted(map(os.fsencode, os.listdir(fd))):
                inside = path + b"/" + name if path else name
                yield inside
                if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    stack.append((os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd), inside))
        finally:
            os.close(fd)


def snapshot(root: bytes, *, links: bool = False) -> dict[bytes, Shape]:
    """Return the shape of everything in a directory, itself included as `b"."`."""
    groups: dict[tuple[int, int], list[bytes]] = {}
    found: dict[bytes, tuple[os.stat_result, bytes]] = {}
    for path in [b".", *walk(root)]:
        with _Parent(root, path) as (fd, name):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            content = b""
            if stat.S_ISREG(status.st_mode):
                with open(os.open(name, os.O_RDONLY, dir_fd=fd), "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(name, dir_fd=fd)
        found[path] = (status, content)
        if links and status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            groups.setdefault((status.st_dev, status.st_ino), []).append(path)
    return {path: _shape(status, content, groups) for path, (status, content) in found.items()}


def _shape(status: os.stat_result, content: bytes, groups: dict[tuple[int, int], list[bytes]]) -> Shape:
    mode = status.st_mode
    device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    return Shape(
        stat.S_IFMT(mode),
        stat.S_IMODE(mode),
        status.st_mtime_ns,
        status.st_uid,
        status.st_gid,
        content,
        status.st_rdev if device else 0,
        tuple(groups.get((status.st_dev, status.st_ino), ())),
    )


class _Parent:
    """The open directory of a path, reached component by component."""

    def __init__(self, root: bytes, path: bytes) -> None:
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        *parents, self._name = path.split(b"/")
        for name in parents:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._fd)
            os.close(self._fd)
            self._fd = fd

    def __enter__(self) -> tuple[int, bytes]:
        return self._fd, self._name

    def __exit__(self, *rest: object) -> None:
        os.close(self._fd)


def make(root: bytes, rng: random.Random, entries: int) -> None:
    """Fill a new directory with entries of every kind that this user can make."""
    os.makedirs(root)
    names = nasty_names()
    directories = [root]
    for number in range(entries):
        name = rng.choice(names) if rng.random() < 0.3 else b"f%d" % number
        path = rng.choice(directories) + b"/" + name
        if os.path.lexists(path) or len(path) > 3000:
            continue
        _make_one(path, rng, directories)
    _stamp(root, rng)


def _make_one(path: bytes, rng: random.Random, directories: list[bytes]) -> None:
    kind = rng.choices(["file", "directory", "symlink", "fifo", "link", "big", "socket", "device"], [10, 4, 2, 1, 1, 1, 0.5, 0.5])[0]
    if kind == "directory":
        os.mkdir(path)
        directories.append(path)
    elif kind == "symlink":
        os.symlink(rng.choice([b"nowhere", b"/", b"..", b"f1", b"\xff\n"]), path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    elif kind == "device" and os.geteuid() == 0:
        os.mknod(path, rng.choice([stat.S_IFCHR, stat.S_IFBLK]) | 0o640, os.makedev(rng.randrange(1, 250), rng.randrange(250)))
    elif kind == "link":
        _make_link(path, rng)
    else:
        write(path, rng, 300_000 if kind == "big" else 3000)


def _make_link(path: bytes, rng: random.Random) -> None:
    siblings = [entry.path for entry in os.scandir(os.path.dirname(path)) if entry.is_file(follow_symlinks=False)]
    if siblings:
        os.link(rng.choice(siblings), path, follow_symlinks=False)


def write(path: bytes, rng: random.Random, most: int) -> None:
    """Write a file of a random length below `most`, some of it zeros."""
    size = rng.randrange(most)
    with open(path, "wb") as file:
        file.write(rng.randbytes(size) if rng.random() < 0.7 else bytes(size))


def _stamp(root: bytes, rng: random.Random) -> None:
    """Give everything odd times, modes and owners, children before their parents."""
    for path in sorted(walk(root), reverse=True):
        stamp_one(root + b"/" + path, rng)
    stamp_one(root, rng)


def stamp_one(path: bytes, rng: random.Random) -> None:
    """Give one entry an odd time, mode and owner."""
    mode = os.lstat(path).st_mode
    if os.geteuid() == 0:
        os.chown(path, rng.choice([0, 1, 1000, 54321]), rng.choice([0, 1, 1000, 54321]), follow_symlinks=False)
    if not stat.S_ISLNK(mode):
        modes = [0o700, 0o755, 0o1777, 0o2755, 0o500] if stat.S_ISDIR(mode) else [0o644, 0o600, 0o755, 0o400, 0o4755, 0o6711]
        os.chmod(path, rng.choice(modes))
    when_ns = rng.randrange(-(10**18), 4 * 10**18)
    os.utime(path, ns=(when_ns, when_ns), follow_symlinks=False)


def change(root: bytes, rng: random.Random, changes: int) -> None:
    """Edit, delete, rename, retype and restamp entries at random; a directory's own mode never stands in the way."""
    for number in range(changes):
        paths = [root + b"/" + path for path in walk(root)]
        if not paths:
            return
        path = rng.choice(paths)
        parent = os.path.dirname(path)
        if os.geteuid() != 0:
            os.chmod(parent, 0o700)
        deed = rng.choice(["edit", "delete", "rename", "retype", "stamp", "add"])
        if deed == "stamp":
            stamp_one(path, rng)
        elif deed == "edit" and os.path.isfile(path) and not os.path.islink(path):
            os.chmod(path, 0o600)
            write(path, rng, 50_000)
        elif deed == "add":
            write(parent + b"/added%d" % number, rng, 2000)
        elif deed == "rename":
            os.rename(path, parent + b"/renamed%d" % number)
        elif deed in ("delete", "retype"):
            _remove(path)
            if deed == "retype":
                _make_one(path, rng, [])


def _remove(path: bytes) -> None:
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    if os.geteuid() != 0:
        for directory in [path, *(path + b"/" + inside for inside in walk(path))]:
            if os.path.isdir(directory) and not os.path.islink(directory):
                os.chmod(directory, 0o700)
    shutil.rmtree(path)
