"""The rules at one directory of a tree, where merge files of the directories on the way to it add to them. Pure.

Source: rsync(1), "MERGE-FILE FILTER RULES"; where the manual leaves a doubt, the binary's behaviour (3.5.0) decides. Refused though rsync
has it: a merge file that merges a file that is not at the top of the transfer, from which names in it are taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from deltasync.tree.gitignore import git_rules
from deltasync.tree.grammar import CVS_PATTERNS, Action, CvsDefaults, DirMerge, Merge, Template, parse_merged
from deltasync.tree.names import MAX_NAME_BYTES, shown
from deltasync.tree.rules import MAX_PATTERN_BYTES, Clear, Rule, Side, check_amount, rule_from_wire

__all__ = [
    "MAX_MERGED_RULES",
    "Items",
    "Reader",
    "Repository",
    "Slot",
    "advanced",
    "flat",
    "gathered",
    "items_from_wire",
    "merge_file_names",
    "sure_rules",
]

MAX_MERGED_RULES: Final = 8192
"""Rules that may count in one directory, where merge files are among them."""
_MAX_FILES: Final = 32
"""Merge files that may count in one directory."""
_WIRE = re.compile(rb":([-+Cg]?)(n?)(w?)(/?)(p?)(s?)(r?)(h?) ")
_EVERYWHERE: Final = "core.excludesFile and .git/info/exclude"
_HERE = re.compile(rb"[^/\0]{1,%d}\Z" % MAX_NAME_BYTES)

Reader: TypeAlias = Callable[[bytes], bytes | None]
"""Gives the content of a file in the directory in hand; None if it is not there."""
Repository: TypeAlias = Callable[[], bytes | None]
"""Gives what git leaves out in all of the repository that the directory in hand is the top of, in order; None if it is none's."""


class Slot(NamedTuple):
    """The place of a merge file among the rules, with what it has come to.

    Attributes:
        merge: Which file, and how it is read.
        items: The rules in it here, then those that it had above.
        begun: Whether it is read in directories above the top of the transfer, too.
    """

    merge: DirMerge
    items: tuple[Rule | Slot, ...] = ()
    begun: bool = False


Items: TypeAlias = tuple[Rule | Slot, ...]


def items_from_wire(wire: Sequence[bytes], side: Side) -> Items:
    """Return the rules in `Settings.rules` that count on one side; the input is the peer's.

    Raises:
        ValueError: One is malformed, or they are too many or too long.
    """
    check_amount([len(text) for text in wire])
    given = [_merge_from_wire(text) if text.startswith(b":") else rule_from_wire(text) for text in wire]
    merges = [item for item in given if isinstance(item, DirMerge)]
    if len(merges) > _MAX_FILES:
        raise ValueError(f"{len(merges)} merge files in each directory; the limit is {_MAX_FILES}")
    counting = [item for item in given if not item.side or side in item.side]
    return tuple(Slot(item) if isinstance(item, DirMerge) else item for item in counting)


def _merge_from_wire(text: bytes) -> DirMerge:
    head = _WIRE.match(text)
    file = text[head.end() :] if head else b""
    if head is None or not file or len(file) > MAX_PATTERN_BYTES or b"\0" in file or file.rpartition(b"/")[2] in (b"", b".", b".."):
        raise ValueError(f"the rule {shown(text[:80])!r} names no file of each directory")
    kind, bare, words, absolute, perishable, sender, receiver, unsaid = head.groups()
    cvs = kind == b"C"
    side = Side.SENDER if sender else Side(0)
    side |= Side.RECEIVER if receiver else Side(0)
    template = Template(
        include=kind == b"+",
        prefixes=not kind,
        words=bool(words) or cvs,
        clears=cvs,
        perishable=bool(perishable),
        side=side,
        absolute=bool(absolute),
        unsaid=Side.SENDER if unsaid else Side(0),
        git=kind == b"g",
    )
    return DirMerge(file, template, inherits=not bare)


def sure_rules(items: Items) -> list[Rule]:
    """Return the rules that decide before any that depends on where the tree is, or on what files in it say."""
    rules: list[Rule] = []
    for item in items:
        if isinstance(item, Slot) or item.absolute:
            break
        rules.append(item)
    return rules


def gathered(actions: Iterable[Rule | DirMerge | Clear]) -> tuple[Rule | DirMerge, ...]:
    """Return the rules that count, in order: those behind the last `CLEAR`.

    Of merge files of one name the first counts, as in rsync.

    Raises:
        ValueError: They are too many or too long to travel.
    """
    rules: list[Rule | DirMerge] = []
    files: set[bytes] = set()
    for action in actions:
        if isinstance(action, Clear):
            rules.clear()
            files.clear()
        elif not isinstance(action, DirMerge):
            rules.append(action)
        elif action.name not in files:
            files.add(action.name)
            rules.append(action)
    if len(files) > _MAX_FILES:
        raise ValueError(f"{len(files)} merge files in each directory; the limit is {_MAX_FILES}")
    check_amount([len(rule.wire) for rule in rules])
    return tuple(rules)


def flat(items: Items) -> Iterator[Rule]:
    """Yield the rules, in the order in which they are tried."""
    for item in items:
        if isinstance(item, Slot):
            yield from flat(item.items)
        else:
            yield item


def advanced(
    items: Items,
    read: Reader,
    read_at_top: Reader,
    placed: Callable[[Rule], Rule],
    begins: Callable[[DirMerge], bool],
    *,
    side: Side,
    above: bool = False,
    repository: Repository = lambda: None,
    traces: bool = False,
) -> Items:
    """Return the rules in a directory, given those in the one that it is in; the same object if nothing changes.

    Args:
        items: The rules there.
        read: Gives the files of the directory.
        read_at_top: Gives those at the top of the transfer.
        placed: Makes of a rule in such a file what it means in this place.
        begins: Whether a merge file is read from this directory on, though it was not before.
        side: For whom.
        above: Whether the directory is above the top of the transfer.
        repository: See `Repository`.
        traces: Whether rules have an origin.

    Raises:
        ValueError: What is in a file is no rule, or there are too many; the text names the file and the line.
    """
    after = _Step(items, read, read_at_top, placed, begins, side, above, repository, traces).advanced(items)
    count = sum(1 for _ in flat(after)) if after is not items else 0
    if count > MAX_MERGED_RULES:
        raise ValueError(f"{count} filter rules count here; the limit is {MAX_MERGED_RULES}")
    return after


class _Step:
    """One step down into a directory."""

    def __init__(
        self,
        items: Items,
        read: Reader,
        read_at_top: Reader,
        placed: Callable[[Rule], Rule],
        begins: Callable[[DirMerge], bool],
        side: Side,
        above: bool,
        repository: Repository,
        traces: bool,
    ) -> None:
        self._traces = traces
        self._repository = repository
        self._read_at_top = read_at_top
        self._read = read
        self._placed = placed
        self._begins = begins
        self._side = side
        self._above = above
        self._files = set(merge_file_names(items))

    def advanced(self, items: Items) -> Items:
        after = tuple(self._slot(item) if isinstance(item, Slot) else item for item in items)
        return items if all(one is other for one, other in zip(items, after, strict=True)) else after

    def _slot(self, slot: Slot) -> Slot:
        begun = slot.begun or self._begins(slot.merge)
        if self._above and not begun:
            return slot
        merge = slot.merge
        if merge.template.git:
            return self._of_git(slot)
        inherited = slot.items if merge.inherits else ()
        if not merge.inherits:
            self._files.difference_update(merge_file_names(slot.items))
        content = self._read(merge.name)
        own: list[Rule | Slot] = []
        if content is not None:
            inherited = self._taken(content, merge, own, inherited)
        items = (*self.advanced(tuple(own)), *self.advanced(inherited))
        same = len(items) == len(slot.items) and all(one is other for one, other in zip(items, slot.items, strict=True))
        return slot if same and begun == slot.begun else Slot(merge, items, begun)

    def _of_git(self, slot: Slot) -> Slot:
        """Step down with git's ignore files; a repository within another says all that counts in it."""
        everywhere = self._repository()
        inherited = slot.items if everywhere is None else self._git_rules(everywhere, slot.merge, _EVERYWHERE)
        content = self._read(slot.merge.name)
        if content is None:
            return slot if everywhere is None else Slot(slot.merge, inherited, begun=True)
        return Slot(slot.merge, (*self._git_rules(content, slot.merge, shown(slot.merge.name)), *inherited), begun=True)

    def _git_rules(self, content: bytes, merge: DirMerge, file: str) -> tuple[Rule, ...]:
        rules = git_rules(content, merge.side or merge.template.unsaid, file=file if self._traces else None)
        return tuple(self._placed(rule) for rule in rules if rule.counts_on(self._side))

    def _taken(self, content: bytes, merge: DirMerge, own: list[Rule | Slot], inherited: Items) -> Items:
        """Add the rules in a file to `own`; return what is left of those from above."""
        try:
            for action in self._expanded(content, merge.template, frozenset(), shown(merge.name)):
                if isinstance(action, Clear):
                    self._files.difference_update(merge_file_names(inherited), merge_file_names(tuple(own)))
                    own.clear()
                    inherited = ()
                elif isinstance(action, DirMerge):
                    self._nested(action, own)
                elif not action.side or self._side in action.side:
                    own.append(self._placed(action))
        except ValueError as error:
            raise ValueError(f"{shown(merge.name)}: {error}") from None
        return inherited

    def _nested(self, merge: DirMerge, own: list[Rule | Slot]) -> None:
        if merge.name in self._files or (merge.side and self._side not in merge.side):
            return
        self._files.add(merge.name)
        if len(self._files) > _MAX_FILES:
            raise ValueError(f"more than {_MAX_FILES} merge files in each directory")
        own.append(Slot(merge, begun=True))

    def _expanded(self, content: bytes, template: Template, within: frozenset[bytes], file: str) -> Iterator[Rule | Clear | DirMerge]:
        for action in parse_merged(content, template, file=file if self._traces else None):
            if isinstance(action, CvsDefaults):
                yield from _plain(parse_merged(CVS_PATTERNS, action.template, file="--cvs-exclude" if self._traces else None))
            elif not isinstance(action, Merge):
                yield action
            elif not _HERE.match(action.file) or action.file in within or len(within) > _MAX_FILES:
                raise ValueError(f"it merges {shown(action.file[:80])!r}, which is no other file at the top of the transfer")
            else:
                merged = self._read_at_top(action.file)
                if merged is None:
                    raise ValueError(f"it merges {shown(action.file)!r}, which is not there")
                yield from self._expanded(merged, action.template, within | {action.file}, shown(action.file))


def _plain(actions: Iterable[Action]) -> Iterator[Rule]:
    return (action for action in actions if isinstance(action, Rule))


def merge_file_names(items: Items) -> Iterator[bytes]:
    """Yield the names of the merge files among some rules."""
    for item in items:
        if isinstance(item, Slot):
            yield item.merge.name
            yield from merge_file_names(item.items)
