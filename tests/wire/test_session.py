"""The session: messages survive any cut of the stream, and nothing out of turn, malformed or oversized is taken."""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.errors import DeltasyncError, LocalProtocolError, RemoteProtocolError
from deltasync.wire.messages import (
    Applied,
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
    Item,
    Items,
    Message,
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
    pack_slices,
)
from deltasync.wire.session import MAX_FRAME_BYTES, TRANSITIONS, Inbound, Outbound, Speaker, State
from deltasync.wire.settings import Settings

PUSH = Setup(True, (b"dest",), Settings(delete=True, rules=(b"- *.o",)))
SENT: list[Message] = [
    Hello("0.1.0", ("x",)),
    PUSH,
    Tree(True, (b"",), False),
    Owners(((1, b"one"),), ((2, b"two"),)),
    Entries(b"chunk" * 50),
    Pack([1, 2], [3, 0], [-5, 6], [0o100644, 0o100600], b"abc"),
    Note("a note"),
    Ping(),
    EntriesEnd(2, 0),
    Same(b"\1" * 8, b"\2" * 8, b"\3" * 4),
    FileBegin(7, 10, -1, 0o100644),
    FileCopy(7, [0, 9], [4, 1 << 40], [3, 1]),
    Gaps(7, 1024, 5, [0, 4096], [1024, 1]),
    FileData(7, b"01234"),
    FileZeros(7, 5),
    FileEnd(7, b"d" * 32),
    FileAbort(8, again=False),
    Trouble(b"p\xff", "text", 23),
    Round(1),
    Renames(((b"a", b"b/c"),)),
    Gone((b"d/e", b"d")),
    Presumed(b"\1\0\0\0", b"p" * 32),
    Entries(b"chunk"),
    Gone((b"f",)),
    EntriesEnd(0, 0),
    SenderDone(1, 2, 3),
]
ANSWERED: list[Message] = [
    Hello("0.1.0"),
    Ready("python"),
    Want(0, b"\0\0\0\0", b"", b"\1\0\0\0", b"\0\0\0\0", b"d" * 16, b"\1\0\0\0"),
    WantDeferred(b"\0" * 8, b"\1" + b"\0" * 7),
    Signature(7, 5000, 4096, 8, 0, b"weakWEAK", b"strong_1strong_2"),
    WantWhole(b"\0" * 8),
    Applied(b"\0" * 8),
    Items((Item(">f+++++++++", b"x", b""),)),
    Trouble(b"p", "text", 23),
    RoundDone(1, b"\1\0\0\0", ReceiverDone(1, 2, 3, 4, 5, 6, 7, 8)),
    ReceiverDone(1, 2, 3, 4, 5, 6, 7, 8),
]


def stream(messages: Iterable[Message], speaker: Speaker, *, sends: bool, squeeze: bool = False) -> bytes:
    """The bytes of these messages."""
    outbound = Outbound(speaker)
    outbound.take_role(sends=sends)
    return b"".join(bytes(part) for message in messages for part in outbound.send(message, squeeze=squeeze))


def told(message: Message) -> object:
    """A message in a form that compares equal whatever its buffers are."""
    if isinstance(message, Pack):
        return [list(message.ids), list(message.sizes), list(message.mtimes_ns), list(message.modes), bytes(message.content)]
    if isinstance(message, (FileCopy, Gaps, Signature)):
        return [type(message), *(list(part) if isinstance(part, (list, array)) else part for part in message)]
    return FileData(message.file_id, bytes(message.content)) if isinstance(message, FileData) else message


@pytest.mark.parametrize("squeeze", [False, True])
@given(data=st.data())
def test_any_cut_of_the_stream_gives_the_same_messages(squeeze: bool, data: st.DataObject) -> None:
    """Fed in pieces of any size, compressed or not, the messages come out as they were sent."""
    for messages, speaker, sends in ((SENT, Speaker.INITIATOR, True), (ANSWERED, Speaker.RESPONDER, False)):
        sent = stream(messages, speaker, sends=sends, squeeze=squeeze)
        inbound = Inbound(speaker)
        inbound.take_role(sends=sends)
        came: list[object] = []
        at = 0
        while at < len(sent):
            piece: bytes | memoryview = sent[at : at + data.draw(st.integers(1, 200))]
            at += len(piece)
            room = inbound.room
            if room is not None and len(piece) <= len(room) and data.draw(st.booleans()):
                # As a link does that can put bytes where they belong.
                room[: len(piece)] = piece
                piece = room[: len(piece)]
            came += [told(message) for message in inbound.feed(piece)]
        assert came == [told(message) for message in messages]
        assert inbound.done
        assert inbound.at_boundary


def test_large_frames_stay_as_they_came() -> None:
    """Memory is used again, but never that of a message that somebody still has."""
    contents = [bytes([number]) * (512 << 10) for number in range(20)]
    messages: list[Message] = [*SENT[:3], FileBegin(7, 20 << 19, 0, 0o100644), *(FileData(7, content) for content in contents)]
    inbound = Inbound(Speaker.INITIATOR)
    came = list(inbound.feed(stream(messages, Speaker.INITIATOR, sends=True)))
    assert [bytes(message.content) for message in came if isinstance(message, FileData)] == contents


def test_every_split_point() -> None:
    """Cut in two at every byte, the stream means the same."""
    sent = stream(SENT, Speaker.INITIATOR, sends=True)
    expected = [told(message) for message in SENT]
    for cut in range(len(sent) + 1):
        inbound = Inbound(Speaker.INITIATOR)
        assert [told(message) for piece in (sent[:cut], sent[cut:]) for message in inbound.feed(piece)] == expected


def test_a_truncated_stream_is_noticed() -> None:
    """A stream that ends anywhere before its last byte is not done, or not at a boundary."""
    sent = stream(SENT, Speaker.INITIATOR, sends=True)
    for cut in range(len(sent)):
        inbound = Inbound(Speaker.INITIATOR)
        list(inbound.feed(sent[:cut]))
        assert not inbound.done


@given(st.randoms(use_true_random=False))
def test_a_reordered_stream_is_refused_or_in_turn(rng: random.Random) -> None:
    """Messages in another order are taken only where the tables allow it; otherwise it is a protocol error."""
    frames = [b"".join(bytes(part) for part in parts) for parts in _frames()]
    order = list(range(len(frames)))
    rng.shuffle(order)
    inbound = Inbound(Speaker.INITIATOR)
    try:
        for index in order:
            list(inbound.feed(frames[index]))
    except RemoteProtocolError:
        return
    assert order[0] == 0
    assert order.index(1) == 1


def _frames() -> list[list[bytes]]:
    outbound = Outbound(Speaker.INITIATOR)
    return [[bytes(part) for part in outbound.send(message)] for message in SENT]


@given(st.binary(max_size=300))
def test_noise_is_a_protocol_error_or_nothing_yet(noise: bytes) -> None:
    """Bytes of any kind never raise anything but a protocol error."""
    inbound = Inbound(Speaker.INITIATOR)
    try:
        list(inbound.feed(noise))
    except RemoteProtocolError:
        return


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_changed_byte(place: int, value: int) -> None:
    """A stream with one byte changed never raises anything but a protocol error."""
    sent = bytearray(stream(SENT, Speaker.INITIATOR, sends=True, squeeze=bool(place % 2)))
    sent[place % len(sent)] = value
    inbound = Inbound(Speaker.INITIATOR)
    try:
        list(inbound.feed(sent))
    except RemoteProtocolError:
        return


def feed_one(kind: int, body: bytes, *, sends: bool = True) -> list[Message]:
    """Feed one message of the middle of a session."""
    inbound = Inbound(Speaker.INITIATOR)
    opening = SENT[:3] if sends else [SENT[0], Setup(False, (b"s",), Settings())]
    list(inbound.feed(stream(opening, Speaker.INITIATOR, sends=sends)))
    return list(inbound.feed(struct.pack("<IB", len(body), kind) + body))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Type.PACK, struct.pack("<I", 0)),
        (Type.PACK, struct.pack("<I", 2**32 - 1)),
        (Type.PACK, struct.pack("<IQIqI", 1, 0, 5, 0, 0) + b"four"),
        (Type.FILE_DATA, b"12345678"),
        (Type.FILE_DATA, b"1234567"),
        (Type.FILE_DATA, bytes(8 + (512 << 10) + 1)),
        (Type.FILE_BEGIN, struct.pack("<QQqI", 0, 2**63, 0, 0o100644)),
        (Type.FILE_BEGIN, struct.pack("<QQqI", 0, 1, 0, 0x10000)),
        (Type.FILE_BEGIN, b""),
        (Type.FILE_ZEROS, struct.pack("<QQ", 0, 0)),
        (Type.FILE_ZEROS, struct.pack("<QQ", 0, 2**63)),
        (Type.FILE_END, bytes(39)),
        (Type.ENTRIES_END, b"\x92\xff\xff"),
        (Type.TROUBLE, b"\x93\xc4\x01a\xa1b\xcd\x01\x00"),
        (Type.ENTRIES | 0x80, struct.pack("<I", 2**31) + b"x"),
        (Type.ENTRIES | 0x80, struct.pack("<I", 10) + b"no zstd"),
        (Type.ENTRIES | 0x80, b"x"),
    ],
)
def test_bodies_beyond_their_limits(kind: int, body: bytes) -> None:
    """Counts, sizes and lengths that a body can't have are a protocol error."""
    with pytest.raises(RemoteProtocolError):
        feed_one(kind, body)


def test_a_bomb_is_not_unpacked() -> None:
    """A compressed body that holds more than it says is refused without being unpacked in full."""
    from deltasync.wire.compression import compress

    bomb = compress([bytes(64 << 20)], 64 << 20)
    assert bomb is not None
    with pytest.raises(RemoteProtocolError, match="another length"):
        feed_one(Type.ENTRIES | 0x80, struct.pack("<I", 100) + bomb)


def test_an_oversized_frame_is_refused_from_its_header() -> None:
    """The length alone is enough: nothing is allocated for it."""
    inbound = Inbound(Speaker.INITIATOR)
    with pytest.raises(RemoteProtocolError, match="frame of"):
        list(inbound.feed(struct.pack("<IB", MAX_FRAME_BYTES + 1, Type.HELLO)))


@pytest.mark.parametrize("kind", [Type.RESUME])
def test_messages_of_features_not_agreed_on(kind: Type) -> None:
    """Messages that are reserved for features have their place, and are refused while no side offers the feature."""
    assert kind in TRANSITIONS[State.RECEIVING]
    with pytest.raises(RemoteProtocolError, match="not agreed"):
        feed_one(kind, b"", sends=False)


def test_roles_are_kept() -> None:
    """A sender can't want, a receiver can't send, and only the side that was connected to is ready."""
    with pytest.raises(RemoteProtocolError, match="WANT"):
        feed_one(Type.WANT, b"")
    with pytest.raises(RemoteProtocolError, match="PACK"):
        feed_one(Type.PACK, b"", sends=False)
    inbound = Inbound(Speaker.INITIATOR)
    list(inbound.feed(stream([Hello("x")], Speaker.INITIATOR, sends=True)))
    with pytest.raises(RemoteProtocolError, match="READY"):
        list(inbound.feed(struct.pack("<IB", 0, Type.READY)))


def test_nothing_follows_the_end() -> None:
    """After its last message a side has nothing more to say."""
    outbound = Outbound(Speaker.INITIATOR)
    for message in SENT:
        outbound.send(message)
    with pytest.raises(LocalProtocolError):
        outbound.send(Ping())
    ended = Outbound(Speaker.RESPONDER)
    ended.send(Failure(11, "no"))
    with pytest.raises(DeltasyncError):
        ended.send(Hello("x"))


def test_pack_slices() -> None:
    """Each file of a pack gets its own bytes."""
    assert [bytes(view) for view in pack_slices(Pack([1, 2, 3], [2, 0, 1], [0] * 3, [0] * 3, b"abc"))] == [b"ab", b"", b"c"]
