"""The session: frames in, messages out, and which message may follow which. Pure (sans-I/O), as h11 is.

A frame is `u32 body length | u8 type | body`, little-endian, the body at most `MAX_FRAME_BYTES`. The top bit of the type says that the
body is `u32 length | zstd` of the real body. The two directions are independent machines, so that one thread may feed while another
sends. All transitions are in the tables below; they don't know who connected to whom beyond the first messages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum, auto

from deltasync.errors import LocalProtocolError, RemoteProtocolError
from deltasync.wire.codec import Part, decode, encode
from deltasync.wire.compression import compress, decompress
from deltasync.wire.messages import MAX_FILE_DATA_BYTES, Message, Setup, Type
from deltasync.wire.spare import Spare

__all__ = ["MAX_FRAME_BYTES", "Inbound", "Outbound", "Speaker", "State"]

MAX_FRAME_BYTES = 1 << 20
_HEADER = struct.Struct("<IB")
_COMPRESSED = 0x80
_RAW_LENGTH = struct.Struct("<I")

_SPARE_BYTES = MAX_FILE_DATA_BYTES + 8
"""A frame of a large file is never longer."""
_SPARES = 12
"""More than wait for the control thread at once, with those that are being received and written."""


class Speaker(Enum):
    """Who speaks in a direction: the side that connected, or the one that was connected to."""

    INITIATOR = auto()
    RESPONDER = auto()


class State(Enum):
    """How far one direction has come."""

    START = auto()
    GREETED = auto()
    SENDER_OPEN = auto()
    CHANGING = auto()
    LISTING = auto()
    SENDING = auto()
    RECEIVING = auto()
    DONE = auto()


_FILE = (Type.PACK, Type.SAME, Type.FILE_BEGIN, Type.FILE_DATA, Type.FILE_ZEROS, Type.FILE_END, Type.FILE_ABORT)
_DELTA_FROM_SENDER = (Type.FILE_COPY, Type.GAPS)
_DELTA_FROM_RECEIVER = (Type.SIGNATURE, Type.RESUME, Type.APPLIED, Type.WANT_WHOLE)
_DATA = (Type.DATA_KEY, Type.DATA_AT, Type.MOVED)
_ANYTIME = (Type.TROUBLE, Type.NOTE, Type.PING, *_DATA)

_SPOKEN_BY = {
    Type.SETUP: Speaker.INITIATOR,
    Type.READY: Speaker.RESPONDER,
    Type.DATA_KEY: Speaker.INITIATOR,
    Type.DATA_AT: Speaker.RESPONDER,
}

TRANSITIONS: dict[State, dict[Type, State]] = {
    State.START: {Type.HELLO: State.GREETED, Type.FAILURE: State.DONE},
    State.GREETED: {
        Type.SETUP: State.GREETED,
        Type.READY: State.GREETED,
        Type.NOTE: State.GREETED,
        Type.DATA_AT: State.GREETED,
        Type.FAILURE: State.DONE,
    },
    State.SENDER_OPEN: {
        **dict.fromkeys(_ANYTIME, State.SENDER_OPEN),
        Type.TREE: State.LISTING,
        Type.FAILURE: State.DONE,
    },
    State.CHANGING: {
        **dict.fromkeys((*_ANYTIME, Type.RENAMES, Type.GONE), State.CHANGING),
        **dict.fromkeys((Type.OWNERS, Type.PRESUMED, Type.ENTRIES), State.LISTING),
        Type.ENTRIES_END: State.SENDING,
        Type.FAILURE: State.DONE,
    },
    State.LISTING: {
        **dict.fromkeys((*_ANYTIME, *_FILE, *_DELTA_FROM_SENDER, Type.OWNERS, Type.PRESUMED, Type.ENTRIES, Type.GONE), State.LISTING),
        Type.ENTRIES_END: State.SENDING,
        Type.FAILURE: State.DONE,
    },
    State.SENDING: {
        **dict.fromkeys((*_ANYTIME, *_FILE, *_DELTA_FROM_SENDER), State.SENDING),
        Type.ROUND: State.CHANGING,
        Type.SENDER_DONE: State.DONE,
        Type.FAILURE: State.DONE,
    },
    State.RECEIVING: {
        **dict.fromkeys((*_ANYTIME, *_DELTA_FROM_RECEIVER, Type.WANT, Type.WANT_DEFERRED, Type.ITEMS, Type.ROUND_DONE), State.RECEIVING),
        Type.RECEIVER_DONE: State.DONE,
        Type.FAILURE: State.DONE,
    },
    State.DONE: {},
}
"""For each state of a direction the messages allowed in it, and the state after. `Setup` and `Ready` lead on by the roles; see `_Track`."""


class _Track:
    """The state of one direction.

    `Setup` says which role its speaker takes, and the other direction takes the other one: `opens` is told by the owner of both.
    """

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self.state = State.START

    def allows(self, kind: Type) -> bool:
        """Tell whether a message of this type may come now."""
        only = _SPOKEN_BY.get(kind)
        return (only is None or only is self.speaker) and kind in TRANSITIONS[self.state]

    def step(self, kind: Type, *, sends: bool) -> None:
        """Go on to the state after a message; `sends` is whether the speaker is the sender of the tree."""
        if kind in (Type.SETUP, Type.READY):
            self.state = State.SENDER_OPEN if sends else State.RECEIVING
        else:
            self.state = TRANSITIONS[self.state][kind]


class Outbound:
    """The direction from here to the peer: messages in, parts of the byte stream out.

    Args:
        speaker: Whether this side connected (`INITIATOR`) or was connected to.
    """

    def __init__(self, speaker: Speaker) -> None:
        self._track = _Track(speaker)
        self._sends = False

    def take_role(self, *, sends: bool) -> None:
        """Say whether this side is the sender; called once the `Setup` is known."""
        self._sends = sends

    @property
    def open(self) -> bool:
        """Whether the roles are known and this side has not said its last."""
        return self._track.state not in (State.START, State.GREETED, State.DONE)

    @property
    def may_move(self) -> bool:
        """Whether this side can say now that it goes on over another connection."""
        return self._track.allows(Type.MOVED)

    def send(self, message: Message, *, squeeze: bool = False) -> list[Part]:
        """Return the bytes of a message, in parts; with `squeeze` the body is compressed if that makes it smaller.

        Raises:
            LocalProtocolError: The message may not be sent now, or is too large.
        """
        kind, parts = encode(message)
        if not self._track.allows(kind):
            raise LocalProtocolError(f"message {kind.name} can't be sent in state {self._track.state.name}; please report this")
        if isinstance(message, Setup):
            self._sends = message.sends
        self._track.step(kind, sends=self._sends)
        length = sum(map(len, parts))
        if length > MAX_FRAME_BYTES:
            raise LocalProtocolError(f"message {kind.name} of {length} bytes is over the limit; please report this")
        if squeeze:
            squeezed = compress(parts, length)
            if squeezed is not None:
                return [_HEADER.pack(len(squeezed) + 4, kind | _COMPRESSED), _RAW_LENGTH.pack(length), squeezed]
        return [_HEADER.pack(length, kind), *parts]


class Inbound:
    """The direction from the peer to here: bytes in, messages out.

    Args:
        speaker: Whether the peer connected (`INITIATOR`) or was connected to.
    """

    def __init__(self, speaker: Speaker) -> None:
        self._track = _Track(speaker)
        self._sends = False
        self._header = bytearray()
        self._body: memoryview | None = None
        self._spare = Spare(_SPARE_BYTES, _SPARES)
        self._filled = 0
        self._kind = 0

    def take_role(self, *, sends: bool) -> None:
        """Say whether the peer is the sender; called once the `Setup` is known."""
        self._sends = sends

    @property
    def at_boundary(self) -> bool:
        """Whether everything fed so far made whole messages."""
        return not self._header and self._body is None

    @property
    def room(self) -> memoryview | None:
        """Where the next bytes of the stream belong, for who can put them there; they are fed none the less. None: nowhere."""
        return None if self._body is None else self._body[self._filled :]

    @property
    def done(self) -> bool:
        """Whether the peer has said all that it may say."""
        return self._track.state is State.DONE

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Message]:
        """Take bytes of the stream and yield the messages that they complete.

        Args:
            data: The bytes; a view that begins where `room` does is not copied, since its bytes are in their place.

        Raises:
            RemoteProtocolError: What the peer sent is not allowed.
        """
        view = memoryview(data)
        at = 0
        while at < len(view):
            if self._body is None:
                take = view[at : at + _HEADER.size - len(self._header)]
                self._header += take
                at += len(take)
                if len(self._header) == _HEADER.size:
                    self._open_frame()
            else:
                take = view[at : at + len(self._body) - self._filled]
                if view.obj is not self._body.obj:
                    self._body[self._filled : self._filled + len(take)] = take
                self._filled += len(take)
                at += len(take)
            if self._body is not None and self._filled == len(self._body):
                body, self._body = self._body, None
                yield self._message(body)

    def _open_frame(self) -> None:
        length, number = _HEADER.unpack(self._header)
        self._header.clear()
        if length > MAX_FRAME_BYTES:
            raise RemoteProtocolError(f"the peer sent a frame of {length} bytes; the limit is {MAX_FRAME_BYTES}")
        try:
            kind = Type(number & ~_COMPRESSED)
        except ValueError:
            raise RemoteProtocolError(f"the peer sent a message of unknown type {number & ~_COMPRESSED}") from None
        if not self._track.allows(kind):
            raise RemoteProtocolError(f"the peer sent {kind.name} in state {self._track.state.name}")
        self._kind = number
        self._body = self._spare.take(length)
        self._filled = 0

    def _message(self, body: memoryview) -> Message:
        kind = Type(self._kind & ~_COMPRESSED)
        try:
            if self._kind & _COMPRESSED:
                (length,) = _RAW_LENGTH.unpack_from(body)
                if length > MAX_FRAME_BYTES:
                    raise RemoteProtocolError(f"the peer sent a compressed frame of {length} bytes; the limit is {MAX_FRAME_BYTES}")
                body = memoryview(decompress(body[4:], length))
            message = decode(kind, body)
        except (ValueError, struct.error) as error:
            raise RemoteProtocolError(f"the peer sent a malformed {kind.name}: {error}") from error
        if isinstance(message, Setup):
            self._sends = message.sends
        self._track.step(kind, sends=self._sends)
        return message
