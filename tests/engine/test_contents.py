"""What the sender says of contents, and what it holds for done when it says it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from deltasync.detect.sources import Sources
from deltasync.engine.contents import Contents
from deltasync.engine.outflow import Outflow
from deltasync.engine.peer import Peer
from deltasync.engine.pool import SEGMENT_BYTES, Pool
from deltasync.engine.reading import PACK_FILE_BYTES
from deltasync.engine.reporter import Reporter
from deltasync.engine.wants import Wanted
from deltasync.tree.entry import Entry
from deltasync.wire.messages import FileBegin, FileData, FileEnd, Message, Pack
from deltasync.wire.settings import Settings


class _QuickPeer:
    """A peer whose answer to a message may be there before the sender goes on."""

    link = SimpleNamespace(cipher="none")

    def __init__(self) -> None:
        self.contents: Contents | None = None
        self.heard: list[tuple[type[Message], bool]] = []

    def send(self, message: Message, *, squeeze: bool = False) -> None:
        """Note what it hears, and whether the sender has more to do at that moment."""
        del squeeze
        assert self.contents is not None
        self.heard.append((type(message), self.contents.busy))


def test_all_is_done_when_the_last_word_is_sent(tmp_path: Path) -> None:
    """The receiver may say that it is done as soon as it has the end of a file: nothing waits at the sender then."""
    sizes = {b"large": PACK_FILE_BYTES + 1, b"read ahead": SEGMENT_BYTES + 1, b"small": 10}
    for name, size in sizes.items():
        (tmp_path / os.fsdecode(name)).write_bytes(os.urandom(size))
    sources = Sources([os.fsencode(tmp_path) + b"/"])
    quick = _QuickPeer()
    peer = cast("Peer", quick)
    pool = Pool(2, lambda: None)
    quick.contents = Contents(peer, sources, Outflow(peer, Settings(), cast("Reporter", None)), pool)
    for number, (name, size) in enumerate(sizes.items()):
        status = (tmp_path / os.fsdecode(name)).stat()
        entry = Entry(name, status.st_mode, size, status.st_mtime_ns, status.st_uid, status.st_gid)
        quick.heard.clear()
        quick.contents.want([Wanted(number, 0, b"", entry)])
        while quick.contents.busy:
            quick.contents.advance()
        last = quick.heard[-1]
        assert last == (Pack if name == b"small" else FileEnd, False)
        assert all(busy for kind, busy in quick.heard if kind in (FileBegin, FileData))
    quick.contents.close()
    pool.close()
