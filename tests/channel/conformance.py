"""What every stream and every link must do, whatever carries it: each channel's tests derive a class and say how to connect a pair."""

from __future__ import annotations

import random
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, suppress
from time import monotonic
from typing import Final

import pytest

from deltasync.channel.stream import ByteStream, Link
from deltasync.errors import ConnectionLost, DeadlineExceeded, LocalProtocolError

__all__ = ["LinkConformance", "StreamConformance", "Worker", "receive", "receive_all"]

PATIENCE_S: Final = 20.0
"""How long a test waits for what must happen: long, since only a failure waits so long."""

SHORT_S: Final = 0.05
"""A timeout that must run out."""


class Worker:
    """A thread that keeps what its function raised or returned.

    Args:
        function: What to run; it starts at once.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._error: BaseException | None = None
        self._result: object = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001  # It is raised again by `result`.
            self._error = error

    def result(self) -> object:
        """Wait for the end; returns what the function returned, or raises what it raised."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "still waiting"
        if self._error is not None:
            raise self._error
        return self._result

    def wait_until_in(self, function: str) -> None:
        """Wait until the thread is inside of a function of this name."""
        deadline = monotonic() + PATIENCE_S
        pause = threading.Event()
        while monotonic() < deadline and self._thread.is_alive():
            frame = sys._current_frames().get(self._thread.ident or 0)
            while frame is not None and frame.f_code.co_name != function:
                frame = frame.f_back
            if frame is not None:
                return
            pause.wait(0.001)
        raise AssertionError(f"the thread is not in {function}")


def receive(stream: ByteStream, length: int, at_most: int = 1 << 16) -> bytes:
    """Receive exactly `length` bytes, `at_most` at a time."""
    data = bytearray(length)
    view = memoryview(data)
    while view:
        piece = view[:at_most]
        count = stream.recv_into(piece)
        assert 0 < count <= len(piece), "the stream ended too early, or gave more than there was room for"
        view = view[count:]
    return bytes(data)


def receive_all(link: Link) -> bytes:
    """Receive everything up to the FIN."""
    data = bytearray()
    while (plain := link.recv()) is not None:
        assert len(plain) > 0
        data += plain
    return bytes(data)


def _flood(stream: ByteStream, length: int) -> None:
    for _ in range(length >> 16):
        stream.send(bytes(1 << 16))


class StreamConformance(ABC):
    """Derive `TestX(StreamConformance)` and define `connected`."""

    flood_bytes = 64 << 20
    """More than the stream holds while nobody reads."""

    @abstractmethod
    def connected(self) -> AbstractContextManager[tuple[ByteStream, ByteStream]]:
        """Give two ends of one fresh stream, and release everything at the end."""

    @pytest.fixture
    def ends(self) -> Generator[tuple[ByteStream, ByteStream], None, None]:
        """Two ends of one stream, closed after the test."""
        with self.connected() as (one, other):
            one.timeout_s = other.timeout_s = PATIENCE_S
            yield one, other
            one.close()
            other.close()

    def test_bytes_arrive_in_order_both_ways_at_once(self, ends: tuple[ByteStream, ByteStream], rng: random.Random) -> None:
        """Two threads an end, pieces of odd lengths, more than any buffer holds."""
        contents = [rng.randbytes((8 << 20) + 13), rng.randbytes((5 << 20) + 1)]
        lengths = [1, 3, 70_001, 1 << 20, 65_536]

        def send(stream: ByteStream, content: bytes) -> None:
            view, turn = memoryview(content), 0
            while view:
                stream.send(view[: lengths[turn % len(lengths)]])
                view, turn = view[lengths[turn % len(lengths)] :], turn + 1

        workers = [Worker(lambda: send(ends[0], contents[0])), Worker(lambda: send(ends[1], contents[1]))]
        other_way = Worker(lambda: receive(ends[0], len(contents[1]), 100_003))
        assert receive(ends[1], len(contents[0])) == contents[0]
        assert other_way.result() == contents[1]
        for worker in workers:
            worker.result()

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_a_buffer_may_be_used_again_after_send(self, ends: tuple[ByteStream, ByteStream], kind: Callable[[bytearray], bytes]) -> None:
        """What was handed over is what arrives, whatever the sender does with its buffer then."""
        buffer = bytearray(b"first" * 1000)
        ends[0].send(kind(buffer))
        buffer[:] = b"other" * 1000
        assert receive(ends[1], 5000) == b"first" * 1000

    def test_nothing_is_sent_by_sending_nothing(self, ends: tuple[ByteStream, ByteStream]) -> None:
        """No bytes are no end."""
        ends[0].send(b"")
        ends[0].send(b"x")
        assert receive(ends[1], 1) == b"x"

    def test_a_small_buffer_gets_what_fits(self, ends: tuple[ByteStream, ByteStream]) -> None:
        """The rest comes with the next call; what lies behind the view is not touched."""
        ends[0].send(b"abcdef")
        buffer = bytearray(b"......")
        assert ends[1].recv_into(memoryview(buffer)[2:3]) == 1
        assert buffer == b"..a..."
        assert receive(ends[1], 5, 2) == b"bcdef"

    def test_an_ended_side_still_receives(self, ends: tuple[ByteStream, ByteStream]) -> None:
        """After `close_send` the peer gets what was sent and then the end, as often as it asks; the other direction goes on."""
        ends[0].send(b"last")
        ends[0].close_send()
        ends[0].close_send()
        assert receive(ends[1], 4) == b"last"
        for _ in range(2):
            assert ends[1].recv_into(memoryview(bytearray(10))) == 0
        ends[1].send(b"answer")
        assert receive(ends[0], 6) == b"answer"
        with pytest.raises(ConnectionLost):
            ends[0].send(b"x")

    def test_waiting_for_bytes_has_an_end(self, ends: tuple[ByteStream, ByteStream]) -> None:
        """Nothing for `timeout_s` raises; what comes later is received all the same."""
        ends[1].timeout_s = SHORT_S
        with pytest.raises(DeadlineExceeded):
            ends[1].recv_into(memoryview(bytearray(10)))
        ends[0].send(b"late")
        ends[1].timeout_s = PATIENCE_S
        assert receive(ends[1], 4) == b"late"

    def test_waiting_for_room_has_an_end(self, ends: tuple[ByteStream, ByteStream]) -> None:
        """A peer that takes nothing for `timeout_s` is given up; so the stream is bounded."""
        ends[0].timeout_s = SHORT_S
        with pytest.raises(DeadlineExceeded):
            ends[0].send(bytes(self.flood_bytes))

    def test_a_slow_reader_is_no_dead_reader(self, ends: tuple[ByteStream, ByteStream]) -> None:
        """As long as the peer takes something within each `timeout_s`, a long send goes on; without a timeout for ever."""
        ends[0].timeout_s = None
        sending = Worker(lambda: ends[0].send(bytes(self.flood_bytes)))
        sending.wait_until_in("send")
        received, buffer = 0, memoryview(bytearray(1 << 20))
        while received < self.flood_bytes:
            received += ends[1].recv_into(buffer)
        sending.result()

    def test_closing_wakes_who_waits_for_bytes(self, ends: tuple[ByteStream, ByteStream]) -> None:
        """`recv_into` in another thread ends with ConnectionLost."""
        waiting = Worker(lambda: ends[0].recv_into(memoryview(bytearray(10))))
        waiting.wait_until_in("recv_into")
        ends[0].close()
        with pytest.raises(ConnectionLost):
            waiting.result()

    def test_closing_wakes_who_waits_for_room(self, ends: tuple[ByteStream, ByteStream]) -> None:
        """`send` in another thread ends with ConnectionLost."""
        waiting = Worker(lambda: ends[0].send(bytes(self.flood_bytes)))
        waiting.wait_until_in("send")
        ends[0].close()
        with pytest.raises(ConnectionLost):
            waiting.result()

    def test_a_closed_stream_is_of_no_use(self, ends: tuple[ByteStream, ByteStream]) -> None:
        """Closing twice does nothing; sending and receiving raise, ending the own side does not."""
        ends[0].close()
        ends[0].close()
        ends[0].close_send()
        with pytest.raises(ConnectionLost):
            ends[0].send(b"x")
        with pytest.raises(ConnectionLost):
            ends[0].recv_into(memoryview(bytearray(1)))

    def test_a_peer_that_closed_is_noticed(self, ends: tuple[ByteStream, ByteStream]) -> None:
        """Receiving comes to an end or fails, and sending fails before long."""
        ends[1].close()
        received = None
        with suppress(ConnectionLost):
            received = ends[0].recv_into(memoryview(bytearray(1)))
        assert not received
        with pytest.raises(ConnectionLost):
            _flood(ends[0], self.flood_bytes)


class LinkConformance(ABC):
    """Derive `TestX(LinkConformance)` and define `connected`."""

    flood_bytes = 64 << 20
    """More than the link and what is beneath it hold while nobody reads."""

    @abstractmethod
    def connected(self, timeout_s: float | None) -> AbstractContextManager[tuple[Link, Link]]:
        """Give two ends of one fresh link with this timeout at both ends, and release everything at the end."""

    @pytest.fixture
    def ends(self) -> Generator[tuple[Link, Link], None, None]:
        """Two ends of one link, closed after the test."""
        with self.connected(PATIENCE_S) as (one, other):
            yield one, other
            one.close()
            other.close()

    def test_parts_arrive_in_order_both_ways_at_once(self, ends: tuple[Link, Link], rng: random.Random) -> None:
        """Two threads an end, parts of all lengths; then the end is there, as often as it is asked for."""
        messages = [[rng.randbytes(rng.choice([0, 1, 5, 300, 65_536, 200_000])) for _ in range(4)] for _ in range(40)]

        def send(link: Link) -> None:
            for parts in messages:
                link.send(parts)
            link.finish()

        content = b"".join([part for parts in messages for part in parts])
        workers = [Worker(lambda: send(ends[0])), Worker(lambda: send(ends[1]))]
        other_way = Worker(lambda: receive_all(ends[0]))
        assert receive_all(ends[1]) == content
        assert other_way.result() == content
        for worker in workers:
            worker.result()
        assert ends[0].recv() is None
        assert ends[1].recv() is None
        assert ends[0].bytes_sent == ends[1].bytes_received >= len(content)
        assert ends[1].bytes_sent == ends[0].bytes_received >= len(content)
        assert ends[0].cipher == ends[1].cipher != ""

    def test_small_messages_come_at_once(self, ends: tuple[Link, Link]) -> None:
        """What is sent is not held back: question and answer, many times."""
        for number in range(100):
            ends[0].send([b"question", str(number).encode()])
            assert bytes(ends[1].recv() or b"") == b"question%d" % number
            ends[1].send([b"answer"])
            assert bytes(ends[0].recv() or b"") == b"answer"

    def test_buffers_may_be_used_again_after_send(self, ends: tuple[Link, Link]) -> None:
        """What was handed over is what arrives: small and large, an array or a view of one."""
        receiving = Worker(lambda: receive_all(ends[1]))
        for length in (10, 300_000):
            buffer = bytearray(b"a" * length)
            ends[0].send([buffer, memoryview(buffer), memoryview(buffer).toreadonly()])
            buffer[:] = b"b" * length
        ends[0].finish()
        assert receiving.result() == b"a" * (3 * 300_010)

    def test_an_end_with_nothing_before_it(self, ends: tuple[Link, Link]) -> None:
        """A link on which nothing was sent, or only nothing, finishes too; the other direction goes on."""
        ends[0].send([])
        ends[0].send([b"", b""])
        ends[0].finish()
        assert ends[1].recv() is None
        ends[1].send([b"still here"])
        assert bytes(ends[0].recv() or b"") == b"still here"

    def test_nothing_follows_the_end(self, ends: tuple[Link, Link]) -> None:
        """To send or to finish after finishing is a defect of ours, and is said so."""
        ends[0].finish()
        with pytest.raises(LocalProtocolError):
            ends[0].send([b"x"])
        with pytest.raises(LocalProtocolError):
            ends[0].finish()

    def test_an_end_without_a_fin_is_a_lost_connection(self, ends: tuple[Link, Link]) -> None:
        """What arrived before comes out, then the loss is told."""
        ends[0].send([b"all that there is"])
        assert bytes(ends[1].recv() or b"") == b"all that there is"
        ends[0].close()
        with pytest.raises(ConnectionLost):
            ends[1].recv()

    def test_waiting_has_an_end(self) -> None:
        """Neither a silent peer nor one that takes nothing is waited for longer than `timeout_s`."""
        with self.connected(SHORT_S) as (one, other):
            with pytest.raises(DeadlineExceeded):
                one.recv()
            with pytest.raises(DeadlineExceeded):
                one.send([bytes(self.flood_bytes)])
            one.close()
            other.close()

    def test_closing_wakes_who_waits(self, ends: tuple[Link, Link]) -> None:
        """`recv` and `send` in other threads end with ConnectionLost; closing twice does nothing."""
        receiving = Worker(ends[0].recv)
        sending = Worker(lambda: ends[0].send([bytes(self.flood_bytes)]))
        receiving.wait_until_in("recv")
        sending.wait_until_in("send")
        ends[0].close()
        ends[0].close()
        for worker in (receiving, sending):
            with pytest.raises(ConnectionLost):
                worker.result()
