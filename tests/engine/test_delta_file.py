"""The sender of a delta: what is known of the file is not read again."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from deltasync._native import choose
from deltasync._native.columns import packed
from deltasync.delta.blocks import Layout
from deltasync.delta.digest import file_digest, leaf_bytes
from deltasync.delta.signature import Signature, block_digests, weak_sums
from deltasync.delta.spans import Span
from deltasync.engine.delta_file import DeltaFile
from deltasync.engine.outflow import Outflow
from deltasync.engine.peer import Peer
from deltasync.engine.pool import SEGMENT_BYTES, Pool
from deltasync.engine.reporter import Reporter
from deltasync.engine.wants import Wanted
from deltasync.tree.entry import Entry
from deltasync.wire.messages import FileCopy, Message
from deltasync.wire.settings import Settings


@pytest.mark.parametrize("known_segments", [0, 1, 2])
def test_known_leaves_are_not_read_again(tmp_path: Path, known_segments: int) -> None:
    """They are compared with the base's and make up the digest as if they had been read."""
    content = os.urandom(2 * SEGMENT_BYTES + 5000)
    leaf = leaf_bytes(len(content))
    leaves = block_digests(memoryview(content), leaf)
    signature = Signature(Layout(leaf, [Span(0, len(content))]), 16)
    kernel = choose("auto")
    signature.extend(0, packed("I", weak_sums(kernel, memoryview(content), leaf)), b"".join(digest[:16] for digest in leaves))
    # What is known is no longer there: whoever read it would find zeros.
    known_bytes = known_segments * SEGMENT_BYTES
    (tmp_path / "file").write_bytes(bytes(known_bytes) + content[known_bytes:])
    sent: list[Message] = []
    peer = cast("Peer", SimpleNamespace(send=sent.append, link=SimpleNamespace(cipher="none")))
    pool = Pool(2, lambda: None)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    outflow = Outflow(peer, Settings(), cast("Reporter", None))
    wanted = Wanted(0, 0, b"", Entry(b"file", 0o100644, len(content), 0, 0, 0))
    file = DeltaFile(peer, outflow, pool, kernel, wanted, fd, len(content), leaves[: known_bytes // leaf])
    for ready in file.own_offsets(signature):
        while not ready():
            pass
    os.close(fd)
    pool.close()
    copies = [copy for copy in sent if isinstance(copy, FileCopy)]
    assert sum(sum(copy.lengths) for copy in copies) == len(content)
    assert file.digest() == file_digest(len(content), leaves)
