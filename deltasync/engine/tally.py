"""What a run has counted, on whichever side it was counted: one sum for push and pull, complete or broken off."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deltasync.wire.messages import ReceiverDone, SenderDone

if TYPE_CHECKING:
    from deltasync.engine.job import Summary

__all__ = ["NOTHING", "Tally"]


class Tally(NamedTuple):
    """The counts of both ends: all of them once a run is complete, until then as far as this side knows.

    Attributes:
        entries: Entries considered, of every type; the root is one where it takes attributes.
        sender: What the sender counts.
        receiver: What the receiver counts.
    """

    entries: int
    sender: SenderDone
    receiver: ReceiverDone

    def summary(self) -> Summary:
        """Return the counts as the user is told them; the rest of the summary is left out."""
        # A serving side never sums up, and need not load what holds the sum.
        from deltasync.engine.job import Summary

        sent, done = self.sender, self.receiver
        return Summary(
            files_total=self.entries,
            files_sent=done.files_written,
            entries_changed=done.entries_changed,
            files_deleted=done.files_deleted,
            bytes_total=sent.bytes_total,
            literal_bytes=sent.literal_bytes,
            matched_bytes=done.matched_bytes,
            resent_whole=done.resent_whole,
            update_modes={"clone": done.cloned, "stage": done.staged, "inplace": done.in_place},
        )


NOTHING = Tally(0, SenderDone(0, 0, 0), ReceiverDone(0, 0, 0, 0, 0, 0, 0, 0))
"""The counts of a run before its session."""
