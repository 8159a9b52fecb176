"""The thread pool: reading, hashing, rolling and copying of segments, off the control thread."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from deltasync.delta.blocks import Layout
from deltasync.delta.spans import Span

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["NEAR_BYTES", "SEGMENT_BYTES", "Pool", "default_threads", "pieces", "settle"]

P = ParamSpec("P")
T = TypeVar("T")

SEGMENT_BYTES = 4 << 20
"""How much of a large file one piece of work takes: long beside what it costs to hand over, short beside what may wait in memory."""

NEAR_BYTES = 16 << 10
"""Ranges with gaps of at most this are read at once: a read, and the wait for the interpreter's lock behind it, cost more than the gap."""


def default_threads() -> int:
    """Return how many threads suit this machine: the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pieces(layout: Layout) -> Iterator[list[Span]]:
    """Cut the ranges of a layout into pieces of work of about a segment, between blocks where they are long; in order."""
    step = max(SEGMENT_BYTES // layout.block_bytes, 1) * layout.block_bytes
    piece: list[Span] = []
    size = 0
    for start, end in layout.ranges:
        for at in range(start, end, step):
            piece.append(Span(at, min(at + step, end)))
            size += min(step, end - at)
            if size >= SEGMENT_BYTES:
                yield piece
                piece, size = [], 0
    if piece:
        yield piece


def _executor(threads: int, name: str) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor as Made

    return Made(threads, name)


def settle(futures: Iterable[Future[T]]) -> None:
    """Drop what has not begun, and wait for what has."""
    from concurrent.futures import wait

    wait([future for future in futures if not future.cancel()])


class Pool:
    """Runs work on threads; nothing is started, and the library for it not loaded, before the first piece of work.

    Work must not raise anything but what its caller expects of its future, and looks after nothing but its arguments: all state belongs to
    the control thread. What waits is bounded by the callers, who hand over no more than `depth` pieces for one file.

    Args:
        threads: How many; None for as many as suit the machine.
        wake: Called on a pool thread whenever a piece of work is done.

    Attributes:
        threads: How many threads it has, beside one that writes.
        depth: How many pieces of one file may be under way.
    """

    def __init__(self, threads: int | None, wake: Callable[[], None]) -> None:
        self.threads = threads or default_threads()
        self.depth = self.threads + 2
        self._wake = wake
        self._executor: ThreadPoolExecutor | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._own = threading.local()

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `work` done; its result or error is in the future."""
        if self._executor is None:
            self._executor = _executor(self.threads, "deltasync-pool")
        return self._awaited(self._executor.submit(work, *args, **kwargs))

    def write(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `work` that writes to files done, in the order in which it comes: by one thread, since two only wait for each other."""
        if self._writer is None:
            self._writer = _executor(1, "deltasync-writer")
        return self._awaited(self._writer.submit(work, *args, **kwargs))

    def _awaited(self, future: Future[T]) -> Future[T]:
        future.add_done_callback(lambda _: self._wake())
        return future

    def in_order(self, work: Iterator[tuple[Callable[..., T], tuple[object, ...]]]) -> Generator[Future[T], None, None]:
        """Hand pieces of work (what is done, and its arguments) over, `depth` at once; yield their futures in the order of the work.

        Whoever closes the generator early waits for what is running, so that descriptors may be closed afterwards.
        """
        waiting: deque[Future[T]] = deque()
        try:
            for do, args in work:
                waiting.append(self.submit(do, *args))
                if len(waiting) == self.depth:
                    # What is waited for stays among what runs, until the caller comes back for the next.
                    yield waiting[0]
                    waiting.popleft()
            while waiting:
                yield waiting[0]
                waiting.popleft()
        finally:
            settle(waiting)

    def buffer(self, size: int) -> memoryview:
        """Return `size` bytes that belong to the calling thread until it asks again."""
        made: bytearray | None = getattr(self._own, "buffer", None)
        if made is None or len(made) < size:
            made = self._own.buffer = bytearray(max(size, SEGMENT_BYTES))
        return memoryview(made)[:size]

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        for executor in (self._executor, self._writer):
            if executor is not None:
                executor.shutdown(cancel_futures=True)
        self._executor = self._writer = None
