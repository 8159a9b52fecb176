"""The sources of a run as one tree: every source's directory held open, and the union of what they show."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from deltasync.fs.root import Root
from deltasync.tree.sources import CONTENTS, source_place

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

    Attributes:
        roots: One per source that is there; paths of the tree are relative to any of them.
        tops: For each root the one name that it shows, or `CONTENTS`.
        missing: The sources that are not there, with the reason.
        whole: Whether the contents of some source make up the root.
        lone: Whether the tree is a single entry that is no directory.
    """

    def __init__(self, paths: Sequence[bytes], *, beneath: Root | None = None) -> None:
        self.roots: list[Root] = []
        self.tops: list[bytes] = []
        self.missing: list[Missing] = []
        kinds: list[int] = []
        for path in paths:
            try:
                root, top, kind = _open_source(path, beneath)
            except OSError as error:
                self.missing.append((path, error))
                continue
            self.roots.append(root)
            self.tops.append(top)
            kinds.append(kind)
        self.whole = CONTENTS in self.tops
        self.lone = len(paths) == 1 and len(kinds) == 1 and not stat.S_ISDIR(kinds[0])

    def close(self) -> None:
        """Let go of every directory."""
        for root in self.roots:
            root.close()


def _open_source(path: bytes, beneath: Root | None) -> tuple[Root, bytes, int]:
    place = source_place(path)
    if beneath is None:
        root = Root.open(expand_home(place.directory))
    else:
        relative = b"/".join(part for part in place.directory.split(b"/") if part not in (b"", b".", b"~"))
        with beneath.dir(relative) as directory:
            root = Root(os.dup(directory.fd))
    try:
        if place.top == CONTENTS:
            return root, CONTENTS, stat.S_IFDIR
        return root, place.top, stat.S_IFMT(os.stat(place.top, dir_fd=root.fd, follow_symlinks=False).st_mode)
    except OSError:
        root.close()
        raise
