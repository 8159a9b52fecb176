"""The work list: what was seen to change, each place once, until it is taken as a batch. Pure: the clock is an argument.

Marks never say what happened, only where to look. Names are gathered by directory; so many names of one directory that listing it costs
no more become that directory, and so many directories become the whole tree. Renames keep their order, and what was marked beneath a
directory follows it to its new name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import NamedTuple

from deltasync.tree.names import join, split

__all__ = ["MAX_DIRECTORIES", "MAX_NAMES", "MAX_RENAMES", "Batch", "Dirty", "Mark", "WorkList"]

MAX_NAMES = 8192
"""More names of one directory than this become the directory."""
MAX_DIRECTORIES = 1024
"""More listed directories than this become the whole tree."""
MAX_DIRTY = 1 << 18
"""More names than this in all become the whole tree: some 50 MiB."""
MAX_RENAMES = 65_536
"""More renames than this become the whole tree."""
MANY_GONE = 20
"""When more than this was deleted, it is gathered until no more is, so that it shows whether all is gone."""
GONE_QUIET_S = 0.25
GONE_LONGEST_S = 10.0
LONGEST_GATHER = 10.0
"""A place that is marked again and again is due at the latest after this many times the wait of its last mark."""
FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.5
"""A place that was just taken rests for a pause, which doubles from the first to the longest while it is marked again and again."""


class Mark(IntFlag):
    """What is to be looked at in a place."""

    LOOK = 1
    """The entry itself."""
    WRITTEN = 2
    """And its content, whatever its size and times say."""
    TREE = 4
    """And, if it is a directory, all that is beneath it."""
    GONE = 8
    """It was deleted."""


class Dirty(NamedTuple):
    """A name that is marked.

    Attributes:
        mark: What is to be looked at.
        seen_at: When it was first marked.
        due_at: When it may be taken.
        wait_s: How long it had better wait from its last mark on.
    """

    mark: Mark
    seen_at: float
    due_at: float
    wait_s: float = 0.0


@dataclass(slots=True)
class Batch:
    """What is to be looked at now.

    Attributes:
        renames: Pairs of old and new path, in the order in which they happened.
        names: By directory the names in it.
        directories: Directories to be listed (not what is beneath them), and since when files in them may have been written.
        everything: Since when the whole tree is in doubt; None if it is not.
    """

    renames: list[tuple[bytes, bytes]] = field(default_factory=list)
    names: dict[bytes, dict[bytes, Dirty]] = field(default_factory=dict)
    directories: dict[bytes, float] = field(default_factory=dict)
    everything: float | None = None

    def __len__(self) -> int:
        return sum(map(len, self.names.values())) + len(self.directories) + len(self.renames) + (self.everything is not None)


class WorkList:
    """Gathers marks. Times are seconds of one clock that never goes back; not safe for use by several threads at once.

    Args:
        settle_s: How long everything waits for the next mark in its place; None for what suits the kind of mark.
    """

    def __init__(self, settle_s: float | None = None) -> None:
        self._settle_s = settle_s
        self._work = Batch()
        self._dirty = 0
        self._due: float | None = None
        self._gone = 0
        self._gone_until = self._gone_since = 0.0
        self._rested: dict[bytes, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._work)

    def mark(self, directory: bytes, name: bytes, mark: Mark, now: float, wait_s: float = 0.0) -> None:
        """Mark a name of a directory (`b""` is the root).

        Args:
            directory: Where it is.
            name: What it is called.
            mark: What is to be looked at.
            now: The time.
            wait_s: How long it had better wait for what may follow; 0 has a place taken at once that waits.
        """
        if mark & Mark.GONE:
            self._count_gone(now)
        if directory in self._work.directories and mark is not Mark.LOOK | Mark.TREE:
            self._hasten(now)
            return
        names = self._work.names.setdefault(directory, {})
        known = names.get(name)
        due_at, seen_at = self._due_at(directory, name, known, now, wait_s), now
        if known is None:
            self._dirty += 1
        else:
            # What is there again is not gone.
            gone = mark & Mark.GONE
            mark, seen_at, wait_s = (mark | known.mark) & ~Mark.GONE | gone, known.seen_at, min(wait_s, known.wait_s)
        names[name] = Dirty(mark, seen_at, due_at, wait_s)
        self._hasten(due_at)
        if len(names) > MAX_NAMES:
            self._collapse(directory, names)
        if self._dirty > MAX_DIRTY:
            self._only_everything(seen_at, now)

    def _count_gone(self, now: float) -> None:
        """Count a deletion; many in a row are held back until they come to an end."""
        if now > self._gone_until:
            self._gone, self._gone_since = 0, now
        self._gone += 1
        self._gone_until = min(now + GONE_QUIET_S, self._gone_since + GONE_LONGEST_S)

    def _held_until(self, dirty: Dirty) -> float:
        """Return when a name may be taken."""
        return max(dirty.due_at, self._gone_until) if dirty.mark & Mark.GONE and self._gone > MANY_GONE else dirty.due_at

    def touch(self, directory: bytes, now: float) -> None:
        """Have a directory's own attributes looked at."""
        self._work.names.setdefault(directory, {})
        self._hasten(now)

    def _due_at(self, directory: bytes, name: bytes, known: Dirty | None, now: float, wait_s: float) -> float:
        first = now if known is None else known.seen_at
        if self._settle_s is not None:
            return min(now + self._settle_s, first + LONGEST_GATHER * self._settle_s)
        due_at = min(now + wait_s, first + LONGEST_GATHER * wait_s)
        if known is not None and known.wait_s < wait_s:
            # What needs to wait less is not put off by this.
            due_at = min(due_at, known.due_at)
        rested = self._rested.get(join(directory, name))
        return due_at if rested is None else max(due_at, sum(rested))

    def _hasten(self, due_at: float) -> None:
        if self._due is None or due_at < self._due:
            self._due = due_at

    def _collapse(self, directory: bytes, names: dict[bytes, Dirty]) -> None:
        since = min(dirty.seen_at for dirty in names.values())
        trees = {name: dirty for name, dirty in names.items() if dirty.mark & Mark.TREE}
        self._dirty -= len(names) - len(trees)
        if trees:
            self._work.names[directory] = trees
        else:
            del self._work.names[directory]
        self.list_directory(directory, since, since)

    def list_directory(self, directory: bytes, since: float, now: float) -> None:
        """Have a directory listed, not what is beneath it; `since` is the earliest time at which files in it may have been written."""
        known = self._work.directories
        known[directory] = min(since, known.get(directory, since))
        self._hasten(now)
        if len(known) > MAX_DIRECTORIES:
            earliest = min(known.values())
            known.clear()
            self.doubt_everything(earliest, now)

    def doubt_everything(self, since: float, now: float) -> None:
        """Have the whole tree looked at: nothing is known of what changed since a time."""
        before = self._work.everything
        self._work.everything = since if before is None else min(since, before)
        self._hasten(now)

    def _only_everything(self, since: float, now: float) -> None:
        """Forget all marks for a look at the whole tree, since there are too many."""
        self._work = Batch(everything=self._work.everything)
        self._dirty = 0
        self.doubt_everything(since, now)

    def rename(self, old: bytes, new: bytes, now: float) -> None:
        """Take note that an entry has another path now; what was marked at the old one and beneath is marked at the new one."""
        work = self._work
        if len(work.renames) >= MAX_RENAMES:
            work.renames.clear()
            self.doubt_everything(now, now)
        work.renames.append((old, new))
        self._move_beneath(old, new)
        directory, name = split(old)
        moved = work.names.get(directory, {}).get(name)
        self.mark(directory, name, Mark.LOOK, now)
        self.mark(*split(new), (Mark.LOOK if moved is None else moved.mark), now if moved is None else moved.seen_at)

    def _move_beneath(self, old: bytes, new: bytes) -> None:
        beneath = old + b"/"
        for directory in [path for path in self._work.names if path == old or path.startswith(beneath)]:
            moved = self._work.names.pop(directory)
            there = self._work.names.setdefault(new + directory[len(old) :], {})
            self._dirty -= len(there.keys() & moved.keys())
            there.update(moved)
        for directory in [path for path in self._work.directories if path == old or path.startswith(beneath)]:
            self._work.directories[new + directory[len(old) :]] = self._work.directories.pop(directory)

    @property
    def due_at(self) -> float | None:
        """When there is something to take; None if nothing is marked."""
        return self._due

    def give_back(self, batch: Batch, now: float) -> None:
        """Take back what was taken and not done; renames of it become looks at both of their places."""
        if batch.everything is not None:
            self.doubt_everything(batch.everything, now)
        for old, new in batch.renames:
            self.mark(*split(old), Mark.LOOK, now)
            self.mark_again(new, Mark.LOOK | Mark.WRITTEN | Mark.TREE, now)
        for directory, names in batch.names.items():
            for name, dirty in names.items():
                self.mark_again(join(directory, name), dirty.mark, now)
        for directory, since in batch.directories.items():
            self.list_directory(self._now_at(directory), since, now)

    def mark_again(self, path: bytes, mark: Mark, now: float, wait_s: float = 0.0) -> None:
        """Mark an entry of a batch that was taken, at the path that it has by the renames that came since."""
        self.mark(*split(self._now_at(path)), mark, now, wait_s)

    def _now_at(self, path: bytes) -> bytes:
        for old, new in self._work.renames:
            if path == old or path.startswith(old + b"/"):
                path = new + path[len(old) :]
        return path

    def take(self, now: float) -> Batch | None:
        """Return what is due, and forget it; None if nothing is."""
        if self._due is None or self._due > now:
            return None
        work = self._work
        ready = Batch(work.renames, {}, work.directories, work.everything)
        late: dict[bytes, dict[bytes, Dirty]] = {}
        self._due, self._dirty = None, 0
        for directory, names in work.names.items():
            waiting = {name: dirty for name, dirty in names.items() if self._held_until(dirty) > now}
            if not waiting:
                ready.names[directory] = names
                continue
            late[directory] = waiting
            self._dirty += len(waiting)
            self._hasten(min(map(self._held_until, waiting.values())))
            if len(waiting) < len(names):
                ready.names[directory] = {name: dirty for name, dirty in names.items() if name not in waiting}
        self._work = Batch(names=late)
        self._rest(ready, now)
        return ready if ready.names or ready.directories or ready.renames or ready.everything is not None else None

    def _rest(self, ready: Batch, now: float) -> None:
        """Have every place that is taken rest, for longer if it was taken just before."""
        rested, self._rested = self._rested, {}
        for path, (at, pause_s) in rested.items():
            if now - at < 2 * pause_s + FIRST_PAUSE_S:
                self._rested[path] = (at, pause_s)
        if len(self._rested) > MAX_NAMES:
            self._rested.clear()
        for directory, names in ready.names.items():
            if len(names) > 64:
                continue
            for name in names:
                path = join(directory, name)
                before = self._rested.get(path)
                self._rested[path] = (now, FIRST_PAUSE_S if before is None else min(2 * before[1], LONGEST_PAUSE_S))
