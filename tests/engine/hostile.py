"""A second speaker of the protocol, made from docs/protocol.md alone: it says whatever it is told to, legal or not.

Nothing of `deltasync.wire` is used here, so that a slip of the encoder there can't hide one of the decoder.
"""

from __future__ import annotations

import stat
import struct
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from blake3 import blake3

from deltasync.channel.loopback import PlainLink
from deltasync.errors import DeltasyncError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HELLO, SETUP, READY, FAILURE, TROUBLE, NOTE, PING = range(1, 8)
TREE, OWNERS, ENTRIES, ENTRIES_END, PACK, FILE_BEGIN, FILE_DATA, FILE_ZEROS, FILE_END, FILE_ABORT = range(0x10, 0x1A)
SENDER_DONE, WANT, WANT_DEFERRED, ITEMS, RECEIVER_DONE = 0x1F, 0x20, 0x21, 0x22, 0x2F
COMPRESSED = 0x80
ROUND_DONE = 0x38
CONTROL = frozenset((*range(1, 8), TREE, OWNERS, ENTRIES_END, SENDER_DONE, WANT, WANT_DEFERRED, ITEMS, RECEIVER_DONE, ROUND_DONE))


class Raw(bytes):
    """MessagePack that is written as it stands."""


def packed(value: Any) -> bytes:
    """Return a value as MessagePack, every length in its widest form."""
    if isinstance(value, Raw):
        return bytes(value)
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return b"\xcf" + struct.pack(">Q", value) if value >= 0 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape")
        return b"\xdb" + struct.pack(">I", len(text)) + text
    if isinstance(value, dict):
        return b"\xdf" + struct.pack(">I", len(value)) + b"".join(packed(key) + packed(item) for key, item in value.items())
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(packed, value))


# Frames and messages ----------------------------------------------------------------------------------------------------------------------


def frame(kind: int, body: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a frame; `length` is what it says of its body, if not the truth."""
    return struct.pack("<IB", len(body) if length is None else length, kind) + body


def zstd_of(content: bytes) -> bytes:
    """Return one zstd frame."""
    return bytes(zstd.compress(content))


def squeezed(kind: int, body: bytes, *, length: int | None = None, data: bytes | None = None) -> bytes:
    """Return a compressed frame; `length` and `data` replace what is true."""
    said = struct.pack("<I", len(body) if length is None else length)
    return frame(kind | COMPRESSED, said + (zstd_of(body) if data is None else data))


def control(kind: int, *fields: Any) -> bytes:
    """Return a frame whose body is a MessagePack array."""
    return frame(kind, packed(fields))


def hello(software: str = "other", features: Sequence[str] = ()) -> bytes:
    """The first message of each side."""
    return control(HELLO, software, features)


def setup(sends: bool, places: Sequence[bytes], **settings: Any) -> bytes:
    """The initiator's second message."""
    return control(SETUP, sends, places, settings)


def tree(*tops: bytes, whole: bool | None = None, lone: bool = False, missing: int = 0) -> bytes:
    """The sender's first message; no tops are a source with a trailing slash."""
    tops = tops or (b"",)
    return control(TREE, b"" in tops if whole is None else whole, tops, lone, missing)


def pack(*files: tuple[int, bytes], mode: int = 0o100644, mtime_ns: int = 7, count: int | None = None) -> bytes:
    """Small files: number and content of each."""
    n = len(files)
    columns = struct.pack(f"<{n}Q", *(number for number, _ in files)) + struct.pack(f"<{n}I", *(len(content) for _, content in files))
    columns += struct.pack(f"<{n}q", *[mtime_ns] * n) + struct.pack(f"<{n}I", *[mode] * n)
    return frame(PACK, struct.pack("<I", n if count is None else count) + columns + b"".join(content for _, content in files))


def begin(number: int, size: int, *, mode: int = 0o100644, mtime_ns: int = 7) -> bytes:
    """A streamed file begins."""
    return frame(FILE_BEGIN, struct.pack("<QQqI", number, size, mtime_ns, mode))


def data(number: int, content: bytes) -> bytes:
    """Its next bytes."""
    return frame(FILE_DATA, struct.pack("<Q", number) + content)


def zeros(number: int, count: int) -> bytes:
    """Its next zeros."""
    return frame(FILE_ZEROS, struct.pack("<QQ", number, count))


def end(number: int, digest: bytes) -> bytes:
    """A streamed file is complete."""
    return frame(FILE_END, struct.pack("<Q", number) + digest)


def abort(number: int, again: int) -> bytes:
    """A file is given up, or begins anew."""
    return frame(FILE_ABORT, struct.pack("<QB", number, again))


def want(chunk: int, *indexes: int, deferred: Sequence[int] = ()) -> bytes:
    """The receiver's answer to a chunk."""
    return control(WANT, chunk, struct.pack(f"<{len(indexes)}I", *indexes), struct.pack(f"<{len(deferred)}I", *deferred))


def want_deferred(*numbers: int) -> bytes:
    """Files put off before are wanted now."""
    return control(WANT_DEFERRED, struct.pack(f"<{len(numbers)}Q", *numbers))


def receiver_done() -> bytes:
    """The receiver's last message."""
    return control(RECEIVER_DONE, *[0] * 8)


def sender_done() -> bytes:
    """The sender's last message."""
    return control(SENDER_DONE, 0, 0, 0)


def entries_end(entries: int, read_errors: int = 0) -> bytes:
    """The sender has listed everything."""
    return control(ENTRIES_END, entries, read_errors)


def digest_of(content: bytes) -> bytes:
    """Return the file digest of a content."""
    leaf = 32 << 10
    while len(content) > leaf << 16:
        leaf *= 2
    leaves = b"".join(blake3(content[at : at + leaf]).digest() for at in range(0, len(content), leaf))
    return bytes(blake3(struct.pack("<Q", len(content)) + leaves).digest())


# Entries ----------------------------------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One entry; the defaults are those of an empty file of root's."""

    name: bytes
    mode: int = 0o100644
    size: int = 0
    target: bytes = b""
    group: int = 0
    rdev: int = 0
    mtime_ns: int = 7
    uid: int = 0
    gid: int = 0


def folder(name: bytes) -> Row:
    """A directory."""
    return Row(name, 0o040755)


def link(name: bytes, target: bytes) -> Row:
    """A symlink."""
    return Row(name, 0o120777, target=target)


def section(path: bytes, *rows: Row, flags: int = 3, **said: Any) -> bytes:
    """Return a section; what is named in `said` replaces what is true: path_length, own_mode, count, names, targets and the like."""
    names = said.get("names", b"\0".join(row.name for row in rows))
    targets = said.get("targets", b"\0".join(row.target for row in rows if stat.S_ISLNK(row.mode)))
    devices = [row.rdev for row in rows if row.rdev]
    links = said.get("links", [(index, row.group) for index, row in enumerate(rows) if row.group])
    n = len(rows)
    length = said.get("path_length", len(path))
    made: bytes = struct.pack("<H", length) if length < 0xFFFF else struct.pack("<HI", 0xFFFF, length)
    made += path + struct.pack("<BIqII", flags, said.get("own_mode", 0o040755), 7, 0, 0) + struct.pack("<I", said.get("count", n))
    lengths = (said.get("names_length", len(names)), len(targets), said.get("devices", len(devices)), said.get("links_count", len(links)))
    made += struct.pack("<IIHIB", *lengths, said.get("digests", 0)) + names
    made += struct.pack(f"<{n}I", *(row.mode for row in rows)) + struct.pack(f"<{n}Q", *(row.size for row in rows))
    made += struct.pack(f"<{n}q", *(row.mtime_ns for row in rows))
    made += struct.pack(f"<{n}I", *(row.uid for row in rows)) + struct.pack(f"<{n}I", *(row.gid for row in rows))
    made += targets + struct.pack(f"<{len(devices)}Q", *devices)
    made += struct.pack(f"<{len(links)}I", *(index for index, _ in links)) + struct.pack(f"<{len(links)}Q", *(group for _, group in links))
    return made


def entries(*sections: bytes) -> bytes:
    """A chunk of sections."""
    return frame(ENTRIES, b"".join(sections))


def frames_of(stream: bytes) -> list[bytes]:
    """Return the frames of a stream that holds whole ones."""
    made = []
    while stream:
        size = 5 + int(struct.unpack_from("<I", stream)[0])
        made.append(stream[:size])
        stream = stream[size:]
    return made


# The speaker ------------------------------------------------------------------------------------------------------------------------------


class Heard(NamedTuple):
    """A message that was heard; `fields` is empty for those that are no MessagePack."""

    kind: int
    fields: Sequence[Any]
    body: bytes


class Await(NamedTuple):
    """A step of a script: go on when so many messages of a type have come, or when the other side will say no more."""

    kind: int
    times: int = 1


class Finish(NamedTuple):
    """A step of a script: say that nothing follows."""


class Cut(NamedTuple):
    """A step of a script: close the connection without a word."""


class Flood(NamedTuple):
    """A step of a script: say the same until the other side closes."""

    what: bytes
    longest_s: float = 15.0


Step = bytes | Await | Finish | Cut | Flood


@dataclass
class Speaker:
    """One end of a link, by a script.

    Attributes:
        link: The end that it speaks over; closed at the end.
        wait_s: Longest that one `Await` waits.
        deaf_after: It takes nothing more when it has heard a message of this type, until its script is through; None listens always.
        heard: What came.
        complete: Whether the other side said that nothing follows.
    """

    link: PlainLink
    wait_s: float = 10.0
    deaf_after: int | None = None
    heard: list[Heard] = field(default_factory=list)
    complete: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _over: bool = False
    _said: threading.Event = field(default_factory=threading.Event)
    _refused: bool = False

    def play(self, steps: Iterable[Step], deadline_s: float = 20.0) -> None:
        """Say everything, then hear the other side to its end; what it no longer takes is dropped."""
        listener = threading.Thread(target=self._listen, name="hostile-ear")
        listener.start()
        try:
            for step in steps:
                self._do(step)
        except DeltasyncError:
            # The other side has closed, which is its right; what it said is what counts.
            self._refused = True
        self._said.set()
        listener.join(deadline_s)
        self.link.close()
        listener.join()

    def _do(self, step: Step) -> None:
        if isinstance(step, bytes):
            self.link.send([step])
        elif isinstance(step, Flood):
            until = time.monotonic() + step.longest_s
            while time.monotonic() < until:
                self.link.send([step.what])
        elif isinstance(step, Finish):
            self.link.finish()
        elif isinstance(step, Cut):
            self.link.close()
        else:
            self.awaited(step.kind, step.times)

    def awaited(self, kind: int, times: int = 1) -> bool:
        """Wait until so many messages of a type have come; False if they never will."""
        until = time.monotonic() + self.wait_s
        with self._changed:
            while not self._over and sum(one.kind == kind for one in self.heard) < times and time.monotonic() < until:
                self._changed.wait(until - time.monotonic())
            return sum(one.kind == kind for one in self.heard) >= times

    def of(self, kind: int) -> list[Heard]:
        """Return what was heard of one type."""
        return [one for one in self.heard if one.kind == kind]

    def _listen(self) -> None:
        buffer = bytearray()
        try:
            while (came := self.link.recv()) is not None:
                buffer += came
                self._cut(buffer)
                if any(one.kind == self.deaf_after for one in self.heard):
                    self._said.wait()
            self.complete = not buffer
        except DeltasyncError:
            # It closed without the last word; `complete` stays false.
            self.complete = False
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _cut(self, buffer: bytearray) -> None:
        at = 0
        while len(buffer) - at >= 5:
            length, kind = struct.unpack_from("<IB", buffer, at)
            if len(buffer) - at - 5 < length:
                break
            body = bytes(buffer[at + 5 : at + 5 + length])
            at += 5 + length
            if kind & COMPRESSED:
                kind, body = kind & ~COMPRESSED, zstd.decompress(body[4:])
            fields = msgspec.msgpack.decode(body) if kind in CONTROL else []
            with self._changed:
                self.heard.append(Heard(kind, fields, body if kind not in (FILE_DATA, PACK) else b""))
                self._changed.notify_all()
        del buffer[:at]
