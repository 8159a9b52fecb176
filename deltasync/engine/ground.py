"""The ground that a receiver stands on: the held root, the options, and what this process is able to do there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from deltasync.engine.lines import Lines
from deltasync.engine.reporter import Reporter, reason
from deltasync.errors import ExitCode, UsageError
from deltasync.fs.facts import TimeGranularity
from deltasync.fs.merge_file import RulesError
from deltasync.fs.owners import OwnerNumbers
from deltasync.fs.root import Root
from deltasync.fs.selection import Place, Selection
from deltasync.patch.attributes import Attributes, Lost
from deltasync.patch.sync import NotDurable
from deltasync.tree.chmod import Chmod, parse_chmod
from deltasync.tree.entry import Entry
from deltasync.tree.filters import Filters
from deltasync.tree.itemize import itemized
from deltasync.tree.merging import items_from_wire
from deltasync.tree.names import join, split
from deltasync.tree.owner_map import Pair, parse_owner_map
from deltasync.tree.plan import Change, Deed, Policy, Step, kept_permissions
from deltasync.tree.rules import Rule, Side
from deltasync.wire.messages import Item
from deltasync.wire.settings import Settings

if TYPE_CHECKING:
    from deltasync.engine.durable import Durable
    from deltasync.patch.backup import Backups

__all__ = ["Abilities", "BackupFailed", "Ground", "ModeImpossible", "ReceiverCounts"]

_OF_DESTINATION = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""A full or read-only disk is an error of the destination as a whole (exit 11), though the other paths go on."""


class ModeImpossible(OSError):
    """A file can't be changed in the way that the user demands; that is an error of the destination as well."""


class BackupFailed(OSError):
    """What was to be replaced could not be kept, so that it stays what it is."""


class ReceiverCounts:
    """What the receiver counts; see `Summary`.

    Attributes:
        modes: Files by how they were given new content.
    """

    def __init__(self) -> None:
        self.files_written = 0
        self.entries_changed = 0
        self.files_deleted = 0
        self.matched_bytes = 0
        self.resent_whole = 0
        self.modes = {"clone": 0, "stage": 0, "inplace": 0}


class Abilities(NamedTuple):
    """What this process may do with owners and modes.

    Attributes:
        uid, gid: Its effective numbers; new entries belong to them.
        groups: The groups that it may give its files to.
        umask: The permission bits that it takes from new entries.
    """

    uid: int
    gid: int
    groups: frozenset[int]
    umask: int

    @classmethod
    def here(cls) -> Abilities:
        """Those of this process; no thread may make files meanwhile, since the mask can only be read by setting it."""
        umask = os.umask(0o077)
        os.umask(umask)
        return cls(os.geteuid(), os.getegid(), frozenset((*os.getgroups(), os.getegid())), umask)

    @property
    def is_root(self) -> bool:
        """Whether files can be given away."""
        return self.uid == 0


class Ground:
    """What every part of the receiver shares.

    Attributes:
        root: The destination, or None in a dry run into a directory that does not exist.
        settings: The options.
        filters: Which entries the sender leaves out, by the rules that count there.
        reporter: Hears of items and problems.
        abilities: What this process may do.
        check: Called again and again while something takes long; raises what ends the session.
        to_remote: Whether the user sees this side as the remote one.
        lines: What is itemized, in its order.
        users, groups: The sender's numbers to ours.
        granularity: How finely mtimes are kept.
        counts: What has been done.
        keeps_owner: Whether owners are set.
        backups: What keeps what is replaced or deleted; None where nothing does, and until it is set.
        durable: What makes changes survive a power cut; None where nothing does, and until it is set.
        dir_times, link_times: Whether directories and symlinks get the sender's times.
    """

    def __init__(
        self,
        root: Root | None,
        settings: Settings,
        filters: Filters,
        reporter: Reporter,
        abilities: Abilities,
        check: Callable[[], None],
        to_remote: bool,
        place: Place | None = None,
    ) -> None:
        """Find what follows from the options: how finely times may be probed, and whether this process can do what is asked for."""
        self.root = root
        self.settings = settings
        self.filters = filters
        self.reporter = reporter
        self.abilities = abilities
        self.check = check
        self.to_remote = to_remote
        self.users = _owners("--usermap", settings.usermap, OwnerNumbers.of_users)
        self.groups = _owners("--groupmap", settings.groupmap, OwnerNumbers.of_groups)
        self._chmod = _chmod(settings.chmod, abilities.umask)
        self.counts = ReceiverCounts()
        self.lines = Lines(lambda item: self.reporter.item(*item))
        self.granularity = TimeGranularity(may_write=not settings.dry_run)
        self.keeps_owner = settings.owner and abilities.is_root
        self.backups: Backups | None = None
        self.durable: Durable | None = None
        # A directory that backups are made in changes with each run (rsync: --omit-dir-times is implied).
        among = settings.backup and settings.backup_dir is None
        self.dir_times = settings.times and not among and not settings.omit_dir_times
        self.link_times = settings.times and not settings.omit_link_times
        items = items_from_wire(settings.rules, Side.RECEIVER)
        if among:
            items += (Rule(False, b"*" + settings.backup_suffix),)
        self._selection = Selection(items, Side.RECEIVER, place or Place(root), settings.git_excludes)
        self._unknown: set[str] = set()

    def protected(self, path: bytes, is_directory: bool, *, doomed: bool = False) -> bool:
        """Tell whether an entry is never deleted.

        Args:
            path: Its path.
            is_directory: Whether it is a directory.
            doomed: Whether it is in a directory that is itself to be deleted.
        """
        try:
            return self._selection.excluded(path, is_directory, lasting=doomed)
        except RulesError as error:
            if str(error) not in self._unknown:
                self._unknown.add(str(error))
                self.reporter.problem(split(path)[0] or b".", f"nothing in it is deleted: {error.strerror}")
            return True

    def read_rules_anew(self) -> None:
        """Forget what merge files of the destination said: from here on they may say something else."""
        self._selection.forget()
        self._unknown.clear()

    def save(self, directory: bytes, dir_fd: int, name: bytes, *, stays: bool = False) -> None:
        """Make a backup, if the user wants any, of what is about to be replaced, or with `stays` to be written to.

        Raises:
            OSError: There is none now.
        """
        if self.backups is not None:
            try:
                self.backups.save(directory, dir_fd, name, stays=stays)
            except OSError as error:
                raise BackupFailed(error.errno, f"its backup can't be made: {error.strerror}") from error

    def keeps_group(self, gid: int) -> bool:
        """Tell whether an entry of this group (by our numbers) gets it."""
        return self.settings.group and (self.abilities.is_root or gid in self.abilities.groups)

    @property
    def as_sent(self) -> bool:
        """Whether entries come with the modes, owners and groups that they shall have."""
        return self._chmod is None and self.users.identical and self.groups.identical

    def policy(self, dir_fd: int) -> Policy:
        """Return what decides about the entries of a directory; -1 for one that does not exist."""
        settings = self.settings
        return Policy(
            perms=settings.perms,
            executability=settings.executability,
            times=settings.times,
            dir_times=self.dir_times,
            link_times=self.link_times,
            owner=self.keeps_owner,
            group=self.keeps_group,
            links=settings.links,
            devices=settings.devices and self.abilities.is_root,
            specials=settings.specials,
            checksum=settings.checksum,
            ignore_times=settings.ignore_times,
            size_only=settings.size_only,
            update=settings.update,
            existing=settings.existing,
            ignore_existing=settings.ignore_existing,
            min_bytes=settings.min_bytes,
            max_bytes=settings.max_bytes,
            same_time=lambda one, other: one == other or (dir_fd >= 0 and self.granularity.same(one, other, dir_fd)),
        )

    def localised(self, entry: Entry) -> Entry:
        """Return the sender's entry with our numbers for owner and group; see also `localised_mode`."""
        if self.users.identical and self.groups.identical:
            return self.localised_mode(entry)
        uid, gid = self.users.here(entry.uid), self.groups.here(entry.gid)
        if uid != entry.uid or gid != entry.gid:
            entry = entry._replace(uid=uid, gid=gid)
        return self.localised_mode(entry)

    def localised_mode(self, entry: Entry) -> Entry:
        """Return an entry with our numbers as `--chmod` has it, without the set-id bits of an owner or group that it can't have here."""
        uid, gid = entry.uid, entry.gid
        mode = entry.mode if self._chmod is None else self._chmod.applied(entry.mode)
        if mode & (stat.S_ISUID | stat.S_ISGID) and not stat.S_ISDIR(mode):
            if not self.keeps_owner and uid != self.abilities.uid:
                mode &= ~stat.S_ISUID
            if not self.keeps_group(gid) and gid != self.abilities.gid:
                mode &= ~stat.S_ISGID
        return entry if mode == entry.mode else entry._replace(mode=mode)

    def fresh(self, entry: Entry, current: Entry | None, *, gives_group: bool = True) -> Attributes:
        """Return the attributes of an entry that is made anew; what the system gives it by itself is left out.

        Args:
            entry: The sender's entry, localised.
            current: What it replaces, if that is of the same type.
            gives_group: Whether its directory may give it another group than this process's (the set-group bit of a directory).
        """
        abilities = self.abilities
        return Attributes(
            self._permissions(entry, current),
            entry.mtime_ns if self._keeps_time(entry.kind) else None,
            entry.uid if self.keeps_owner and entry.uid != abilities.uid else None,
            entry.gid if (gives_group or entry.gid != abilities.gid) and self.keeps_group(entry.gid) else None,
        )

    def _permissions(self, entry: Entry, current: Entry | None) -> int:
        settings = self.settings
        return kept_permissions(entry, current, self.abilities.umask, perms=settings.perms, executability=settings.executability)

    def _keeps_time(self, kind: int) -> bool:
        if kind == stat.S_IFDIR:
            return self.dir_times
        return self.link_times if kind == stat.S_IFLNK else self.settings.times

    def may_stay(self, status: os.stat_result, entry: Entry, current: Entry | None) -> bool:
        """Tell whether a file may stay the same file with other attributes: it has one name, and belongs to whom a new one would."""
        attributes, abilities = self.fresh(entry, current), self.abilities
        ours = attributes.uid is not None or status.st_uid == abilities.uid
        return ours and (attributes.gid is not None or status.st_gid == abilities.gid) and status.st_nlink == 1

    def changed(self, entry: Entry, current: Entry | None, change: Change) -> Attributes:
        """Return those attributes of an existing entry that differ; a change of owner clears set-id bits, so that it brings the mode."""
        owner = bool(change & (Change.OWNER | Change.GROUP)) and self.settings.perms and bool(entry.permissions & 0o6000)
        return Attributes(
            self._permissions(entry, current) if change & Change.PERMS or owner else None,
            entry.mtime_ns if change & Change.TIME else None,
            entry.uid if change & Change.OWNER else None,
            entry.gid if change & Change.GROUP else None,
        )

    def item(self, path: bytes, entry: Entry, step: Step, *, leader: bytes | None = None, awaited: int | None = None) -> None:
        """Tell of an entry that is changed, if the user wants to know; of a file that is `awaited` under a number only once it comes."""
        if not self.settings.itemize:
            return
        code = itemized(entry.kind, step, to_remote=self.to_remote, keeps_times=self._keeps_time(entry.kind), is_link=leader is not None)
        item = Item(code, path or b".", entry.target if leader is None else leader)
        if awaited is None:
            self.lines.add(item)
        else:
            self.lines.expect(awaited, item)

    def renamed(self, path: bytes, entry: Entry) -> None:
        """Tell of an entry that has a new name now, if the user wants to know."""
        self.item(path, entry, Step(Deed.MAKE, Change.NEW))

    def lost(self, directory: bytes, name: bytes, lost: Lost) -> None:
        """Report what of an entry's attributes the system did not permit to be kept."""
        if lost:
            what = ", ".join(str(part.name).lower() for part in Lost if part in lost)
            self.reporter.problem(join(directory, name) or b".", f"it is in place, but this filesystem or user can't keep its {what}")

    def failed(self, directory: bytes, name: bytes, error: OSError | ValueError | OverflowError, deed: str) -> None:
        """Report that something could not be done with an entry."""
        path = join(directory, name) if name else directory
        of_destination = isinstance(error, (ModeImpossible, NotDurable)) or (isinstance(error, OSError) and error.errno in _OF_DESTINATION)
        code = ExitCode.LOCAL_IO if of_destination else ExitCode.PARTIAL
        self.reporter.problem(path or b".", reason(error, deed), code)


def _owners(option: str, text: bytes, of: Callable[[Sequence[Pair]], OwnerNumbers]) -> OwnerNumbers:
    """Return the owners or groups of the sender's numbers here.

    Raises:
        UsageError: The user's map is malformed, or leads to a name that is unknown here.
    """
    try:
        return of(parse_owner_map(text))
    except ValueError as error:
        raise UsageError(f"{option} at the destination: {error}") from error


def _chmod(text: bytes, umask: int) -> Chmod | None:
    """Return the changes of permissions that the user wants.

    Raises:
        UsageError: They are malformed.
    """
    try:
        return parse_chmod(text, umask) if text else None
    except ValueError as error:
        raise UsageError(f"--chmod: {error}") from error
