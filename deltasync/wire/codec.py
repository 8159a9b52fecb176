"""The bodies of messages: how each is written and read. Pure.

Control messages are msgpack arrays, decoded and type-checked by msgspec with a limit on every length; messages that carry entries or
content have hand-made fixed layouts, so that their content is never copied into an encoder. All integers are little-endian.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from typing import cast

import msgspec

from deltasync._native.columns import column, packed
from deltasync.wire.messages import (
    MAX_BLOCK_BYTES,
    MAX_COPIES,
    MAX_FILE_DATA_BYTES,
    MAX_GAPS,
    MAX_ID,
    MAX_PACK_FILES,
    MAX_SIGNATURE_BLOCKS,
    MAX_ZEROS_BYTES,
    MIN_BLOCK_BYTES,
    Applied,
    DataAt,
    DataKey,
    Entries,
    EntriesEnd,
    Failure,
    FileAbort,
    FileBegin,
    FileCopy,
    FileData,
    FileEnd,
    FileZeros,
    Gaps,
    Gone,
    Hello,
    Items,
    Message,
    Moved,
    Note,
    Owners,
    Pack,
    Ping,
    Presumed,
    Ready,
    ReceiverDone,
    Renames,
    Round,
    RoundDone,
    Same,
    SenderDone,
    Setup,
    Signature,
    Tree,
    Trouble,
    Type,
    Want,
    WantDeferred,
    WantWhole,
)

__all__ = ["Part", "decode", "encode"]

Part = bytes | bytearray | memoryview

_CONTROL: dict[type[msgspec.Struct], Type] = {
    Hello: Type.HELLO,
    Setup: Type.SETUP,
    Ready: Type.READY,
    Failure: Type.FAILURE,
    Trouble: Type.TROUBLE,
    Note: Type.NOTE,
    Ping: Type.PING,
    DataKey: Type.DATA_KEY,
    DataAt: Type.DATA_AT,
    Moved: Type.MOVED,
    Tree: Type.TREE,
    Owners: Type.OWNERS,
    EntriesEnd: Type.ENTRIES_END,
    Same: Type.SAME,
    Presumed: Type.PRESUMED,
    SenderDone: Type.SENDER_DONE,
    Want: Type.WANT,
    WantDeferred: Type.WANT_DEFERRED,
    WantWhole: Type.WANT_WHOLE,
    Applied: Type.APPLIED,
    Items: Type.ITEMS,
    ReceiverDone: Type.RECEIVER_DONE,
    Round: Type.ROUND,
    Renames: Type.RENAMES,
    Gone: Type.GONE,
    RoundDone: Type.ROUND_DONE,
}
_ENCODER = msgspec.msgpack.Encoder()
_COUNT = struct.Struct("<I")
_BEGIN = struct.Struct("<QQqI")
_ID = struct.Struct("<Q")
_ZEROS = struct.Struct("<QQ")
_END = struct.Struct("<Q32s")
_ABORT = struct.Struct("<QB")
_COPY = struct.Struct("<QI")
_GAPS = struct.Struct("<QIBI")
_SIGNATURE = struct.Struct("<QQIBII")


def encode(message: Message) -> tuple[Type, list[Part]]:
    """Return a message's type and the parts of its body; content is passed on without a copy."""
    if isinstance(message, msgspec.Struct):
        return _CONTROL[type(message)], [_ENCODER.encode(message)]
    if isinstance(message, Entries):
        return Type.ENTRIES, [message.chunk]
    if isinstance(message, Pack):
        columns = (packed("Q", message.ids), packed("I", message.sizes), packed("q", message.mtimes_ns), packed("I", message.modes))
        return Type.PACK, [_COUNT.pack(len(message.ids)), b"".join(columns), message.content]
    if isinstance(message, FileData):
        return Type.FILE_DATA, [_ID.pack(message.file_id), message.content]
    if isinstance(message, FileBegin):
        return Type.FILE_BEGIN, [_BEGIN.pack(*message)]
    if isinstance(message, FileZeros):
        return Type.FILE_ZEROS, [_ZEROS.pack(*message)]
    if isinstance(message, FileEnd):
        return Type.FILE_END, [_END.pack(*message)]
    if isinstance(message, FileCopy):
        head = _COPY.pack(message.file_id, len(message.lengths))
        return Type.FILE_COPY, [head, packed("Q", message.target_at), packed("Q", message.base_at), packed("Q", message.lengths)]
    if isinstance(message, Gaps):
        head = _GAPS.pack(message.file_id, message.block_bytes, message.strong_bytes, len(message.lengths))
        return Type.GAPS, [head, packed("Q", message.starts), packed("Q", message.lengths)]
    if isinstance(message, Signature):
        file_id, base_bytes, block_bytes, strong_bytes, first, weak, strong = message
        return Type.SIGNATURE, [_SIGNATURE.pack(file_id, base_bytes, block_bytes, strong_bytes, first, len(weak) // 4), weak, strong]
    return Type.FILE_ABORT, [_ABORT.pack(*message)]


def decode(kind: Type, body: memoryview) -> Message:
    """Return the message in a body that came from the peer.

    Raises:
        ValueError: The body is malformed or beyond a limit (msgspec's errors are ValueErrors), or the type has no messages yet.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise ValueError(f"message {kind.name} belongs to a feature that was not agreed on")
    try:
        return decoder(body)
    except struct.error as error:
        raise ValueError(f"message {kind.name} has a wrong length") from error
    except RecursionError as error:
        raise ValueError(f"message {kind.name} is nested too deeply") from error


def _decode_pack(body: memoryview) -> Pack:
    (count,) = _COUNT.unpack_from(body)
    if not 0 < count <= MAX_PACK_FILES or len(body) < 4 + 24 * count:
        raise ValueError("a pack's number of files is beyond its limits")
    at = 4
    columns: list[array[int]] = []
    for code, width in (("Q", 8), ("I", 4), ("q", 8), ("I", 4)):
        columns.append(column(code, body[at : at + width * count]))
        at += width * count
    ids, sizes, mtimes_ns, modes = columns
    if sum(sizes) != len(body) - at or max(ids) > MAX_ID or max(modes) > 0xFFFF:
        raise ValueError("a pack's sizes don't add up to its content, or a number or mode is beyond its limit")
    return Pack(ids, sizes, mtimes_ns, modes, body[at:])


def _decode_data(body: memoryview) -> FileData:
    (file_id,) = _ID.unpack_from(body)
    if not 0 < len(body) - 8 <= MAX_FILE_DATA_BYTES:
        raise ValueError("file data is empty or beyond its limit")
    return FileData(file_id, body[8:])


def _decode_begin(body: memoryview) -> FileBegin:
    begin = FileBegin(*_BEGIN.unpack(body))
    if begin.size > MAX_ID or begin.mode > 0xFFFF:
        raise ValueError("a file's size or mode is beyond its limit")
    return begin


def _decode_zeros(body: memoryview) -> FileZeros:
    zeros = FileZeros(*_ZEROS.unpack(body))
    if not 0 < zeros.zero_bytes <= MAX_ZEROS_BYTES:
        raise ValueError("a run of zeros is empty or beyond its limit")
    return zeros


def _decode_abort(body: memoryview) -> FileAbort:
    file_id, again = _ABORT.unpack(body)
    if again > 1:
        raise ValueError("a file begins anew or does not; there is nothing else")
    return FileAbort(file_id, bool(again))


def _decode_copy(body: memoryview) -> FileCopy:
    file_id, count = _COPY.unpack_from(body)
    target_at, base_at, lengths = _u64_columns(body[_COPY.size :], count, 3, MAX_COPIES)
    if not min(lengths):
        raise ValueError("a copied range is empty")
    return FileCopy(file_id, target_at, base_at, lengths)


def _decode_gaps(body: memoryview) -> Gaps:
    file_id, block_bytes, strong_bytes, count = _GAPS.unpack_from(body)
    starts, lengths = _u64_columns(body[_GAPS.size :], count, 2, MAX_GAPS)
    _check_blocks(block_bytes, strong_bytes)
    at = 0
    for start, length in zip(starts, lengths, strict=True):
        if start < at or not length:
            raise ValueError("ranges of a base are empty, overlap or are out of order")
        at = start + length
    return Gaps(file_id, block_bytes, strong_bytes, starts, lengths)


def _decode_signature(body: memoryview) -> Signature:
    file_id, base_bytes, block_bytes, strong_bytes, first, count = _SIGNATURE.unpack_from(body)
    _check_blocks(block_bytes, strong_bytes)
    middle = _SIGNATURE.size + 4 * count
    if not 0 < count <= MAX_SIGNATURE_BLOCKS or len(body) != middle + strong_bytes * count:
        raise ValueError("a signature's number of blocks is beyond its limits, or not that of its checksums")
    if base_bytes > MAX_ID:
        raise ValueError("the size of a base is beyond its limit")
    return Signature(file_id, base_bytes, block_bytes, strong_bytes, first, body[_SIGNATURE.size : middle], body[middle:])


def _check_blocks(block_bytes: int, strong_bytes: int) -> None:
    if not MIN_BLOCK_BYTES <= block_bytes <= MAX_BLOCK_BYTES or not 4 <= strong_bytes <= 32:
        raise ValueError("the length of blocks or of their checksums is beyond its limits")


def _u64_columns(body: memoryview, count: int, columns: int, most: int) -> list[array[int]]:
    if not 0 < count <= most or len(body) != 8 * columns * count:
        raise ValueError("a number of ranges is beyond its limits, or not what follows")
    made = [column("Q", bytes(body[8 * count * at : 8 * count * (at + 1)])) for at in range(columns)]
    if any(max(values) > MAX_ID for values in made):
        raise ValueError("a place in a file is beyond its limit")
    return made


def _control(made: type[msgspec.Struct]) -> Callable[[memoryview], Message]:
    # A decoder takes 0.1 ms to make, and most sessions see few of the messages.
    decoders: list[Callable[[memoryview], object]] = []

    def decode_control(body: memoryview) -> Message:
        if not decoders:
            decoders.append(msgspec.msgpack.Decoder(made).decode)
        return cast("Message", decoders[0](body))

    return decode_control


_DECODERS: dict[Type, Callable[[memoryview], Message]] = {
    **{kind: _control(made) for made, kind in _CONTROL.items()},
    Type.ENTRIES: lambda body: Entries(bytes(body)),
    Type.PACK: _decode_pack,
    Type.FILE_DATA: _decode_data,
    Type.FILE_BEGIN: _decode_begin,
    Type.FILE_ZEROS: _decode_zeros,
    Type.FILE_END: lambda body: FileEnd(*_END.unpack(body)),
    Type.FILE_ABORT: _decode_abort,
    Type.FILE_COPY: _decode_copy,
    Type.GAPS: _decode_gaps,
    Type.SIGNATURE: _decode_signature,
}
