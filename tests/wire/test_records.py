"""Records: what is sealed comes out, however the stream is cut; what was touched never does."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Sequence

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from deltasync.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError
from deltasync.wire import aead
from deltasync.wire.aead import MAX_COUNTER, KeySchedule, next_key, nonce
from deltasync.wire.records import BATCH_RECORDS, MAX_PAYLOAD_BYTES, OVERHEAD_BYTES, Opener, Sealer

KEY = bytes(range(32))
FEW = 3
"""Records to a key in most tests, so that keys change often."""


def sealed(sealer: Sealer, *parts: bytes | bytearray | memoryview) -> bytes:
    """Seal the parts and return all that would be sent."""
    return b"".join([bytes(chunk) for chunk in sealer.seal(parts)])


def stream_of(messages: Sequence[bytes]) -> list[bytes]:
    """Seal each message with a fresh sealer, and return the records of all, the FIN last."""
    sealer = Sealer(KEY, rekey_records=FEW)
    records = [record for message in messages for record in cut(sealed(sealer, message))]
    return [*records, bytes(sealer.finish())]


def cut(data: bytes) -> Iterator[bytes]:
    """Cut a stream into its records."""
    while data:
        length = int.from_bytes(data[1:4]) + OVERHEAD_BYTES
        yield data[:length]
        data = data[length:]


def feed(opener: Opener, data: bytes) -> Iterator[bytes]:
    """Give bytes to the opener, as much at a time as it has room for, and yield each payload."""
    while data:
        buffer = opener.buffer()
        assert len(buffer) > 0
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        opener.received(count)
        data = data[count:]
        while (plain := opener.open()) is not None:
            yield bytes(plain)


def opened(pieces: Sequence[bytes]) -> tuple[bytes, Opener]:
    """Feed the pieces to a fresh opener and return what came out, and the opener."""
    opener = Opener(KEY, rekey_records=FEW)
    return b"".join([plain for piece in pieces for plain in feed(opener, piece)]), opener


def received_until_error(pieces: Sequence[bytes]) -> list[bytes]:
    """Feed the pieces and then the end of the stream; return what came out before the error that must come."""
    opener = Opener(KEY, rekey_records=FEW)
    plains: list[bytes] = []
    with pytest.raises((RemoteProtocolError, ConnectionLost)):  # noqa: PT012  # At which piece it comes, the caller's change decides.
        for piece in pieces:
            plains.extend(feed(opener, piece))
        opener.received(0)
    assert not opener.finished
    with pytest.raises(RemoteProtocolError, match="has failed before"):
        opener.open()
    return plains


def test_the_bytes_are_those_of_the_description() -> None:
    """A DATA record, one under the second key, and the FIN with its counts, computed by hand."""
    sealer = Sealer(KEY, rekey_records=1)
    first, second = sealed(sealer, b"abc"), sealed(sealer, b"defg")
    fin = bytes(sealer.finish())
    second_key = next_key(KEY)
    assert first == b"\0\0\0\3" + AESGCM(KEY).encrypt(nonce(0), b"abc", b"\0\0\0\3")
    assert second == b"\0\0\0\4" + AESGCM(second_key).encrypt(nonce(1), b"defg", b"\0\0\0\4")
    assert fin == b"\1\0\0\x10" + AESGCM(next_key(second_key)).encrypt(nonce(2), struct.pack(">QQ", 2, 7), b"\1\0\0\x10")


@given(st.data(), st.lists(st.binary(min_size=1, max_size=300), max_size=12))
def test_any_split_of_the_stream_gives_the_same_bytes(data: st.DataObject, messages: list[bytes]) -> None:
    """Wherever the transport cuts the stream, the plain bytes and the end are the same."""
    stream = b"".join(stream_of(messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    plain, opener = opened(pieces)
    assert plain == b"".join(messages)
    assert opener.finished
    opener.received(0)


def test_byte_by_byte_is_the_same() -> None:
    """One byte at a time, across a change of keys."""
    messages = [b"a" * number for number in range(1, 9)]
    stream = b"".join(stream_of(messages))
    plain, opener = opened([stream[at : at + 1] for at in range(len(stream))])
    assert plain == b"".join(messages)
    assert opener.finished


@pytest.mark.parametrize(
    "lengths",
    [
        [0],
        [],
        [MAX_PAYLOAD_BYTES],
        [MAX_PAYLOAD_BYTES + 1],
        [MAX_PAYLOAD_BYTES - 1, 1],
        [5, MAX_PAYLOAD_BYTES],
        [5, 3 * MAX_PAYLOAD_BYTES, 0, 7],
        [BATCH_RECORDS * MAX_PAYLOAD_BYTES],
        [1, BATCH_RECORDS * MAX_PAYLOAD_BYTES, 1],
        [5, 1 << 20] * 3,
        [1] * 1000,
        [(5 << 20) + 17],
    ],
    ids=str,
)
def test_parts_of_any_lengths_come_out_as_one_piece(lengths: list[int], rng: random.Random) -> None:
    """Records are as large as they can be, batches no larger than the buffer, and the parts come out in order."""
    parts = [rng.randbytes(length) for length in lengths]
    sealer = Sealer(KEY, rekey_records=FEW)
    chunks = [bytes(chunk) for chunk in sealer.seal(parts)]
    records = [record for chunk in chunks for record in cut(chunk)]
    total = sum(lengths)
    assert len(records) == -(-total // MAX_PAYLOAD_BYTES)
    assert max(map(len, chunks), default=0) <= BATCH_RECORDS * (MAX_PAYLOAD_BYTES + OVERHEAD_BYTES)
    assert len(chunks) == -(-len(records) // BATCH_RECORDS)
    plain, opener = opened([*chunks, bytes(sealer.finish())])
    assert plain == b"".join(parts)
    assert opener.finished


def test_parts_may_be_any_buffer() -> None:
    """Bytes, a bytearray, and views of bytes and of numbers."""
    numbers = memoryview(struct.pack("<4I", 1, 2, 3, 4)).cast("I")
    plain, _ = opened([sealed(Sealer(KEY, rekey_records=FEW), b"a", bytearray(b"b"), memoryview(b"xcx")[1:2], numbers)])
    assert plain == b"abc" + numbers.tobytes()


def test_what_is_given_out_cannot_be_written() -> None:
    """A reader gets a read-only view, which the next record replaces."""
    opener = Opener(KEY, rekey_records=FEW)
    data = sealed(Sealer(KEY, rekey_records=FEW), b"plain")
    opener.buffer()[: len(data)] = data
    opener.received(len(data))
    plain = opener.open()
    assert plain is not None
    assert plain.readonly


class Damage:
    """Ways to tamper with the records of a stream; each takes the list, the place and chance, and changes the list."""

    @staticmethod
    def flip(records: list[bytes], at: int, rng: random.Random) -> None:
        """Flip one bit."""
        record = bytearray(records[at])
        record[rng.randrange(len(record))] ^= 1 << rng.randrange(8)
        records[at] = bytes(record)

    @staticmethod
    def drop(records: list[bytes], at: int, rng: random.Random) -> None:
        """Leave the record out."""
        del records[at]

    @staticmethod
    def repeat(records: list[bytes], at: int, rng: random.Random) -> None:
        """Send it twice."""
        records.insert(at, records[at])

    @staticmethod
    def replay(records: list[bytes], at: int, rng: random.Random) -> None:
        """Send it once more at the end."""
        records.append(records[at])

    @staticmethod
    def reorder(records: list[bytes], at: int, rng: random.Random) -> None:
        """Exchange it with the one after it, or the first if it is the last."""
        other = (at + 1) % len(records)
        records[at], records[other] = records[other], records[at]

    @staticmethod
    def cut_short(records: list[bytes], at: int, rng: random.Random) -> None:
        """End the stream within it."""
        records[at:] = [records[at][: rng.randrange(len(records[at]))]]

    @staticmethod
    def forge(records: list[bytes], at: int, rng: random.Random) -> None:
        """Put one of an own making there."""
        records[at] = sealed(Sealer(bytes(32)), b"forged")

    @staticmethod
    def empty(records: list[bytes], at: int, rng: random.Random) -> None:
        """Put one without content there."""
        records.insert(at, bytes(4) + rng.randbytes(16))


WAYS = [Damage.flip, Damage.drop, Damage.repeat, Damage.replay, Damage.reorder, Damage.cut_short, Damage.forge, Damage.empty]


@pytest.mark.parametrize("damage", WAYS, ids=lambda way: way.__name__)
@given(messages=st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=10), chance=st.randoms(use_true_random=False))
def test_a_touched_stream_ends_with_an_error(
    damage: Callable[[list[bytes], int, random.Random], None], messages: list[bytes], chance: random.Random
) -> None:
    """Whatever was done to one record, only the plain bytes before it come out, and then an error, for ever."""
    records = stream_of(messages)
    at = chance.randrange(len(records))
    untouched = list(records)
    damage(records, at, chance)
    intact = next((number for number, (one, other) in enumerate(zip(records, untouched, strict=False)) if one != other), len(untouched))
    plains = received_until_error(records)
    assert plains == messages[: min(intact, len(messages))]


def test_every_flip_in_every_byte_of_a_record_is_found() -> None:
    """Header, payload and tag: no byte of a record can be another one."""
    (record,) = cut(sealed(Sealer(KEY, rekey_records=FEW), b"content"))
    for at in range(len(record)):
        for bit in range(8):
            changed = bytearray(record)
            changed[at] ^= 1 << bit
            assert received_until_error([bytes(changed)]) == []


def test_a_bad_record_leaves_no_plaintext_behind() -> None:
    """The content of a record whose tag is wrong stands in no buffer of the opener afterwards."""
    secret = b"not authenticated, not to be seen"
    record = bytearray(sealed(Sealer(KEY, rekey_records=FEW), secret))
    record[-1] ^= 1
    opener = Opener(KEY, rekey_records=FEW)
    with pytest.raises(RemoteProtocolError, match="not authentic"):
        list(feed(opener, bytes(record)))
    for buffer in (opener._plain, opener._in):
        assert secret not in bytes(buffer)
    assert bytes(opener._plain) == bytes(len(opener._plain))


def test_a_payload_is_put_where_it_belongs() -> None:
    """Where there is room for it, it is opened there; else, as the counts at the end, in the opener's own buffer."""
    sealer, opener = Sealer(KEY), Opener(KEY)
    data = sealed(sealer, b"fits") + sealed(sealer, b"does not fit") + bytes(sealer.finish())
    opener.buffer()[: len(data)] = data
    opener.received(len(data))
    room = memoryview(bytearray(b"." * 8))
    first, second = opener.open(room), opener.open(room[4:])
    assert first is not None
    assert first.obj is room.obj
    assert first.readonly
    assert second is not None
    assert bytes(second) == b"does not fit"
    assert bytes(room) == b"fits...."
    assert opener.open(room) is None
    assert opener.finished
    assert bytes(room) == b"fits...."


def test_a_bad_record_leaves_nothing_where_it_belongs() -> None:
    """What is not authentic is wiped there as well."""
    record = bytearray(sealed(Sealer(KEY), b"secret"))
    record[-1] ^= 1
    opener, room = Opener(KEY), memoryview(bytearray(b"." * 8))
    opener.buffer()[: len(record)] = record
    opener.received(len(record))
    with pytest.raises(RemoteProtocolError, match="not authentic"):
        opener.open(room)
    assert bytes(room) == bytes(6) + b".."


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"\0\0\0\0", "0 bytes"),
        (b"\0\1\0\1", "65537 bytes"),
        (b"\0\xff\xff\xff", "16777215 bytes"),
        (b"\1\0\0\0", "kind is 1"),
        (b"\1\0\0\x11", "kind is 1"),
        (b"\2\0\0\x10", "kind is 2"),
        (b"\xff\0\0\1", "kind is 255"),
    ],
)
def test_a_bad_header_is_refused_before_its_record_is_waited_for(header: bytes, why: str) -> None:
    """Four bytes are enough to refuse an empty, an oversized and an unknown record."""
    with pytest.raises(RemoteProtocolError, match=why):
        opened([header])


def record_of(number: int, header: bytes, payload: bytes) -> bytes:
    """Seal a record as nobody would who keeps to the protocol."""
    return header + AESGCM(KEY).encrypt(nonce(number), payload, header)


def test_authentic_but_wrong_records_are_refused() -> None:
    """A peer that holds the keys can't send an empty record, wrong counts, or anything behind its FIN."""
    fin = b"\1\0\0\x10"
    with pytest.raises(RemoteProtocolError, match="0 bytes"):
        opened([record_of(0, bytes(4), b"")])
    for counts in ((1, 0), (0, 1), (2**64 - 1, 0)):
        with pytest.raises(RemoteProtocolError, match="counts"):
            opened([record_of(0, fin, struct.pack(">QQ", *counts))])
    end = record_of(0, fin, bytes(16))
    more = record_of(1, b"\0\0\0\1", b"x")
    for pieces in ([end + more], [end, more], [end + b"x"], [end, end]):
        with pytest.raises(RemoteProtocolError, match="follows the end"):
            opened(pieces)


@pytest.mark.parametrize("rest", [b"", b"\0", b"\0\0\0\5only"])
def test_an_end_without_a_fin_is_a_lost_connection(rest: bytes) -> None:
    """Between records or within one, with content or before any."""
    for before in (b"", sealed(Sealer(KEY, rekey_records=FEW), b"content")):
        _, opener = opened([before + rest])
        with pytest.raises(ConnectionLost, match="before the peer was finished"):
            opener.received(0)


def test_nothing_is_sealed_after_the_end() -> None:
    """After a FIN neither content nor a second FIN."""
    sealer = Sealer(KEY)
    sealer.finish()
    for call in (lambda: sealed(sealer, b"x"), sealer.finish):
        with pytest.raises(LocalProtocolError, match="after its end"):
            call()


def test_what_was_not_taken_to_its_end_blocks_the_rest() -> None:
    """A sender that gives up half-way can't go on: records would be missing."""
    sealer = Sealer(KEY)
    half = sealer.seal([bytes(3 << 20)])
    next(half)
    del half
    for call in (lambda: sealed(sealer, b"x"), sealer.finish):
        with pytest.raises(LocalProtocolError, match="after a failure"):
            call()


def test_the_sender_stops_before_a_nonce_repeats() -> None:
    """At the last counter one more record is sealed, then never again."""
    sealer = Sealer(KEY)
    sealer._schedule = KeySchedule(KEY, 10, counter=MAX_COUNTER)
    assert sealed(sealer, b"the last")
    for call in (lambda: sealed(sealer, b"one more"), lambda: sealed(sealer, b"and again"), sealer.finish):
        with pytest.raises(LocalProtocolError):
            call()


class Watched:
    """Stands in for AESGCM, and writes down each key and nonce with which something is sealed."""

    used: list[tuple[bytes, bytes]]

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    def encrypt(self, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        """Seal, and write it down."""
        self.used.append((self._key, bytes(nonce)))
        return self._cipher.encrypt(nonce, plain, associated)

    def encrypt_into(self, nonce: bytes, plain: memoryview, associated: bytes, buffer: memoryview) -> int:
        """Seal, and write it down."""
        self.used.append((self._key, bytes(nonce)))
        return self._cipher.encrypt_into(nonce, plain, associated, buffer)


@pytest.mark.parametrize("rekey_records", [1, 2, 7, 1000])
def test_no_key_and_nonce_are_used_twice(rekey_records: int, monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> None:
    """Over thousands of records of two directions with forced changes of keys each pair of key and nonce is used once."""
    used: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(Watched, "used", used, raising=False)
    monkeypatch.setattr(aead, "AESGCM", Watched)
    records = 0
    for key in (KEY, KEY[::-1]):
        sealer = Sealer(key, rekey_records=rekey_records)
        for _ in range(1500):
            parts = [bytes(rng.randrange(1, 40)) for _ in range(rng.randrange(1, 4))]
            records += sum(1 for chunk in sealer.seal(parts) for _ in cut(bytes(chunk)))
        sealer.finish()
        records += 1
    rekeys = 2 * (1500 // rekey_records)
    assert len(used) == records + rekeys
    assert len(set(used)) == len(used)
    assert len({key for key, _ in used}) == 2 + rekeys
