"""The sender of a live session: what it makes of what the peer could not do."""

from __future__ import annotations

from pathlib import Path

from deltasync._native.columns import packed
from deltasync.engine.job import Job
from deltasync.engine.live_sender import LiveSender
from deltasync.engine.tally import NOTHING
from deltasync.wire.messages import ReceiverDone, RoundDone
from deltasync.wire.settings import Settings


class Sent:
    """A round that was sent."""

    tally = NOTHING
    sent_at = 0.0


def test_what_was_deleted_where_the_peer_did_not_rename_it_to_is_deleted_where_it_is(tmp_path: Path) -> None:
    """A directory in the way of a rename keeps it from being done; what was in it is still in its old place, and is to go there."""
    job = Job("push", (bytes(tmp_path),), b"dest", Settings())
    sender = LiveSender(job, lambda *_: None, lambda: None, lambda _: None, deletes=True, may_delete=lambda _: None)
    sender.mirror.owed += [b"new/inner/file", b"new/inner", b"new", b"other/file"]
    done = RoundDone(0, packed("I", [1]), ReceiverDone(0, 0, 0, 0, 0, 0, 0, 0))
    result = sender._result(Sent(), done, [(b"a", b"b"), (b"between", b"new")])  # type: ignore[arg-type]
    assert result.again == (b"new",)
    assert result.lost == (b"between/inner/file", b"between/inner", b"between")


def test_what_the_peer_took_for_another_entry_is_found_where_it_put_it(tmp_path: Path) -> None:
    """Of two entries that had one name one after the other the first kept it there: the rename of the second moved the first."""
    job = Job("push", (bytes(tmp_path),), b"dest", Settings())
    sender = LiveSender(job, lambda *_: None, lambda: None, lambda _: None, deletes=True, may_delete=lambda _: None)
    sender.mirror.owed += [b"one/file", b"one"]
    done = RoundDone(0, packed("I", [1, 2]), ReceiverDone(0, 0, 0, 0, 0, 0, 0, 0))
    renames = [(b"a", b"between"), (b"between", b"one"), (b"b", b"between"), (b"between", b"two")]
    result = sender._result(Sent(), done, renames)  # type: ignore[arg-type]
    assert result.again == (b"one", b"two")
    assert b"two/file" in result.lost
    assert b"b" in result.lost
