"""The sources of a run as one tree: every source's directory held open, and the union of what they show."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from deltasync.fs.root import Root
from deltasync.fs.selection import Place, place_of
from deltasync.tree.names import check_path, split
from deltasync.tree.sources import CONTENTS, SourcePlace, relative_place, source_place
from deltasync.tree.wanted import Wanted

__all__ = ["Missing", "Sources", "expand_home"]

Missing = tuple[bytes, OSError]


def expand_home(path: bytes) -> bytes:
    """Return a path with a leading `~` or `~user` replaced by the home directory."""
    return os.path.expanduser(path) if path.startswith(b"~") else path


class Sources:
    """Every source of a run, opened.

    Args:
        paths: The sources as written, at least one.
        beneath: The only directory whose contents may be sent (`serve --root`), or None for no limit.
        recursive: Whether directories are sent, with what is in them.
        dirs: Whether directories are sent, but not entered without `recursive`.
        relative: Whether the sources keep their paths.

    Attributes:
        roots: One for each source that is there, or for several in a row that are named in one directory; paths of the tree are relative
            to any of them.
        places: Where each root is.
        shown: For each root the names that it shows, or None for its contents.
        tops: The sources as the tree's root sees them, each once: `CONTENTS` or a name.
        missing: The sources that are not there, with the reason.
        passed_over: The sources that are directories where these are not sent.
        whole: Whether the contents of some source make up the root.
        selective: Whether not all that is in a directory need be shown.
        lone: Whether the tree is a single entry that is no directory.
    """

    def __init__(
        self, paths: Sequence[bytes], *, beneath: Root | None = None, recursive: bool = True, dirs: bool = False, relative: bool = False
    ) -> None:
        self.roots: list[Root] = []
        self.places: list[Place] = []
        self.shown: list[list[bytes] | None] = []
        self.missing: list[Missing] = []
        self.passed_over: list[bytes] = []
        self._beneath = beneath
        self._recursive = recursive
        self._dirs = dirs
        self._relative = relative
        self._wanted: list[Wanted | None] = []
        self.selective = relative or not recursive
        self._opened = b""
        tops: dict[bytes, int] = {}
        for path in paths:
            try:
                place, kind = self._add(path)
            except OSError as error:
                self.missing.append((path, error))
                continue
            if kind is not None:
                tops.setdefault(place.top.partition(b"/")[0], kind)
        self.tops = tuple(tops)
        self.whole = CONTENTS in tops
        self.lone = not relative and len(paths) == 1 and len(tops) == 1 and not stat.S_ISDIR(*tops.values())

    def _add(self, path: bytes) -> tuple[SourcePlace, int | None]:
        """Open a source; return its place and its type, None if it is passed over.

        Raises:
            OSError: It is not there.
        """
        place = self._place(path)
        shown = self.shown[-1] if self.shown and place.directory == self._opened else None
        root = _open_directory(place, self._beneath) if place.top == CONTENTS or shown is None else self.roots[-1]
        try:
            kind = stat.S_IFDIR if place.top == CONTENTS else _kind(root, place.top)
            if stat.S_ISDIR(kind) and not self._recursive and not self._dirs:
                self.passed_over.append(path)
                return place, None
            if place.top != CONTENTS and shown is not None:
                wanted = self._wanted[-1]
                assert wanted is not None
                wanted.add(place.top, listed=place.slash)
                shown.append(place.top.partition(b"/")[0])
                return place, kind
            self.roots.append(root)
            directory = place.directory if self._beneath is not None else expand_home(place.directory)
            self.places.append(place_of(root, directory, whole=place.top == CONTENTS, beneath=self._beneath))
            self.shown.append(None if place.top == CONTENTS else [place.top.partition(b"/")[0]])
            wanted = None if place.top == CONTENTS else Wanted(recursive=self._recursive)
            if wanted is not None:
                wanted.add(place.top, listed=place.slash)
            self._wanted.append(wanted)
            self._opened = place.directory
            return place, kind
        finally:
            if root not in self.roots[-1:]:
                root.close()

    def _place(self, path: bytes) -> SourcePlace:
        try:
            return relative_place(path) if self._relative else source_place(path)
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from error

    def shown_in(self, index: int, directory: bytes) -> list[bytes] | None:
        """Return the names that a root shows in a directory, or None for all."""
        wanted = self._wanted[index]
        if wanted is None:
            return None if self._recursive or not directory else []
        return None if directory and not self.selective else wanted.shown(directory)

    def implied(self, index: int, directory: bytes) -> bool:
        """Tell whether a directory of a root is there only since something beneath it was named."""
        wanted = self._wanted[index]
        return self._relative and wanted is not None and wanted.implied(directory)

    def close(self) -> None:
        """Let go of every directory."""
        for root in self.roots:
            root.close()


def _kind(root: Root, path: bytes) -> int:
    """Return the type of what stands at a path, no directory on the way to it being a symlink."""
    directory, name = split(check_path(path))
    with root.dir(directory) as lease:
        return stat.S_IFMT(os.stat(name, dir_fd=lease.fd, follow_symlinks=False).st_mode)


def _open_directory(place: SourcePlace, beneath: Root | None) -> Root:
    if beneath is None:
        path = expand_home(place.directory)
        try:
            return Root.open(path)
        except PermissionError:
            # To reach a name it is enough that the directory may be passed.
            if place.top == CONTENTS or not hasattr(os, "O_PATH"):
                raise
            return Root(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    parts = [part for part in place.directory.split(b"/") if part not in (b"", b".", b"~")]
    try:
        with beneath.dir(b"/".join(parts)) as directory:
            return Root(os.dup(directory.fd))
    except ValueError as error:
        raise OSError(errno.EINVAL, f"beneath --root there is no such place ({error})") from error
