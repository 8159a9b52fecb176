"""Which entries beneath one directory are wanted, where they were named one by one, with or without paths. Pure."""

from __future__ import annotations

from deltasync.tree.names import split

__all__ = ["Wanted"]


class Wanted:
    """Names beneath a directory.

    Args:
        recursive: Whether all that is in a directory that was named is wanted as well.
    """

    def __init__(self, *, recursive: bool) -> None:
        self._recursive = recursive
        self._names: dict[bytes, set[bytes]] = {b"": set()}
        self._named: set[bytes] = set()
        self._listed: set[bytes] = set()

    def add(self, path: bytes, *, listed: bool = False) -> None:
        """Want an entry, and of the directories on the way to it nothing else.

        Args:
            path: Its path.
            listed: Whether the entries in it are wanted, too, if it is a directory.
        """
        self._named.add(path)
        if listed:
            self._listed.add(path)
        while path:
            above, name = split(path)
            known = above in self._names
            self._names.setdefault(above, set()).add(name)
            if known and above:
                return
            path = above

    def shown(self, directory: bytes) -> list[bytes] | None:
        """Return the names that are wanted in a directory, ascending; None for all."""
        return None if self._covers(directory) else sorted(self._names.get(directory, ()))

    def implied(self, path: bytes) -> bool:
        """Tell whether a directory is wanted for what is beneath it alone."""
        return path in self._names and path not in self._named and not self._covers(split(path)[0])

    def _covers(self, directory: bytes) -> bool:
        if directory in self._listed:
            return True
        while self._recursive and directory:
            if directory in self._named:
                return True
            directory = split(directory)[0]
        return False
