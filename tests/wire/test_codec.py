"""The bodies of messages are the same bytes on every machine: little-endian, whatever the machine's own order."""

from __future__ import annotations

import struct
import sys

import pytest

from deltasync.wire.codec import decode, encode
from deltasync.wire.messages import FileCopy, Gaps, Message, Pack

COLUMNS: list[tuple[Message, str, tuple[int, ...]]] = [
    (Pack([1, 2], [3, 0], [-5, 1 << 40], [0o100644, 0o100600], b"abc"), "QQIIqqII", (1, 2, 3, 0, -5, 1 << 40, 0o100644, 0o100600)),
    (FileCopy(7, [0, 9], [4, 1 << 40], [3, 1]), "QQQQQQ", (0, 9, 4, 1 << 40, 3, 1)),
    (Gaps(7, 1024, 5, [0, 4096], [1024, 1]), "QQQQ", (0, 4096, 1024, 1)),
]


@pytest.mark.parametrize(("message", "columns", "values"), COLUMNS)
def test_columns_are_little_endian(message: Message, columns: str, values: tuple[int, ...]) -> None:
    """As docs/protocol.md has them."""
    assert struct.pack(f"<{columns}", *values) in b"".join(map(bytes, encode(message)[1]))


@pytest.mark.parametrize(("message", "columns", "values"), COLUMNS)
def test_the_order_of_the_machine_is_turned_where_it_differs(
    message: Message, columns: str, values: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that takes itself for one of the other order writes the bytes of each number the other way round, and reads them so."""
    monkeypatch.setattr(sys, "byteorder", "big" if sys.byteorder == "little" else "little")
    kind, parts = encode(message)
    body = b"".join(map(bytes, parts))
    assert struct.pack(f">{columns}", *values) in body
    again = decode(kind, memoryview(body))
    assert isinstance(again, type(message))
    for name, column in message._asdict().items():  # type: ignore[union-attr]
        assert getattr(again, name) == column if isinstance(column, int) else list(getattr(again, name)) == list(column)
