"""What messages cost that wait: how many bytes they hold, or as many as what they ask for takes time."""

from __future__ import annotations

from deltasync.wire.messages import (
    Applied,
    Entries,
    FileCopy,
    FileData,
    FileZeros,
    Gaps,
    Items,
    Message,
    Note,
    Owners,
    Pack,
    Same,
    Signature,
    Trouble,
    Want,
    WantDeferred,
    WantWhole,
)

__all__ = ["weight"]

MESSAGE_BYTES = 256
"""About what a message costs besides what it carries."""
PACKED_FILE_WEIGHT = 1024
"""What a file of a pack counts besides its content: putting it in place takes long beside its size, and what is queued delays a stop."""
ZEROS_WEIGHT = 4096
"""What a run of zeros counts among the queued bytes, since it may take longer to write than it takes to send."""


def weight(message: Message) -> int:
    """Return what a message counts among those that wait for the control thread, in bytes."""
    if isinstance(message, Pack):
        return MESSAGE_BYTES + PACKED_FILE_WEIGHT * len(message.ids) + len(message.content)
    if isinstance(message, FileData):
        return MESSAGE_BYTES + len(message.content)
    if isinstance(message, FileZeros):
        return ZEROS_WEIGHT
    if isinstance(message, Entries):
        return MESSAGE_BYTES + len(message.chunk)
    return MESSAGE_BYTES + _carried(message)


def _carried(message: Message) -> int:
    """Return about how many bytes a message carries that has no limit of its own but that of a frame."""
    if isinstance(message, Items):
        return sum(MESSAGE_BYTES + len(path) + len(link) for _, path, link in message.items)
    if isinstance(message, Trouble):
        return len(message.path) + len(message.text)
    if isinstance(message, Owners):
        return sum(MESSAGE_BYTES + len(name) for _, name in (*message.users, *message.groups))
    if isinstance(message, Want):
        return len(message.whole) + len(message.deferred) + len(message.delta) + len(message.had) + len(message.digests)
    if isinstance(message, Same):
        return PACKED_FILE_WEIGHT * (len(message.ids) // 8)
    if isinstance(message, (WantDeferred, WantWhole, Applied)):
        return len(message.ids)
    if isinstance(message, Signature):
        return len(message.weak) + len(message.strong)
    if isinstance(message, (FileCopy, Gaps)):
        return 24 * len(message.lengths)
    return len(message.text) if isinstance(message, Note) else 0
