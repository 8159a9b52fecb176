"""Itemized lines: rsync's eleven letters `YXcstpoguax` for a step. Pure.

Source of the letters: rsync(1), `--itemize-changes`; where the manual leaves a doubt, the binary's behaviour (3.5.0) decides.
"""

from __future__ import annotations

import stat

from deltasync.tree.plan import Change, Deed, Step

__all__ = ["DELETING", "itemized"]

DELETING = "*deleting"
_KINDS = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "L",
    stat.S_IFIFO: "S",
    stat.S_IFSOCK: "S",
    stat.S_IFCHR: "D",
    stat.S_IFBLK: "D",
}


def itemized(kind: int, step: Step, *, to_remote: bool, keeps_times: bool, is_link: bool = False) -> str:
    """Return the eleven letters for a step.

    Args:
        kind: The file type bits of the entry.
        step: What was decided.
        to_remote: Whether content goes to another host (`<`) rather than comes here or stays (`>`).
        keeps_times: Whether mtimes are kept (`t`) or set by the transfer itself (`T`).
        is_link: Whether the entry is made as a hard link of another.
    """
    change = step.change
    if is_link:
        update = "h"
    elif step.deed is Deed.CONTENT:
        update = "<" if to_remote else ">"
    else:
        update = "c" if step.deed is Deed.MAKE else "."
    letter = _KINDS[kind]
    if change & Change.NEW:
        return update + letter + "+" * 9
    letters = (
        _if(change & Change.CHECKSUM or (change & Change.CONTENT and kind != stat.S_IFREG), "c"),
        _if(change & Change.SIZE, "s"),
        _time(change, step, kind, keeps_times=keeps_times),
        _if(change & Change.PERMS, "p"),
        _if(change & Change.OWNER, "o"),
        _if(change & Change.GROUP, "g"),
        "...",
    )
    text = "".join(letters)
    if update in "h." and text == "." * 9:
        text = " " * 9
    return update + letter + text


def _if(flag: object, letter: str) -> str:
    return letter if flag else "."


def _time(change: Change, step: Step, kind: int, *, keeps_times: bool) -> str:
    if keeps_times:
        return "t" if change & Change.TIME else "."
    return "T" if step.deed in (Deed.CONTENT, Deed.MAKE) and kind != stat.S_IFDIR else "."
