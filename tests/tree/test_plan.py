"""Decisions about one entry, and the letters that say what was decided."""

from __future__ import annotations

import stat
from typing import Any

import pytest

from deltasync.tree.entry import Entry
from deltasync.tree.itemize import itemized
from deltasync.tree.plan import Change, Deed, Policy, Step, decide, kept_permissions

REG, DIR, LNK, CHR, FIFO = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO


def policy(**changes: Any) -> Policy:
    """The policy of root with rsync's -a."""
    made = Policy(
        True,
        False,
        True,
        True,
        True,
        True,
        lambda gid: True,
        True,
        True,
        True,
        False,
        False,
        False,
        False,
        False,
        False,
        0,
        None,
        lambda one, other: one == other,
    )
    return made._replace(**changes)


def entry(kind: int = REG, mode: int = 0o644, size: int = 0, mtime_ns: int = 10, uid: int = 0, gid: int = 0, **more: Any) -> Entry:
    """An entry with defaults."""
    return Entry(b"x", kind | mode, size, mtime_ns, uid, gid, **more)


def different() -> bool:
    """A comparison of contents that finds a difference."""
    return False


CASES = [
    ("nothing there", entry(), None, {}, Step(Deed.CONTENT, Change.NEW)),
    ("nothing there, directory", entry(DIR), None, {}, Step(Deed.MAKE, Change.NEW)),
    ("existing only", entry(), None, {"existing": True}, Step(Deed.SKIP)),
    ("equal", entry(), entry(), {}, Step(Deed.KEEP)),
    ("size", entry(size=1), entry(), {}, Step(Deed.CONTENT, Change.SIZE | Change.CONTENT)),
    ("time", entry(mtime_ns=11), entry(), {}, Step(Deed.CONTENT, Change.TIME | Change.CONTENT)),
    ("time, size only", entry(mtime_ns=11), entry(), {"size_only": True}, Step(Deed.ATTRIBUTES, Change.TIME)),
    ("ignore times", entry(), entry(), {"ignore_times": True}, Step(Deed.CONTENT, Change.CONTENT)),
    ("checksum", entry(), entry(), {"checksum": True}, Step(Deed.CONTENT, Change.CONTENT | Change.CHECKSUM)),
    ("mode", entry(mode=0o600), entry(), {}, Step(Deed.ATTRIBUTES, Change.PERMS)),
    ("mode not kept", entry(mode=0o600), entry(), {"perms": False}, Step(Deed.KEEP)),
    ("owner", entry(uid=5), entry(), {}, Step(Deed.ATTRIBUTES, Change.OWNER)),
    ("group", entry(gid=5), entry(), {}, Step(Deed.ATTRIBUTES, Change.GROUP)),
    ("group out of reach", entry(gid=5), entry(), {"group": lambda gid: False}, Step(Deed.KEEP)),
    ("newer there", entry(mtime_ns=9, size=3), entry(), {"update": True}, Step(Deed.SKIP)),
    ("older there", entry(mtime_ns=11), entry(), {"update": True}, Step(Deed.CONTENT, Change.TIME | Change.CONTENT)),
    ("same time, other size, -u", entry(size=3), entry(), {"update": True}, Step(Deed.CONTENT, Change.SIZE | Change.CONTENT)),
    ("newer there but another type", entry(mtime_ns=9), entry(LNK), {"update": True}, Step(Deed.CONTENT, Change.NEW, in_the_way=True)),
    ("ignore existing", entry(size=3), entry(), {"ignore_existing": True}, Step(Deed.SKIP)),
    ("ignore existing, directory", entry(DIR, mtime_ns=9), entry(DIR), {"ignore_existing": True}, Step(Deed.ATTRIBUTES, Change.TIME)),
    ("target", entry(LNK, target=b"a"), entry(LNK, target=b"b"), {}, Step(Deed.MAKE, Change.CONTENT)),
    ("device", entry(CHR, rdev=1), entry(CHR, rdev=2), {}, Step(Deed.MAKE, Change.CONTENT)),
    ("device of a plain user", entry(CHR, rdev=1), None, {"devices": False}, Step(Deed.SKIP)),
    ("no links", entry(LNK, target=b"a"), None, {"links": False}, Step(Deed.SKIP)),
    ("no specials", entry(FIFO), None, {"specials": False}, Step(Deed.SKIP)),
    ("a symlink has no mode", entry(LNK, 0o777, target=b"a"), entry(LNK, 0o700, target=b"a"), {}, Step(Deed.KEEP)),
]


@pytest.mark.parametrize(("sent", "current", "changes", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_decisions(sent: Entry, current: Entry | None, changes: dict[str, Any], expected: Step) -> None:
    """Each option decides as rsync's does."""
    assert decide(sent, current, policy(**changes), different) == expected


def test_times_count_as_finely_as_they_can_be_kept() -> None:
    """A destination that keeps whole seconds sees no difference within one."""
    coarse = policy(same_time=lambda one, other: one // 10**9 == other // 10**9)
    assert decide(entry(mtime_ns=1_500_000_000), entry(mtime_ns=1_000_000_000), coarse, different) == Step(Deed.KEEP)


@pytest.mark.parametrize(
    ("kind", "step", "options", "code"),
    [
        (REG, Step(Deed.CONTENT, Change.NEW), {}, ">f+++++++++"),
        (REG, Step(Deed.CONTENT, Change.NEW), {"to_remote": True}, "<f+++++++++"),
        (DIR, Step(Deed.MAKE, Change.NEW), {"to_remote": True}, "cd+++++++++"),
        (LNK, Step(Deed.MAKE, Change.NEW), {}, "cL+++++++++"),
        (FIFO, Step(Deed.MAKE, Change.NEW), {}, "cS+++++++++"),
        (CHR, Step(Deed.MAKE, Change.NEW), {}, "cD+++++++++"),
        (REG, Step(Deed.CONTENT, Change.SIZE | Change.TIME | Change.CONTENT), {}, ">f.st......"),
        (REG, Step(Deed.CONTENT, Change.SIZE | Change.CONTENT | Change.CHECKSUM), {}, ">fcs......."),
        (REG, Step(Deed.CONTENT, Change.SIZE | Change.CONTENT), {"keeps_times": False}, ">f.sT......"),
        (REG, Step(Deed.ATTRIBUTES, Change.PERMS | Change.OWNER | Change.GROUP), {}, ".f...pog..."),
        (DIR, Step(Deed.ATTRIBUTES, Change.TIME), {}, ".d..t......"),
        (LNK, Step(Deed.MAKE, Change.TIME | Change.CONTENT), {}, "cLc.t......"),
        (REG, Step(Deed.MAKE, Change.NEW), {"is_link": True}, "hf+++++++++"),
        (REG, Step(Deed.MAKE, Change.NONE), {"is_link": True}, "hf         "),
    ],
)
def test_letters(kind: int, step: Step, options: dict[str, bool], code: str) -> None:
    """The letters are rsync's."""
    assert itemized(kind, step, **{"to_remote": False, "keeps_times": True, **options}) == code


def test_permissions_without_perms() -> None:
    """What exists keeps its mode; what is new gets the sender's less the umask, never set-id bits."""
    assert kept_permissions(entry(mode=0o4777), None, 0o022, perms=False) == 0o755
    assert kept_permissions(entry(mode=0o777), entry(mode=0o604), 0o022, perms=False) == 0o604
    assert kept_permissions(entry(mode=0o4777), None, 0o022, perms=True) == 0o4777


@pytest.mark.parametrize(
    ("theirs", "ours", "kept"), [(0o755, 0o640, 0o750), (0o644, 0o751, 0o640), (0o100, 0o711, 0o711), (0o644, 0o602, 0o602)]
)
def test_executability_follows_the_source(theirs: int, ours: int, kept: int) -> None:
    """Who may read may execute, or nobody may; nothing else changes."""
    assert kept_permissions(entry(mode=0o100000 | theirs), entry(mode=0o100000 | ours), 0o022, perms=False, executability=True) == kept
