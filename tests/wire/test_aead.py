"""Nonces, the change of keys, and that no counter comes twice."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from deltasync.errors import LocalProtocolError
from deltasync.wire.aead import MAX_COUNTER, CipherState, KeySchedule, next_key, nonce

KEY = bytes(range(32))


def test_a_nonce_is_the_counter_behind_four_zeros() -> None:
    """Big-endian, as Noise says for AESGCM."""
    assert nonce(0) == bytes(12)
    assert nonce(0x0102030405060708).hex() == "000000000102030405060708"
    assert nonce(MAX_COUNTER + 1).hex() == "00000000ffffffffffffffff"


def test_the_next_key_is_32_zeros_sealed_with_the_last_nonce() -> None:
    """As Noise says for REKEY; the tag is left away."""
    assert next_key(KEY) == AESGCM(KEY).encrypt(b"\0\0\0\0" + b"\xff" * 8, bytes(32), None)[:32]


def test_a_cipher_counts_its_messages() -> None:
    """The same text twice is sealed differently, and opens in the same order only."""
    sender, receiver, confused = CipherState(KEY), CipherState(KEY), CipherState(KEY)
    first, second = sender.encrypt(b"text", b"more"), sender.encrypt(b"text", b"more")
    assert first != second
    assert receiver.decrypt(first, b"more") == receiver.decrypt(second, b"more") == b"text"
    with pytest.raises(InvalidTag):
        confused.decrypt(second, b"more")


def test_a_used_up_cipher_refuses() -> None:
    """The last counter is used, and the reserved one after it never."""
    cipher = CipherState(KEY)
    cipher._counter = MAX_COUNTER
    cipher.encrypt(b"the last")
    for use in (cipher.encrypt, cipher.decrypt):
        with pytest.raises(LocalProtocolError, match="used up"):
            use(b"one more")


def test_the_schedule_changes_keys_by_count() -> None:
    """After every three records another key; the numbers go on."""
    schedule = KeySchedule(KEY, 3)
    steps = [schedule.advance() for _ in range(8)]
    assert [number for _, number in steps] == [nonce(number) for number in range(8)]
    keys = [KEY, next_key(KEY), next_key(next_key(KEY))]
    for number, (cipher, used) in enumerate(steps):
        assert cipher.encrypt(used, b"x", None) == AESGCM(keys[number // 3]).encrypt(used, b"x", None)


def test_the_schedule_ends_before_a_number_repeats() -> None:
    """The last number is given out, and nothing after it, however often it is asked."""
    schedule = KeySchedule(KEY, 100, counter=MAX_COUNTER)
    assert schedule.advance()[1] == nonce(MAX_COUNTER)
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="used up"):
            schedule.advance()


def test_no_key_and_number_come_twice_in_a_million_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """With forced changes of keys: the numbers under one key only grow, and no key comes back."""

    class Counted:
        """Stands for a cipher: only its key counts here."""

        def __init__(self, key: bytes) -> None:
            self.key = key

    monkeypatch.setattr("deltasync.wire.aead.AESGCM", Counted)
    monkeypatch.setattr("deltasync.wire.aead.next_key", lambda key: AESGCM(key).encrypt(nonce(MAX_COUNTER + 1), bytes(32), b"")[:32])
    schedule = KeySchedule(KEY, 1000)
    last, keys, current = b"", {KEY}, KEY
    for _ in range(1_000_000):
        cipher, number = schedule.advance()
        key = cipher.key  # type: ignore[attr-defined]
        if key is not current:
            assert key not in keys
            keys.add(key)
            current = key
        assert number > last
        last = number
    assert len(keys) == 1000
