"""The preambles of the two sides over a stream, and what to say when something else comes instead of one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from deltasync.channel.stream import ByteStream
from deltasync.errors import ConnectionLost, DeadlineExceeded, RemoteProtocolError
from deltasync.tree.names import shown
from deltasync.wire.preamble import MAGIC, PREAMBLE_BYTES, Preamble, Suite

__all__ = ["NoAnswer", "answer", "greet", "receive_exactly"]

_MAX_QUOTED_BYTES = 200
_REST_OF_LINE_S = 1.0
"""How long the rest of a line is waited for, that is only quoted."""


class NoAnswer(ConnectionLost):
    """The stream ended before the peer had said anything: most likely there is no deltasync at all."""


def receive_exactly(stream: ByteStream, length: int) -> bytes:
    """Wait for `length` bytes.

    Raises:
        ConnectionLost: The stream broke or ended before.
        DeadlineExceeded: Nothing came for the stream's `timeout_s`.
    """
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = stream.recv_into(view)
        if not count:
            raise ConnectionLost("the connection ended during the handshake")
        view = view[count:]
    return bytes(data)


def greet(stream: ByteStream, ours: Preamble, peer: str, *, through_shell: bool = True) -> int:
    """Wait, as the initiator, for the responder's preamble, which must be as `ours`; returns how many bytes came.

    Where `through_shell`, noise is what a login shell printed; else whoever printed it is no deltasync.

    Raises:
        NoAnswer: The stream ended before any byte came.
        ConnectionLost: It broke, or ended within the preamble.
        RemoteProtocolError: It is of another version or handshake, or something else was printed into the stream.
    """
    data = _receive(stream, peer)
    if not MAGIC.startswith(data[: len(MAGIC)]):
        line = shown(_first_line(data + _rest_of_line(stream, data)))
        if not through_shell:
            raise RemoteProtocolError(f'{peer} is no deltasync: it said "{line}"')
        raise RemoteProtocolError(f'the login shell of {peer} printed "{line}": make it silent for non-interactive sessions')
    _compare(Preamble.decode(data), [ours], peer)
    return PREAMBLE_BYTES


def answer(stream: ByteStream, offers: Sequence[Preamble], peer: str) -> tuple[Preamble, int]:
    """Wait, as the responder, for the initiator's preamble, which must be one of `offers`; returns it, and how many bytes came.

    Where it is another, the first of the offers is sent, so that the initiator can say what differs. The right answer is the caller's.

    Raises:
        NoAnswer: As `greet`.
        ConnectionLost: As `greet`.
        RemoteProtocolError: It is no preamble, or none of the offers.
    """
    data = _receive(stream, peer)
    if not MAGIC.startswith(data[: len(MAGIC)]):
        raise RemoteProtocolError(f'{peer} is no deltasync: it began with "{shown(_first_line(data))}"')
    theirs = Preamble.decode(data)
    try:
        _compare(theirs, offers, peer)
    except RemoteProtocolError:
        # Whether the peer still hears it changes nothing about what is wrong.
        with suppress(ConnectionLost, DeadlineExceeded):
            stream.send(offers[0].encode())
        raise
    return theirs, PREAMBLE_BYTES


def _receive(stream: ByteStream, peer: str) -> bytes:
    """Receive a preamble, or as much as shows that it is none."""
    data = bytearray(PREAMBLE_BYTES)
    held = 0
    while held < PREAMBLE_BYTES and MAGIC.startswith(data[: min(held, len(MAGIC))]):
        count = stream.recv_into(memoryview(data)[held:])
        if not count and not held:
            raise NoAnswer(f"{peer} closed the connection without an answer")
        if not count:
            raise ConnectionLost("the connection ended during the handshake")
        held += count
    return bytes(data[:held])


def _rest_of_line(stream: ByteStream, start: bytes) -> bytes:
    """Receive what is missing of the first line of noise, as far as it comes within a moment."""
    text = bytearray(start)
    timeout_s = stream.timeout_s
    deadline = monotonic() + _REST_OF_LINE_S
    # The line is only quoted: that it ends early, by whatever cause, changes nothing about what is wrong.
    with suppress(ConnectionLost, DeadlineExceeded):
        while len(text) < _MAX_QUOTED_BYTES and b"\n" not in text.lstrip() and MAGIC not in text:
            stream.timeout_s = max(0.001, deadline - monotonic())
            buffer = bytearray(_MAX_QUOTED_BYTES - len(text))
            count = stream.recv_into(memoryview(buffer))
            if not count:
                break
            text += buffer[:count]
    stream.timeout_s = timeout_s
    return bytes(text[len(start) :])


def _first_line(noise: bytes) -> bytes:
    """Return the first line that is more than white space, before the preamble if that follows."""
    text = noise.partition(MAGIC)[0]
    lines = text.strip().splitlines()
    return lines[0].rstrip() if lines else text


def _compare(theirs: Preamble, offers: Sequence[Preamble], peer: str) -> None:
    ours = offers[0].version
    if theirs.version != ours:
        where = "here" if theirs.version > ours else f"at {peer}"
        raise RemoteProtocolError(
            f"{peer} speaks protocol version {theirs.version}, and this side version {ours}: update deltasync {where}"
        )
    if theirs not in offers:
        names = {suite.value: suite.pattern for suite in Suite}
        wanted = names.get(theirs.suite, str(theirs.suite))
        offered = " or ".join(names[offer.suite] for offer in offers)
        raise RemoteProtocolError(f"{peer} wants the handshake {wanted}, and this side {offered}")
