"""The receiver's decisions: each entry that differs is judged, and what needs no content from the sender is done at once."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from deltasync.engine.arrivals import Arrivals
from deltasync.engine.base import worth_a_delta
from deltasync.engine.bases import Bases
from deltasync.engine.comparison import Beside, Opposite
from deltasync.engine.deletions import Deletions
from deltasync.engine.destination import Destination
from deltasync.engine.directories import Directories
from deltasync.engine.elsewhere import Elsewhere
from deltasync.engine.ground import Ground
from deltasync.engine.links import Links, Postponed
from deltasync.engine.listed import Listed
from deltasync.engine.making import Making
from deltasync.engine.mounts import not_mounted
from deltasync.engine.sameness import had
from deltasync.engine.spool import Spool
from deltasync.engine.streams import Expected
from deltasync.engine.unfinished import finish
from deltasync.errors import RemoteProtocolError
from deltasync.fs.journals import is_journal, is_quarantined
from deltasync.fs.listing import entry_at
from deltasync.fs.root import Dir
from deltasync.patch.attributes import Attributes, apply_at
from deltasync.tree.entry import Entry
from deltasync.tree.names import join, split
from deltasync.tree.plan import Change, Deed, Step, decide
from deltasync.tree.rows import Section
from deltasync.tree.symlinks import leads_out
from deltasync.wire.messages import Tree

__all__ = ["Asked", "Decisions"]

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(tuple[bytes, int, Entry]).decode
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_BATCH_FILES = 1024


class Asked(NamedTuple):
    """Indexes within a section of the files whose content is needed: now, put off till later, or now as a delta to a base.

    Of some of the first, `had` has their index and the digest of what is here.
    """

    whole: list[int]
    deferred: list[int]
    delta: list[int]
    had: list[tuple[int, bytes]]


class Decisions:
    """Judges sections in their order."""

    def __init__(
        self,
        ground: Ground,
        tree: Tree,
        destination: Destination,
        directories: Directories,
        deletions: Deletions,
        links: Links,
        arrivals: Arrivals,
        bases: Bases,
    ) -> None:
        self._bases = bases
        self._elsewhere = Elsewhere(ground, made=destination.made)
        self._ground = ground
        self._tree = tree
        self._directories = directories
        self._deletions = deletions
        self._links = links
        self._making = Making(ground, links)
        self._arrivals = arrivals
        self._made = destination.made
        self._destination = destination
        self._beside: Beside | None = None
        self._path: bytes | None = None
        self._listed = Listed(ground, tree)
        self._blocked = Spool()
        self._loosened = False
        self._absent: set[bytes] = set()

    def close(self) -> None:
        """Let go of the directory in hand."""
        if self._beside is not None:
            self._beside.close()
            self._beside = None

    def end(self) -> None:
        """Take note that no section follows.

        Raises:
            RemoteProtocolError: A directory was not listed to its end.
        """
        if self._path is not None:
            raise RemoteProtocolError("the peer ended its listing in the middle of a directory")

    def section(self, section: Section, first_id: int) -> Asked:
        """Judge a section whose first entry has the number `first_id`.

        Raises:
            RemoteProtocolError: It does not follow on the one before, or holds what the rules exclude.
        """
        if section.first is not (self._path is None) or (self._path is not None and section.path != self._path):
            raise RemoteProtocolError("the peer sent the sections of a directory out of order")
        self._listed.check(section)
        section = self._destination.renamed(section)
        if section.first:
            self._path = section.path
            self._beside = self._open(section)
        asked = Asked([], [], [], [])
        if self._beside is not None:
            for opposite in self._beside.differing(section):
                self._judge(self._beside, opposite, first_id, asked)
        if section.last:
            self._leave(section)
            self._path = None
        return asked

    # Directories --------------------------------------------------------------------------------------------------------------------

    def _open(self, section: Section) -> Beside | None:
        """Open the directory that stands opposite; None where there is none to work in."""
        ground, path = self._ground, section.path
        self._loosened = False
        lease: Dir | None = None
        try:
            if ground.root is not None:
                lease = self._lease(path)
            beside = Beside(ground, path, lease, self._elsewhere.saw, partial=section.partial)
        except OSError as error:
            if lease is not None:
                lease.release()
            if error.errno not in _NOT_THERE:
                ground.failed(path, b"", error, "the directory can't be opened")
                return None
            if self._is_absent(path):
                return None
            if not ground.settings.dry_run:
                if not ground.settings.existing:
                    self._absent.add(path)
                    ground.reporter.problem(path, "the directory went away while it was worked in; run again")
                return None
            beside = Beside(ground, path, None, self._elsewhere.saw)
        finish(ground, path, beside.fd, beside.reserved)
        if ground.durable is not None and beside.fd >= 0:
            ground.durable.saw(beside.fd)
        if section.empty and beside.occupied and path in self._tree.tops and ground.settings.delete and not ground.settings.force_empty:
            self._deletions.hold_back(
                path or b".", "the source is empty and the destination is not: nothing was deleted; --force-empty does it"
            )
        if not path and self._tree.whole:
            self._judge_root(section, beside)
        return beside

    def _is_absent(self, path: bytes) -> bool:
        """Tell whether a directory, or one above it, was not made or not wanted, and that has been said where it matters."""
        while path:
            if path in self._absent:
                return True
            path = split(path)[0]
        return False

    def _lease(self, path: bytes) -> Dir:
        root, dry_run = self._ground.root, self._ground.settings.dry_run
        assert root is not None
        try:
            return root.dir(path)
        except PermissionError:
            if dry_run or not path:
                raise
        parent, name = split(path)
        with root.dir(parent) as above:
            entry = entry_at(above.fd, name)
            if entry is None or entry.uid != self._ground.abilities.uid:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            apply_at(above.fd, name, Attributes(mode=entry.permissions | 0o700), stat.S_IFDIR)
        self._loosened = True
        return root.dir(path)

    def _judge_root(self, section: Section, beside: Beside) -> None:
        entry = self._ground.localised(section.own)
        current = None if self._made else beside.own
        step = Step(Deed.MAKE, Change.NEW) if current is None else decide(entry, current, beside.policy, lambda: True)
        if step.change:
            self._ground.counts.entries_changed += 1
            self._ground.item(b"", entry, step)

    def _touch(self, beside: Beside) -> None:
        """Note that names in the directory change, and permit that if its mode does not."""
        if beside.touched:
            return
        beside.touched = True
        if self._ground.durable is not None:
            self._ground.durable.changes(beside.path)
        own, abilities = beside.own, self._ground.abilities
        if own is None or self._ground.settings.dry_run or abilities.is_root or own.permissions & 0o700 == 0o700:
            return
        if own.uid == abilities.uid:
            os.fchmod(beside.fd, own.permissions | 0o700)
            self._loosened = True

    def _leave(self, section: Section) -> None:
        beside, self._beside = self._beside, None
        if beside is None:
            return
        listed_whole = bool(section.path) or self._tree.whole
        if extras := not_mounted(self._ground, beside, whole=self._tree.whole):
            goes = self._ground.settings.delete and listed_whole and not section.incomplete
            self._elsewhere.left(section.path, extras, goes=goes)
            if goes:
                self._touch(beside)
                self._deletions.note(section.path, extras)
        if leftovers := [name for name in beside.reserved if not is_journal(name) and not is_quarantined(name)]:
            self._touch(beside)
            self._deletions.note_leftovers(section.path, leftovers)
        if beside.own is not None and listed_whole and not self._ground.settings.dry_run:
            self._remember(section, beside, beside.own)
        beside.close()

    def _remember(self, section: Section, beside: Beside, own: Entry) -> None:
        """Note what the directory shall have in the end."""
        entry = self._ground.localised(section.own)
        settings = self._ground.settings
        change = decide(entry, own, beside.policy, lambda: True).change
        attributes = self._ground.changed(entry, own, change)
        if beside.touched and self._ground.dir_times:
            attributes = attributes._replace(mtime_ns=entry.mtime_ns)
        if self._loosened and attributes.mode is None:
            attributes = attributes._replace(mode=entry.permissions if settings.perms else own.permissions)
        if any(value is not None for value in attributes):
            self._directories.remember(section.path, attributes)

    # Entries ------------------------------------------------------------------------------------------------------------------------

    def _judge(self, beside: Beside, opposite: Opposite, first_id: int, asked: Asked) -> None:
        entry, current = opposite.entry, opposite.current
        if self._ground.settings.safe_links and entry.kind == stat.S_IFLNK and leads_out(entry.target, join(beside.path, entry.name)):
            return
        if entry.link_group and self._links.leads(entry):
            if self._links.follow(beside.path, opposite, beside.policy):
                self._touch(beside)
            return
        step = decide(entry, current, beside.policy, beside.same_content(opposite))
        waits = self._links.waits(entry, step)
        if entry.link_group and not waits:
            self._links.lead(beside.path, opposite, step)
        if step.deed is Deed.SKIP and entry.kind == stat.S_IFDIR and current is not None:
            self._absent.add(join(beside.path, entry.name))
        if step.deed in (Deed.KEEP, Deed.SKIP):
            return
        if step.deed is Deed.ATTRIBUTES:
            self._set_attributes(beside, entry, current, step)
            return
        self._touch(beside)
        blocked = step.in_the_way and current is not None and stat.S_ISDIR(current.mode)
        blocked = blocked and not self._deletions.make_way(beside.path, beside.fd, entry.name)
        if blocked and not self._ground.settings.delete:
            return
        if blocked or waits:
            name = Postponed(beside.path, first_id + opposite.at, entry, blocked)
            if waits:
                self._links.postpone(name)
            else:
                self._blocked.append(_ENCODE(name[:3]))
            if entry.kind == stat.S_IFREG and not self._ground.settings.dry_run:
                asked.deferred.append(opposite.at)
        elif step.deed is Deed.MAKE:
            if not self._making.make(beside.path, beside.fd, entry, current, step) and entry.kind == stat.S_IFDIR:
                self._absent.add(join(beside.path, entry.name))
        else:
            expected = Expected(beside.path, entry, current if not step.in_the_way else None)
            if self._elsewhere.wants(entry, current):
                self._ground.item(join(beside.path, entry.name), entry, step)
                self._elsewhere.wait(first_id + opposite.at, expected)
                asked.deferred.append(opposite.at)
                return
            if not self._asks(first_id + opposite.at, expected, step):
                return
            if worth_a_delta(entry, expected.current, self._ground.settings):
                asked.delta.append(opposite.at)
                self._bases.want(first_id + opposite.at, expected, self._elsewhere.left_of(expected, beside.reserved))
            else:
                asked.whole.append(opposite.at)
                if not opposite.digest and not self._ground.settings.whole_file:
                    self._say_what_is_here(beside.fd, opposite.at, first_id, expected, asked)

    def _say_what_is_here(self, dir_fd: int, at: int, first_id: int, expected: Expected, asked: Asked) -> None:
        """Give the sender the digest of what a small file replaces, if it may be the same."""
        found = had(dir_fd, expected.entry, expected.current)
        if found is not None:
            asked.had.append((at, found.digest))
            self._arrivals.expect(first_id + at, expected._replace(identity=found.identity))

    def _asks(self, file_id: int, expected: Expected, step: Step) -> bool:
        """Say that a file comes, and expect it; False in a dry run, which does not ask for it."""
        ground, entry = self._ground, expected.entry
        awaited = None if ground.settings.dry_run else file_id
        ground.item(join(expected.directory, entry.name), entry, step, awaited=awaited)
        if ground.settings.dry_run:
            ground.counts.files_written += 1
            ground.counts.entries_changed += 1
            return False
        self._arrivals.expect(file_id, expected)
        return True

    def _set_attributes(self, beside: Beside, entry: Entry, current: Entry | None, step: Step) -> None:
        ground, path = self._ground, join(beside.path, entry.name)
        # A directory's attributes are set when its own section is through; only the line and the count belong here.
        if not ground.settings.dry_run and not stat.S_ISDIR(entry.mode):
            try:
                lost = apply_at(beside.fd, entry.name, ground.changed(entry, current, step.change), entry.kind)
            except (OSError, OverflowError) as error:
                ground.failed(beside.path, entry.name, error, "its attributes can't be set")
                return
            ground.lost(beside.path, entry.name, lost)
        ground.counts.entries_changed += 1
        ground.item(path, entry, step)

    # What was put off ---------------------------------------------------------------------------------------------------------------

    def take_up(self) -> Iterator[tuple[list[int], list[int]]]:
        """Now that all is listed, yield the numbers of large files that waited, in batches: those wanted whole, and those with a base."""
        found = self._elsewhere.found()
        while batch := list(islice(found, _BATCH_FILES)):
            for file_id, expected, candidate in batch:
                self._arrivals.expect(file_id, expected)
                if candidate is not None:
                    self._bases.want(file_id, expected, candidate)
            yield [one.file_id for one in batch if one.candidate is None], [one.file_id for one in batch if one.candidate is not None]

    def elect(self) -> Iterator[list[int]]:
        """Now that all is listed, have a name lead each group of hard links that is not here; yield the numbers of these in batches."""
        return _batches(self._elected())

    def _elected(self) -> Iterator[int]:
        for name in self._links.elect():
            if name.blocked:
                self._blocked.append(_ENCODE(name[:3]))
            elif self._asks(name.file_id, Expected(name.directory, name.entry, None), Step(Deed.CONTENT, Change.NEW)):
                yield name.file_id

    def unblock(self) -> Iterator[list[int]]:
        """Now that deletions are done, clear directories away that stand in the place of something else.

        What needs no content is made; the numbers of the files that are wanted now are yielded in batches.
        """
        return _batches(self._unblocked())

    def _unblocked(self) -> Iterator[int]:
        for record in self._blocked:
            directory, file_id, entry = _DECODE(record)
            if not self._deletions.replace(join(directory, entry.name)):
                continue
            if entry.kind != stat.S_IFREG:
                self._make_unblocked(directory, entry)
            elif self._asks(file_id, Expected(directory, entry, None), Step(Deed.CONTENT, Change.NEW)):
                yield file_id
        self._blocked = Spool()

    def _make_unblocked(self, directory: bytes, entry: Entry) -> None:
        root = self._ground.root
        assert root is not None
        try:
            with root.dir(directory) as lease:
                self._making.make(directory, lease.fd, entry, None, Step(Deed.MAKE, Change.NEW))
        except OSError as error:
            self._ground.failed(directory, entry.name, error, "it can't be made")


def _batches(ids: Iterator[int]) -> Iterator[list[int]]:
    while batch := list(islice(ids, _BATCH_FILES)):
        yield batch
