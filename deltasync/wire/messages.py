"""The messages of the protocol, and their limits. Pure; `docs/protocol.md` is the normative description, byte by byte."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

import msgspec

from deltasync.wire.content import (
    MAX_BLOCK_BYTES,
    MAX_COPIES,
    MAX_DELTAS,
    MAX_FILE_DATA_BYTES,
    MAX_GAPS,
    MAX_ID,
    MAX_PACK_FILES,
    MAX_SIGNATURE_BLOCKS,
    MAX_ZEROS_BYTES,
    MIN_BLOCK_BYTES,
    Entries,
    FileAbort,
    FileBegin,
    FileCopy,
    FileData,
    FileEnd,
    FileZeros,
    Gaps,
    Pack,
    Signature,
    pack_slices,
)
from deltasync.wire.moving import DataAt, DataKey, Moved
from deltasync.wire.rounds import MAX_PATHS, MAX_PRESUMED, Gone, Presumed, Renames, Round
from deltasync.wire.settings import Settings

__all__ = [
    "MAX_BLOCK_BYTES",
    "MAX_CHUNK_ENTRIES",
    "MAX_COPIES",
    "MAX_DELTAS",
    "MAX_FILE_DATA_BYTES",
    "MAX_GAPS",
    "MAX_ID",
    "MAX_OPEN_CHUNKS",
    "MAX_PACK_FILES",
    "MAX_PATHS",
    "MAX_PRESUMED",
    "MAX_SIGNATURE_BLOCKS",
    "MAX_ZEROS_BYTES",
    "MIN_BLOCK_BYTES",
    "Applied",
    "DataAt",
    "DataKey",
    "Entries",
    "EntriesEnd",
    "Failure",
    "FileAbort",
    "FileBegin",
    "FileCopy",
    "FileData",
    "FileEnd",
    "FileZeros",
    "Gaps",
    "Gone",
    "Hello",
    "Items",
    "Message",
    "Moved",
    "Note",
    "Owners",
    "Pack",
    "Ping",
    "Presumed",
    "Ready",
    "ReceiverDone",
    "Renames",
    "Round",
    "RoundDone",
    "Same",
    "SenderDone",
    "Setup",
    "Signature",
    "Tree",
    "Trouble",
    "Type",
    "Want",
    "WantDeferred",
    "WantWhole",
    "pack_slices",
]

MAX_CHUNK_ENTRIES = 4096
"""Most entries in one `Entries` message, over all of its sections."""
MAX_OPEN_CHUNKS = 16
"""Most chunks that may be on their way without the receiver's `Want`."""

Path = Annotated[bytes, msgspec.Meta(max_length=1 << 18)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Owner = Annotated[bytes, msgspec.Meta(max_length=256)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Id32 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Packed = Annotated[bytes, msgspec.Meta(max_length=MAX_CHUNK_ENTRIES * 8)]
Digests = Annotated[bytes, msgspec.Meta(max_length=MAX_CHUNK_ENTRIES * 16)]


class Type(IntEnum):
    """The number of each message on the wire; those without a class here are reserved for the features named."""

    HELLO = 0x01
    SETUP = 0x02
    READY = 0x03
    FAILURE = 0x04
    TROUBLE = 0x05
    NOTE = 0x06
    PING = 0x07
    DATA_KEY = 0x08
    DATA_AT = 0x09
    MOVED = 0x0A

    TREE = 0x10
    OWNERS = 0x11
    ENTRIES = 0x12
    ENTRIES_END = 0x13
    PACK = 0x14
    FILE_BEGIN = 0x15
    FILE_DATA = 0x16
    FILE_ZEROS = 0x17
    FILE_END = 0x18
    FILE_ABORT = 0x19
    FILE_COPY = 0x1A
    GAPS = 0x1B
    RENAMES = 0x1C
    SAME = 0x1D
    PRESUMED = 0x1E
    SENDER_DONE = 0x1F

    WANT = 0x20
    WANT_DEFERRED = 0x21
    ITEMS = 0x22
    SIGNATURE = 0x23
    RESUME = 0x24
    APPLIED = 0x25
    WANT_WHOLE = 0x26
    RECEIVER_DONE = 0x2F

    ROUND = 0x30
    GONE = 0x31
    ROUND_DONE = 0x38


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """First message of each side: who it is and which optional features it has."""

    software: Annotated[str, msgspec.Meta(max_length=128)]
    features: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=64)], ...], msgspec.Meta(max_length=64)] = ()


class Setup(msgspec.Struct, frozen=True, array_like=True):
    """What the side that connected asks for.

    Attributes:
        sends: Whether it is the sender (`push`); otherwise it receives (`pull`).
        places: The destination path (`push`, exactly one) or the source paths (`pull`), as written.
        settings: The options.
    """

    sends: bool
    places: Annotated[tuple[Annotated[bytes, msgspec.Meta(max_length=65536)], ...], msgspec.Meta(min_length=1, max_length=65536)]
    settings: Settings


class Ready(msgspec.Struct, frozen=True, array_like=True):
    """The answer to `Setup`: the place is there and the session goes on."""

    engine: Annotated[str, msgspec.Meta(max_length=32)]


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """The session ends here; the exit code and the line for the user say why."""

    exit_code: Annotated[int, msgspec.Meta(ge=1, le=255)]
    text: Text


class Trouble(msgspec.Struct, frozen=True, array_like=True):
    """One path failed; the session goes on."""

    path: Path
    text: Text
    exit_code: Annotated[int, msgspec.Meta(ge=1, le=255)]


class Note(msgspec.Struct, frozen=True, array_like=True):
    """Something that the user should know once."""

    text: Text


class Ping(msgspec.Struct, frozen=True, array_like=True):
    """Nothing but a sign of life."""


class Tree(msgspec.Struct, frozen=True, array_like=True):
    """How the sender's tree begins.

    Attributes:
        whole: The root's contents are listed in full (some source ended in a slash), so that the root itself takes attributes and
            deletions apply in it; otherwise the root only holds the named sources.
        tops: The sources as the root sees them: `b""` for contents, else the name.
        lone: The tree is one entry that is no directory, so that a destination that does not exist is its new name.
        missing: Sources that are not there; nothing may be deleted then.
        live: Whether rounds follow, until the sender ends the session.
    """

    whole: bool
    tops: Annotated[tuple[Path, ...], msgspec.Meta(max_length=65536)]
    lone: bool
    missing: Count = 0
    live: bool = False


class Owners(msgspec.Struct, frozen=True, array_like=True):
    """Names of owners and groups; sent before the first entry that needs them."""

    users: Annotated[tuple[tuple[Id32, Owner], ...], msgspec.Meta(max_length=4096)]
    groups: Annotated[tuple[tuple[Id32, Owner], ...], msgspec.Meta(max_length=4096)]


class EntriesEnd(msgspec.Struct, frozen=True, array_like=True):
    """The scan is complete; `read_errors` above 0 forbids every deletion."""

    entries: Count
    read_errors: Count


class SenderDone(msgspec.Struct, frozen=True, array_like=True):
    """The sender's counts; see `Summary` for their meaning."""

    files_total: Count
    bytes_total: Count
    literal_bytes: Count


class ReceiverDone(msgspec.Struct, frozen=True, array_like=True):
    """The receiver's counts; everything that was to be done is done."""

    files_written: Count
    entries_changed: Count
    files_deleted: Count
    matched_bytes: Count
    resent_whole: Count
    cloned: Count
    staged: Count
    in_place: Count


class RoundDone(msgspec.Struct, frozen=True, array_like=True):
    """A round of a live session is in place: its counts.

    Attributes:
        number: Which; the tree is round 0.
        not_renamed: Numbers of the pairs, counted over the round, that could not be renamed, packed as u32.
        done: What was done in it.
    """

    number: Count
    not_renamed: Packed
    done: ReceiverDone


class Want(msgspec.Struct, frozen=True, array_like=True):
    """The receiver's answer to one chunk, in the order of the chunks.

    Attributes:
        chunk: Number of the chunk, from 0.
        whole: Indexes within the chunk of the files wanted now, ascending, packed as u32.
        deferred: Indexes of those that will be asked for later by `WantDeferred`, ascending, packed as u32.
        delta: Indexes of those for which the signature of a base follows, ascending, packed as u32.
        had: Indexes of those in `whole` of which the receiver has something of the same size, ascending, packed as u32.
        digests: For each of these the first 16 bytes of the BLAKE3 of what it has.
        presumed: Indexes of those in `delta` whose base is what the sender presumed, ascending, packed as u32: no signature follows.
    """

    chunk: Count
    whole: Packed
    deferred: Packed = b""
    delta: Packed = b""
    had: Packed = b""
    digests: Digests = b""
    presumed: Packed = b""


class Same(msgspec.Struct, frozen=True, array_like=True):
    """Small files that are what the receiver has: their ids, packed as u64, and mtimes (i64) and modes (u32) as they were when read."""

    ids: Packed
    mtimes_ns: Packed
    modes: Packed


class WantDeferred(msgspec.Struct, frozen=True, array_like=True):
    """Files put off before are wanted now: their ids, packed as u64; for those in `delta` the signature of a base follows."""

    ids: Packed
    delta: Packed = b""


class WantWhole(msgspec.Struct, frozen=True, array_like=True):
    """Files that were asked for as deltas are wanted whole: the base went away, or what came of a delta was not what was sent."""

    ids: Packed


class Applied(msgspec.Struct, frozen=True, array_like=True):
    """Files that came as deltas are in their places, or were given up: the sender may forget them. Their ids, packed as u64."""

    ids: Packed


class Item(NamedTuple):
    """One itemized line: the code, the path, and what a link points to (`b""` for none)."""

    code: Annotated[str, msgspec.Meta(max_length=16, pattern=r"\A([<>ch.][fdLDS][ .+?a-zA-Z]{9}|\*deleting)\Z")]
    path: Path
    link: Path


class Items(msgspec.Struct, frozen=True, array_like=True):
    """Itemized lines, in the order in which the work was done."""

    items: Annotated[tuple[Item, ...], msgspec.Meta(max_length=4096)]


Message = (
    Hello
    | Setup
    | Ready
    | Failure
    | Trouble
    | Note
    | Ping
    | DataKey
    | DataAt
    | Moved
    | Tree
    | Owners
    | Entries
    | EntriesEnd
    | Pack
    | Same
    | FileBegin
    | FileData
    | FileZeros
    | FileEnd
    | FileAbort
    | FileCopy
    | Gaps
    | Round
    | Renames
    | Gone
    | Presumed
    | SenderDone
    | Want
    | WantDeferred
    | WantWhole
    | Applied
    | Signature
    | Items
    | ReceiverDone
    | RoundDone
)
