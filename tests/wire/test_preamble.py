"""The fourteen bytes that both sides say in clear."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.wire.noise_patterns import pattern
from deltasync.wire.preamble import MAGIC, PREAMBLE_BYTES, Preamble, Suite
from deltasync.wire.version import PROTOCOL_VERSION


def test_the_bytes_are_those_of_the_description() -> None:
    """Magic, version 1, handshake NN."""
    assert Preamble(Suite.NN.value).encode().hex(" ") == "00 64 65 6c 74 61 73 79 6e 63 00 00 01 01"
    assert Preamble(3, 0x1234).encode()[len(MAGIC) :] == b"\x12\x34\x03"
    assert PREAMBLE_BYTES == 14
    assert PROTOCOL_VERSION == 1


@given(st.integers(0, 255), st.integers(0, 65535))
def test_what_is_encoded_is_decoded(suite: int, version: int) -> None:
    """Also versions and handshakes that this one does not know, so that it can name them."""
    assert Preamble.decode(Preamble(suite, version).encode()) == Preamble(suite, version)


@pytest.mark.parametrize("data", [b"", MAGIC, Preamble(1).encode() + b"x", b"x" * 14])
def test_nothing_else_is_a_preamble(data: bytes) -> None:
    """Too short, too long, or of another beginning."""
    with pytest.raises(ValueError, match="no preamble"):
        Preamble.decode(data)


def test_each_suite_has_a_pattern() -> None:
    """The handshake that a number names is one that the machine knows."""
    assert [pattern(suite.pattern).name for suite in Suite] == ["NN", "XK", "XKpsk3", "NNpsk0"]


def test_the_prologue_binds_both_preambles() -> None:
    """It differs by version and by handshake."""
    assert Preamble(1).prologue == Preamble(1).encode() + Preamble(1).encode()
    assert len({Preamble(suite, version).prologue for suite in (1, 2) for version in (1, 2)}) == 4
