"""What is to be done with one entry: the sender's entry and what stands at the destination in, a step out. Pure.

The rules are rsync's (its generator decides in this order): `--existing`, `--ignore-existing`, then type, then per type; regular files
go through `--min-size`, `--max-size`, `--update` and the quick check.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from enum import Enum, IntFlag
from typing import NamedTuple

from deltasync.tree.entry import Entry

__all__ = ["Change", "Deed", "Policy", "Step", "decide", "is_of_size", "kept_permissions"]


class Change(IntFlag):
    """What differs, or is new; the letters of an itemized line follow from it."""

    NONE = 0
    CONTENT = 1
    """The content of a regular file is sent, or what a symlink or device stands for changes."""
    SIZE = 2
    TIME = 4
    PERMS = 8
    OWNER = 16
    GROUP = 32
    NEW = 64
    """There was nothing of this type before."""
    CHECKSUM = 128
    """The digests were compared (`--checksum`) and differ."""


class Deed(Enum):
    """The kind of work that a step is."""

    KEEP = "keep"
    """Nothing is to be done."""
    SKIP = "skip"
    """Something could be done, but an option forbids it; a directory is not entered if it does not exist."""
    ATTRIBUTES = "attributes"
    """Only attributes change."""
    CONTENT = "content"
    """A regular file's content is needed from the sender."""
    MAKE = "make"
    """A directory, symlink, FIFO, socket or device is made, or replaced by another of its type."""


class Step(NamedTuple):
    """One decision.

    Attributes:
        deed: What is to be done.
        change: What differs.
        in_the_way: Whether something of another type must go before.
    """

    deed: Deed
    change: Change = Change.NONE
    in_the_way: bool = False


_NEW_FILE = Step(Deed.CONTENT, Change.NEW)
"""The commonest step by far, made once."""


class Policy(NamedTuple):
    """The options that decide about an entry, with what the receiver is able to do folded in.

    Attributes:
        perms, executability, times: As the options of `Settings`.
        dir_times, link_times: Whether directories and symlinks have the sender's times too.
        owner: Owners are kept: asked for, and the receiver is able to give files away.
        group: Tells for a gid (of the receiver's side) whether the group is kept.
        links, devices, specials: Which types are transferred at all.
        checksum, ignore_times, size_only, update, existing, ignore_existing, min_bytes, max_bytes: As the options of `Settings`.
        same_time: Tells whether two mtimes (ns) are equal as far as the destination can keep them.
    """

    perms: bool
    executability: bool
    times: bool
    dir_times: bool
    link_times: bool
    owner: bool
    group: Callable[[int], bool]
    links: bool
    devices: bool
    specials: bool
    checksum: bool
    ignore_times: bool
    size_only: bool
    update: bool
    existing: bool
    ignore_existing: bool
    min_bytes: int
    max_bytes: int | None
    same_time: Callable[[int, int], bool]


def kept_permissions(entry: Entry, current: Entry | None, umask: int, *, perms: bool, executability: bool = False) -> int:
    """Return the permission bits that the destination shall have.

    With `perms` these are the sender's. Without, what exists keeps its own, and what is new gets the sender's less the umask and
    the set-id bits, as rsync does. With `executability` a regular file that exists may be executed, by all who may read it, if the
    sender's may by anyone, and else by nobody.
    """
    if perms:
        return entry.mode & 0o7777
    if current is not None and current.kind == entry.kind:
        if not executability or entry.kind != stat.S_IFREG or _executable(entry) == _executable(current):
            return current.permissions
        return current.permissions | (current.permissions & 0o444) >> 2 if _executable(entry) else current.permissions & ~0o111
    return entry.mode & 0o777 & ~umask


def decide(entry: Entry, current: Entry | None, policy: Policy, same_content: Callable[[], bool]) -> Step:
    """Decide what is to be done with one entry.

    Args:
        entry: The sender's, with owner and group in the receiver's numbers.
        current: What stands at the destination, None for nothing.
        policy: The options.
        same_content: Compares a regular file's digests; called only for `--checksum` and equal sizes.
    """
    kind = entry.kind
    if _not_transferred(kind, policy):
        return Step(Deed.SKIP)
    if current is None:
        if policy.existing or (kind == stat.S_IFREG and not is_of_size(entry, policy)):
            return Step(Deed.SKIP)
        return _make(kind, in_the_way=False)
    if policy.ignore_existing and not kind == current.kind == stat.S_IFDIR:
        return Step(Deed.SKIP)
    if kind == stat.S_IFREG and not is_of_size(entry, policy):
        return Step(Deed.SKIP)
    if current.kind != kind:
        return _make(kind, in_the_way=True)
    if kind == stat.S_IFREG:
        return _decide_regular(entry, current, policy, same_content)
    differs = _attributes(entry, current, policy)
    if (kind == stat.S_IFLNK and entry.target != current.target) or entry.rdev != current.rdev:
        return Step(Deed.MAKE, differs | Change.CONTENT)
    return Step(Deed.ATTRIBUTES, differs) if differs else Step(Deed.KEEP)


def _not_transferred(kind: int, policy: Policy) -> bool:
    if kind == stat.S_IFLNK:
        return not policy.links
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        return not policy.devices
    return kind in (stat.S_IFIFO, stat.S_IFSOCK) and not policy.specials


def is_of_size(entry: Entry, policy: Policy) -> bool:
    """Tell whether a regular file is as long as the options want it."""
    return policy.min_bytes <= entry.size and (policy.max_bytes is None or entry.size <= policy.max_bytes)


def _make(kind: int, *, in_the_way: bool) -> Step:
    if kind == stat.S_IFREG and not in_the_way:
        return _NEW_FILE
    return Step(Deed.CONTENT if kind == stat.S_IFREG else Deed.MAKE, Change.NEW, in_the_way)


def _decide_regular(entry: Entry, current: Entry, policy: Policy, same_content: Callable[[], bool]) -> Step:
    same_time = policy.same_time(entry.mtime_ns, current.mtime_ns)
    if policy.update and not same_time and current.mtime_ns > entry.mtime_ns:
        return Step(Deed.SKIP)
    differs = _attributes(entry, current, policy)
    if entry.size != current.size:
        change = differs | Change.SIZE | Change.CONTENT
        return Step(Deed.CONTENT, change | Change.CHECKSUM if policy.checksum else change)
    if policy.checksum:
        if not same_content():
            return Step(Deed.CONTENT, differs | Change.CONTENT | Change.CHECKSUM)
    elif not policy.size_only and (policy.ignore_times or not same_time):
        return Step(Deed.CONTENT, differs | Change.CONTENT)
    return Step(Deed.ATTRIBUTES, differs) if differs else Step(Deed.KEEP)


def _has_time(kind: int, policy: Policy) -> bool:
    if kind == stat.S_IFDIR:
        return policy.dir_times
    return policy.link_times if kind == stat.S_IFLNK else policy.times


def _attributes(entry: Entry, current: Entry, policy: Policy) -> Change:
    """Return which attributes differ among those that are kept."""
    change = Change.NONE
    if _has_time(entry.kind, policy) and not policy.same_time(entry.mtime_ns, current.mtime_ns):
        change |= Change.TIME
    if policy.perms and entry.kind != stat.S_IFLNK and entry.permissions != current.permissions:
        change |= Change.PERMS
    if not policy.perms and policy.executability and entry.kind == stat.S_IFREG and _executable(entry) != _executable(current):
        change |= Change.PERMS
    if policy.owner and entry.uid != current.uid:
        change |= Change.OWNER
    if entry.gid != current.gid and policy.group(entry.gid):
        change |= Change.GROUP
    return change


def _executable(entry: Entry) -> bool:
    return bool(entry.mode & 0o111)
