"""Who gives way when too many strangers are at the door."""

from __future__ import annotations

import socket

import pytest

from deltasync.engine import half_open
from deltasync.engine.half_open import MAX_HALF_OPEN, MAX_PER_ADDRESS, Guest, HalfOpen, neighbourhood
from deltasync.wire.reception import Reception


@pytest.fixture
def door() -> HalfOpen:
    """An empty table."""
    return HalfOpen()


def guest(address: str, *, proven: bool = False) -> Guest:
    """Make a guest, of whose connection nothing is asked here."""
    reception = Reception(bytes(32))
    reception.proven = proven
    closed = socket.socket()
    closed.close()
    return Guest(closed, address, reception)


@pytest.mark.parametrize(
    ("address", "counted_by"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_neighbours_count_together(address: str, counted_by: str) -> None:
    """Of IPv6 a whole /64, which one machine can have; an IPv4 address is the same in either form."""
    assert neighbourhood(address) == counted_by


def test_the_oldest_of_an_address_gives_way(door: HalfOpen) -> None:
    """Others are not touched by it."""
    other = guest("192.0.2.2")
    assert door.add(other) is None
    first = [guest("192.0.2.1") for _ in range(MAX_PER_ADDRESS)]
    assert [door.add(each) for each in first] == [None] * MAX_PER_ADDRESS
    assert door.add(guest("192.0.2.1")) is first[0]
    assert door.add(guest("192.0.2.1")) is first[1]
    assert other in door
    assert len(door) == MAX_PER_ADDRESS + 1


def test_the_oldest_of_all_gives_way(door: HalfOpen) -> None:
    """There are never more than so many; who has proven to know the key stays before who has not."""
    knowing = guest("192.0.2.1", proven=True)
    door.add(knowing)
    first = [guest(f"10.0.0.{number}") for number in range(MAX_HALF_OPEN - 1)]
    for each in first:
        assert door.add(each) is None
    for number in range(500):
        loser = door.add(guest(f"10.0.1.{number % 250}"))
        assert loser is not None
        assert loser is not knowing
        if number < len(first):
            assert loser is first[number]
        assert len(door) == MAX_HALF_OPEN
    assert knowing in door


def test_who_only_leaves_gives_way_first(door: HalfOpen) -> None:
    """It was told all that it will be told."""
    guests = [guest("192.0.2.1") for _ in range(MAX_PER_ADDRESS)]
    for each in guests:
        door.add(each)
    guests[3].leaving = True
    assert door.add(guest("192.0.2.1")) is guests[3]


def test_time_runs_out_whatever_is_sent(door: HalfOpen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is set once, when the connection is made."""
    now = [100.0]
    monkeypatch.setattr(half_open, "monotonic", lambda: now[0])
    early = guest("192.0.2.1")
    door.add(early)
    now[0] += 6
    late = guest("192.0.2.1")
    door.add(late)
    assert door.expired() == []
    now[0] += 4
    assert door.expired() == [early]
    door.remove(early)
    door.remove(early)
    now[0] += 6
    assert door.expired() == [late]
