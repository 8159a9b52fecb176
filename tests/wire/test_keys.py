"""Keys as people write them: one spelling each, and none that would keep no secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.wire.keys import KEY_CHARS, decode_public, decode_secret, encode
from deltasync.wire.noise import public_key

PRIME = (1 << 255) - 19
SMALL_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    PRIME - 1,
]
"""The points of small order in their own spelling (RFC 7748; https://cr.yp.to/ecdh.html)."""


@given(st.binary(min_size=32, max_size=32))
def test_a_secret_survives_being_written(key: bytes) -> None:
    """43 characters, and the same bytes again."""
    assert len(encode(key)) == KEY_CHARS
    assert decode_secret(encode(key)) == key


@given(st.binary(min_size=32, max_size=32))
def test_a_real_public_key_is_taken(private: bytes) -> None:
    """Whatever X25519 makes is a key."""
    assert decode_public(encode(public_key(private))) == public_key(private)


@pytest.mark.parametrize("text", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "/", "A" * 42 + "B", "A" * 42 + "\n", "é" * 43])
def test_what_is_no_key_is_refused(text: str) -> None:
    """Another length, another alphabet, or bits that belong to no byte."""
    with pytest.raises(ValueError, match=r"43 letters|last character"):
        decode_secret(text)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_key_of_small_order_is_refused(point: int) -> None:
    """Who uses one knows the shared secret beforehand."""
    with pytest.raises(ValueError, match="small order"):
        decode_public(encode(point.to_bytes(32, "little")))


@pytest.mark.parametrize("number", [PRIME, PRIME + 9, (1 << 255) - 1, 1 << 255, (1 << 255) + 9])
def test_a_second_spelling_of_a_key_is_refused(number: int) -> None:
    """Or a key that was removed from a list could come again under another name."""
    with pytest.raises(ValueError, match="spelling"):
        decode_public(encode(number.to_bytes(32, "little")))
