"""Memory that is used again: never while anybody looks at it."""

from __future__ import annotations

from deltasync.wire.spare import Spare


def address(view: memoryview) -> int:
    """Tell pieces apart: the number of the memory that a view is of."""
    return id(view.obj)


def test_what_nobody_looks_at_is_given_out_again() -> None:
    """The last view of a piece makes it free, whoever held it."""
    spare = Spare(1000, 2)
    first = spare.take(1000)
    number, part = address(first), first[10:20]
    first.release()
    assert address(spare.take(500)) != number
    del part
    seen = {address(spare.take(900)) for _ in range(4)}
    assert number in seen
    assert len(seen) <= 2


def test_a_piece_in_use_keeps_its_content() -> None:
    """More pieces than are kept may be in use at once; each is another."""
    spare = Spare(64, 3)
    pieces = [spare.take(64) for _ in range(10)]
    for number, piece in enumerate(pieces):
        piece[:] = bytes([number]) * 64
    assert [bytes(piece) for piece in pieces] == [bytes([number]) * 64 for number in range(10)]


def test_any_length_can_be_had() -> None:
    """What is longer than a piece, or would waste most of one, is fresh memory; it has the length that was asked for."""
    spare = Spare(64, 2)
    assert [len(spare.take(length)) for length in (0, 1, 7, 8, 63, 64, 65, 1000)] == [0, 1, 7, 8, 63, 64, 65, 1000]
    tiny = [spare.take(1) for _ in range(5)]
    assert len({address(view) for view in tiny}) == 5
