"""The records that carry everything after the handshake: sealed with AES-256-GCM, numbered, counted at the end. Pure.

The keys are those of Noise's `Split()`, one for each direction; each direction is a stream of records, numbered from 0:

    offset  bytes  content
    0       1      kind: 0 DATA, 1 FIN
    1       3      payload length n, big-endian: DATA 1 to 65,536, FIN 16
    4       n      payload, encrypted
    4 + n   16     tag

The first four bytes are authenticated too, as associated data. The nonce is not sent: it is four zero bytes and the number of the record
in eight, big-endian. The key changes (Noise's REKEY) after every 65,536 records; the numbers go on. The payload of FIN is two big-endian
64-bit numbers: how many DATA records the direction had, and how many payload bytes they carried. Nothing follows a FIN, and a direction
that ends without one was cut off.

An empty DATA record is not allowed, so that nobody can be kept busy with nothing. Sender and receiver reuse their buffers; what has not
been authenticated is given to nobody, and is wiped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from cryptography.exceptions import InvalidTag

from deltasync.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError
from deltasync.wire.aead import TAG_BYTES, KeySchedule

__all__ = ["BATCH_RECORDS", "HEADER_BYTES", "MAX_PAYLOAD_BYTES", "OVERHEAD_BYTES", "REKEY_RECORDS", "Opener", "Sealer"]

MAX_PAYLOAD_BYTES = 1 << 16
HEADER_BYTES = 4
OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES
REKEY_RECORDS = 1 << 16
"""At most 4 GiB for one key, far below every known limit of AES-GCM; the peer can't delay it, since it goes by count."""

BATCH_RECORDS = 16
"""How many records are handed to the transport at once: 1 MiB."""

_DATA = 0
_FIN = 1
_HEADER = struct.Struct(">I")
_COUNTS = struct.Struct(">QQ")
_MAX_RECORD_BYTES = MAX_PAYLOAD_BYTES + OVERHEAD_BYTES
_FULL_HEADER = _HEADER.pack(_DATA << 24 | MAX_PAYLOAD_BYTES)

Part = bytes | bytearray | memoryview


class _State(Enum):
    OPEN = auto()
    FINISHED = auto()
    FAILED = auto()


class Sealer:
    """One direction from here to the peer: plain bytes in, sealed records out.

    Args:
        key: 32 bytes.
        rekey_records: After how many records the key changes; another number than the protocol's is for tests.
    """

    def __init__(self, key: bytes, *, rekey_records: int = REKEY_RECORDS) -> None:
        self._schedule = KeySchedule(key, rekey_records)
        self._state = _State.OPEN
        self._records = 0
        self._payload_bytes = 0
        self._out = memoryview(bytearray(BATCH_RECORDS * _MAX_RECORD_BYTES))
        self._at = 0
        self._gathered = memoryview(bytearray(MAX_PAYLOAD_BYTES))
        self._pending = 0

    def seal(self, parts: Sequence[Part]) -> Iterator[memoryview]:
        """Seal the parts, one after the other as one piece of the stream, and yield what to send: up to 16 records at a time.

        Each view is valid until the next is asked for. All must be taken and sent; until then nothing else can be sealed.
        Content is copied only where a record is made of several parts.

        Raises:
            LocalProtocolError: A FIN has been made, an earlier call was not taken to its end, or the counter is used up.
        """
        self._begin()
        for number, part in enumerate(parts, 1):
            view = memoryview(part).cast("B")
            at = 0
            while at < len(view):
                left = len(view) - at
                if not self._pending and (left >= MAX_PAYLOAD_BYTES or number == len(parts)):
                    payload = view[at : at + MAX_PAYLOAD_BYTES]
                    at += len(payload)
                else:
                    at += self._gather(view[at:])
                    if self._pending < MAX_PAYLOAD_BYTES:
                        continue
                    payload = self._take_gathered()
                if self._add(_DATA, payload):
                    yield self._take_out()
        if self._pending and self._add(_DATA, self._take_gathered()):
            yield self._take_out()
        if self._at:
            yield self._take_out()
        self._state = _State.OPEN

    def finish(self) -> memoryview:
        """Return the FIN record; nothing can be sealed after it.

        Raises:
            LocalProtocolError: As `seal`.
        """
        self._begin()
        self._add(_FIN, memoryview(_COUNTS.pack(self._records, self._payload_bytes)))
        self._state = _State.FINISHED
        return self._take_out()

    def _begin(self) -> None:
        if self._state is not _State.OPEN:
            ended = "after its end" if self._state is _State.FINISHED else "after a failure"
            raise LocalProtocolError(f"bytes to send {ended}; please report this")
        # Whoever gives up half-way leaves a gap in the numbers: it stays failed unless the end is reached.
        self._state = _State.FAILED

    def _gather(self, part: memoryview) -> int:
        taken = part[: MAX_PAYLOAD_BYTES - self._pending]
        self._gathered[self._pending : self._pending + len(taken)] = taken
        self._pending += len(taken)
        return len(taken)

    def _take_gathered(self) -> memoryview:
        length, self._pending = self._pending, 0
        return self._gathered[:length]

    def _add(self, kind: int, payload: memoryview) -> bool:
        """Seal one record into the output buffer, and tell whether that has no room for another."""
        length = len(payload)
        start = self._at + HEADER_BYTES
        end = start + length + TAG_BYTES
        cipher, nonce = self._schedule.advance()
        header = _FULL_HEADER if length == MAX_PAYLOAD_BYTES else _HEADER.pack(kind << 24 | length)
        self._out[self._at : start] = header
        cipher.encrypt_into(nonce, payload, header, self._out[start:end])
        self._at = end
        if kind == _DATA:
            self._records += 1
            self._payload_bytes += length
        return end + _MAX_RECORD_BYTES > len(self._out)

    def _take_out(self) -> memoryview:
        length, self._at = self._at, 0
        return self._out[:length]


class Opener:
    """One direction from the peer to here: sealed records in, plain bytes out.

    Receive into `buffer()`, tell `received()` how much came, then call `open()` until it returns None.

    Args:
        key: 32 bytes.
        rekey_records: As the peer's.
    """

    def __init__(self, key: bytes, *, rekey_records: int = REKEY_RECORDS) -> None:
        self._schedule = KeySchedule(key, rekey_records)
        self._state = _State.OPEN
        self._records = 0
        self._payload_bytes = 0
        self._in = memoryview(bytearray(BATCH_RECORDS * _MAX_RECORD_BYTES))
        self._start = 0
        self._end = 0
        self._plain = memoryview(bytearray(MAX_PAYLOAD_BYTES))
        self._readable = self._plain.toreadonly()

    @property
    def finished(self) -> bool:
        """Whether the peer's FIN has come and its counts were right."""
        return self._state is _State.FINISHED

    def buffer(self) -> memoryview:
        """Return where to put the bytes received next; valid until the next call of anything here.

        There is room for at least one byte whenever `open` has returned None.
        """
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._in) - self._start < _MAX_RECORD_BYTES:
            # The record that begins here may not fit in what is left; only this remainder of one record is ever moved.
            left = self._end - self._start
            self._in[:left] = self._in[self._start : self._end]
            self._start, self._end = 0, left
        return self._in[self._end :]

    def received(self, count: int) -> None:
        """Take note that `count` bytes were put into `buffer()`; 0 means that the stream has ended.

        Raises:
            ConnectionLost: The stream has ended without a FIN.
            RemoteProtocolError: Something follows the FIN, or the stream failed before.
        """
        if self._state is _State.FAILED:
            raise RemoteProtocolError("the peer's stream of records has failed before")
        if count and self._state is _State.FINISHED:
            raise self._refuse("something follows the end")
        if not count and self._state is _State.OPEN:
            self._state = _State.FAILED
            raise ConnectionLost("the connection ended before the peer was finished")
        self._end += count

    def open(self, room: memoryview | None = None) -> memoryview | None:
        """Return the payload of the next whole record, valid until the next call of `open`.

        Args:
            room: Where to put the payload if it fits; what is returned is then the beginning of it, valid as long as that is. Of a record
                that does not open nothing is left there.

        None means that more bytes are needed, or, once `finished`, that there is nothing more.

        Raises:
            LocalProtocolError: The counter is used up.
            RemoteProtocolError: The record is malformed, forged, repeated, out of order, or counts come out wrong; nothing of it is
                given out, and nothing ever after.
        """
        if self._state is not _State.OPEN:
            if self._state is _State.FAILED:
                raise RemoteProtocolError("the peer's stream of records has failed before")
            return None
        if self._end - self._start < HEADER_BYTES:
            return None
        body = self._start + HEADER_BYTES
        header = self._in[self._start : body]
        length = int.from_bytes(header[1:])
        kind = header[0]
        self._check_header(kind, length)
        end = body + length + TAG_BYTES
        if end > self._end:
            return None
        place = self._plain if room is None or len(room) < length else room
        cipher, nonce = self._schedule.advance()
        try:
            cipher.decrypt_into(nonce, self._in[body:end], header, place[:length])
        except InvalidTag:
            place[:length] = bytes(length)
            raise self._refuse("it is not authentic") from None
        self._start = end
        if kind == _FIN:
            self._end_with(*_COUNTS.unpack_from(place))
            return None
        self._records += 1
        self._payload_bytes += length
        return self._readable[:length] if place is self._plain else place[:length].toreadonly()

    def _check_header(self, kind: int, length: int) -> None:
        if kind == _DATA:
            if not 0 < length <= MAX_PAYLOAD_BYTES:
                raise self._refuse(f"it says that it has {length} bytes")
        elif kind != _FIN or length != _COUNTS.size:
            raise self._refuse(f"its kind is {kind} and its length {length}")

    def _end_with(self, records: int, payload_bytes: int) -> None:
        if (records, payload_bytes) != (self._records, self._payload_bytes):
            raise self._refuse("the counts at the end are not those of what came")
        if self._start != self._end:
            raise self._refuse("something follows the end")
        self._state = _State.FINISHED

    def _refuse(self, why: str) -> RemoteProtocolError:
        self._state = _State.FAILED
        return RemoteProtocolError(f"record {self._records} from the peer is bad: {why}")
