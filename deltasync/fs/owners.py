"""Owners and groups by name: numbers of one machine to names, and names to the numbers of another."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterable, Sequence

from deltasync.tree.owner_map import Pair, find

__all__ = ["MAX_OWNERS", "OwnerNames", "OwnerNumbers", "group_name", "user_name"]

MAX_OWNERS = 1 << 18
"""How many numbers of the peer's users, and of its groups, are taken."""
_MAX_NUMBER = (1 << 32) - 2
_MAX_DIGITS = 10


def user_name(uid: int) -> bytes:
    """Return the login name of a user here; `b""` where it has none."""
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return b""


def group_name(gid: int) -> bytes:
    """Return the name of a group here; `b""` where it has none."""
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except (KeyError, OverflowError):
        return b""


class OwnerNames:
    """Sender's side: gives each number's name once.

    Args:
        lookup: `user_name` or `group_name`.
    """

    def __init__(self, lookup: Callable[[int], bytes]) -> None:
        self._lookup = lookup
        self._told: set[int] = set()

    def news(self, numbers: Iterable[int]) -> list[tuple[int, bytes]]:
        """Return the numbers that were not given before, with their names; those without a name are left out."""
        fresh = set(numbers) - self._told
        self._told |= fresh
        pairs = [(number, self._lookup(number)) for number in sorted(fresh) if number]
        return [(number, name) for number, name in pairs if name]


class OwnerNumbers:
    """Receiver's side: the peer's numbers to those of this machine, by name where both know it, else unchanged.

    Args:
        find: Gives the number of a name here; raises KeyError for an unknown name.
        zero: The name of number 0 here, which the sender never tells.
        pairs: The user's own, which come first.

    Raises:
        ValueError: One of these leads to a name that is unknown here.
    """

    def __init__(self, find: Callable[[bytes], int], zero: bytes = b"root", pairs: Sequence[Pair] = ()) -> None:
        self._find = find
        self._learned = 0
        self._map: dict[int, int] = {}
        self._pairs = pairs
        self._names: dict[int, bytes] = {0: zero}
        self._chosen: dict[int, int] = {}
        self._numbers = {pair.to: self._number(pair.to) for pair in pairs}

    @classmethod
    def of_users(cls, pairs: Sequence[Pair] = ()) -> OwnerNumbers:
        """For owners."""
        return cls(lambda name: pwd.getpwnam(os.fsdecode(name)).pw_uid, user_name(0), pairs)

    @classmethod
    def of_groups(cls, pairs: Sequence[Pair] = ()) -> OwnerNumbers:
        """For groups."""
        return cls(lambda name: grp.getgrnam(os.fsdecode(name)).gr_gid, group_name(0), pairs)

    def _number(self, to: bytes) -> int:
        if to.isdigit() and len(to) <= _MAX_DIGITS and int(to) <= _MAX_NUMBER:
            return int(to)
        try:
            return self._find(to)
        except KeyError:
            raise ValueError(f"{os.fsdecode(to)!r} is not known here") from None

    def learn(self, pairs: Iterable[tuple[int, bytes]]) -> None:
        """Take names of the peer's numbers; 0 is always 0.

        Raises:
            ValueError: The peer names more than `MAX_OWNERS`.
        """
        for number, name in pairs:
            self._learned += 1
            if self._learned > MAX_OWNERS:
                raise ValueError(f"more than {MAX_OWNERS} owners")
            if not number or b"\0" in name:
                continue
            if self._pairs:
                self._names[number] = name
            try:
                here = self._find(name)
            except KeyError:
                continue
            if here != number:
                self._map[number] = here

    @property
    def identical(self) -> bool:
        """Whether every number means the same on both sides."""
        return not self._map and not self._pairs

    def here(self, number: int) -> int:
        """Return the number on this machine."""
        if not self._pairs:
            return self._map.get(number, number)
        chosen = self._chosen.get(number)
        if chosen is None:
            to = find(self._pairs, number, self._names.get(number, b""))
            chosen = self._chosen[number] = self._map.get(number, number) if to is None else self._numbers[to]
        return chosen
