"""The engines give the same results, which are those of the definition, and refuse the same arguments."""

from __future__ import annotations

import random
from array import array
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync import _native
from deltasync._native import ENGINES, EngineMissing, Kernel, choose, engine_name, find_bulk
from tests._native.sanitized import run_sanitized

NEEDED = {"native": "deltasync._native.kernel", "numpy": "numpy", "python": "array", "pyrsync2": "pyrsync2"}
HERE = [name for name in ENGINES if find_spec(NEEDED[name]) is not None]
KERNELS = [choose(name) for name in HERE]

CONTENT = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda seed, size, letters: bytes(random.Random(seed).choices(letters, k=size)),
        st.integers(0, 99),
        st.integers(0, 900),
        st.sampled_from([b"\0\1", b"\xff"]),
    ),
)


def sums(kernel: Kernel, data: bytes, block_bytes: int) -> array[int]:
    """The weak sums of all blocks."""
    made = array("I", bytes(4 * -(-len(data) // block_bytes)))
    kernel.weak_sums(data, block_bytes, made)
    return made


def defined(block: bytes) -> int:
    """The weak sum of a block, straight from its definition."""
    a = sum(block) % 65536
    b = sum((len(block) - place) * byte for place, byte in enumerate(block)) % 65536
    return a | b << 16


@given(CONTENT, st.integers(1, 400))
def test_weak_sums_are_those_of_the_definition(data: bytes, block_bytes: int) -> None:
    """For each block, also the short last one; any buffer will do."""
    expected = [defined(data[at : at + block_bytes]) for at in range(0, len(data), block_bytes)]
    for kernel in KERNELS:
        assert list(sums(kernel, data, block_bytes)) == expected
        assert list(sums(kernel, memoryview(bytearray(data)), block_bytes)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("kernel", KERNELS, ids=HERE)
@pytest.mark.parametrize("byte", [0, 255])
def test_long_blocks_of_the_largest_bytes_do_not_overflow(kernel: Kernel, byte: int) -> None:
    """200,000 bytes in one block, by the closed formula."""
    n = 200_000
    assert list(sums(kernel, bytes([byte]) * n, n)) == [byte * n % 65536 | (byte * (n * (n + 1) // 2) % 65536) << 16]


@given(CONTENT, CONTENT, st.integers(1, 60), st.data())
def test_scanning_finds_what_recomputing_finds(base: bytes, target: bytes, block_bytes: int, data: st.DataObject) -> None:
    """The first offset in a range whose recomputed sum is one of the base's; so rolled sums equal recomputed ones."""
    start = data.draw(st.integers(0, len(target)))
    stop = data.draw(st.integers(start, len(target)))
    known = sums(KERNELS[0], base, block_bytes)
    expected = (-1, 0)
    for at in range(start, min(stop, len(target) - block_bytes + 1)):
        if (weak := defined(target[at : at + block_bytes])) in known:
            expected = (at, weak)
            break
    for kernel in KERNELS:
        assert kernel.scan(target, start, stop, block_bytes, kernel.build_table(known)) == expected


@pytest.mark.parametrize("kernel", KERNELS, ids=HERE)
@pytest.mark.parametrize("block_bytes", [1, 7, 8, 9, 1000])
def test_a_block_is_found_wherever_it_stands(kernel: Kernel, block_bytes: int, rng: random.Random) -> None:
    """Also at the seams of what an engine looks at in one go, at the first offset of a range and at its last."""
    target = rng.randbytes(5000)
    places = [0, 1, 7, 8, 31, 32, 33, 34, 40, 1024, 1055, 1056, 1057, 1058, 2080, 2081, 5000 - block_bytes]
    for place in places:
        known = sums(kernel, target[place : place + block_bytes], block_bytes)
        table = kernel.build_table(known)
        # Short blocks may well have a double; longer ones of random bytes have none.
        earlier = range(place + 1) if block_bytes < 1000 else [place]
        expected = next(at for at in earlier if defined(target[at : at + block_bytes]) == known[0])
        assert kernel.scan(target, 0, 5000, block_bytes, table) == (expected, known[0])
        assert kernel.scan(target, place, place + 1, block_bytes, table) == (place, known[0])
        assert kernel.scan(target, place, place, block_bytes, table) == (-1, 0)


@pytest.mark.skipif("native" not in HERE, reason="needs compiler")
def test_buffers_need_not_be_aligned() -> None:
    """Sums at an odd address are read and written as any others."""
    kernel = choose("native")
    room = bytearray(13)
    kernel.weak_sums(b"abc", 1, memoryview(room)[1:].cast("I"))  # type: ignore[arg-type]
    assert array("I", room[1:]) == array("I", map(defined, [b"a", b"b", b"c"]))
    table = kernel.build_table(memoryview(room)[1:].cast("I"))  # type: ignore[arg-type]
    assert table.first(defined(b"c")) == 2


@given(st.lists(st.integers(0, 5) | st.integers(0, (1 << 32) - 1), max_size=60))
def test_a_table_knows_all_blocks_of_a_sum_in_order(values: list[int]) -> None:
    """The first, then each further one, then none; and nothing for a sum that no block has."""
    for kernel in KERNELS:
        table = kernel.build_table(array("I", values))
        for weak in {*values, 7, (1 << 32) - 1}:
            found = []
            index = table.first(weak)
            while index >= 0:
                found.append(index)
                index = table.next(index)
            assert found == [place for place, value in enumerate(values) if value == weak]


@pytest.mark.parametrize("kernel", KERNELS, ids=HERE)
def test_many_equal_and_many_chosen_sums_take_no_longer(kernel: Kernel) -> None:
    """A million equal sums, and a million that share the upper bits of the hash, are built and looked up; counted by the test's timeout."""
    count = 1 << (20 if kernel.NAME in ("native", "numpy") else 14)
    equal = kernel.build_table(array("I", [77]) * count)
    assert (equal.first(77), equal.next(0), equal.next(count - 1)) == (0, 1, -1)
    inverse = pow(0x9E3779B1, -1, 1 << 32)
    products = [place * inverse % (1 << 32) for place in range(count)]
    # The compiled engine hashes sums with their halves exchanged.
    chosen = array("I", [weak >> 16 | (weak & 0xFFFF) << 16 for weak in products] if kernel.NAME == "native" else products)
    table = kernel.build_table(chosen)
    assert table.first(chosen[count - 1]) == count - 1
    assert kernel.scan(bytes(1000), 0, 1000, 10, table) == (0, 0)


@pytest.mark.parametrize("kernel", KERNELS, ids=HERE)
@pytest.mark.parametrize(
    ("data", "start", "stop", "block_bytes"),
    [
        (b"abc", -1, 2, 1),
        (b"abc", 2, 1, 1),
        (b"abc", 0, 4, 1),
        (b"abc", 0, 3, 0),
        (b"abc", 0, 3, -1),
        (b"abc", 0, 3, (1 << 26) + 1),
        (b"abc", 1 << 62, 1 << 62, 1),
    ],
)
def test_ranges_are_checked(kernel: Kernel, data: bytes, start: int, stop: int, block_bytes: int) -> None:
    """What lies outside of the data, runs backwards or has no length is refused."""
    table = kernel.build_table(array("I", [1]))
    with pytest.raises(ValueError, match="beyond its limits"):
        kernel.scan(b"abc", start, stop, block_bytes, table)


@pytest.mark.parametrize("kernel", KERNELS, ids=HERE)
@pytest.mark.parametrize(("block_bytes", "room"), [(0, 1), (-5, 1), ((1 << 26) + 1, 1), (2, 1), (2, 3)])
def test_lengths_are_checked(kernel: Kernel, block_bytes: int, room: int) -> None:
    """Blocks of no length, and room for another number of sums, are refused; nothing is written then."""
    out = array("I", [9]) * room
    with pytest.raises(ValueError, match="block"):
        kernel.weak_sums(b"abc", block_bytes, out)
    assert list(out) == [9] * room


@pytest.mark.parametrize("kernel", KERNELS, ids=HERE)
def test_a_block_that_is_not_there_has_no_next(kernel: Kernel) -> None:
    """Neither a negative number nor one beyond the last."""
    table = kernel.build_table(array("I", [1, 2]))
    for index in (-1, 2, 1 << 40):
        with pytest.raises(ValueError, match="no block"):
            table.next(index)


@pytest.mark.skipif("native" not in HERE, reason="needs compiler")
@pytest.mark.parametrize(
    "call",
    [
        lambda kernel: kernel.weak_sums("text", 1, array("I")),
        lambda kernel: kernel.weak_sums(b"abc", 1, array("Q", [0, 0, 0])),
        lambda kernel: kernel.weak_sums(b"abc", 1, bytes(12)),
        lambda kernel: kernel.weak_sums(b"abc", 1.5, array("I", [0, 0, 0])),
        lambda kernel: kernel.build_table(b"abcd"),
        lambda kernel: kernel.build_table(array("d", [1.0])),
        lambda kernel: kernel.scan(b"abc", 0, 3, 1, object()),
        lambda kernel: kernel.scan(b"abc", 0, 3, 1, None),
        lambda kernel: kernel.build_table(array("I", [1])).first("x"),
        lambda kernel: kernel.build_table(memoryview(array("I", [1, 2, 3, 4]))[::2]),
        lambda kernel: kernel.Table(),
    ],
)
def test_the_compiled_engine_refuses_other_types(call: Any) -> None:
    """A wrong type is an error of Python's, never a look into memory."""
    with pytest.raises((TypeError, BufferError)):
        call(choose("native"))


@pytest.mark.skipif("native" not in HERE, reason="needs compiler")
def test_sums_beyond_32_bits_are_refused() -> None:
    """A sum that no block can have is an error too."""
    table = choose("native").build_table(array("I", [1]))
    for weak in (-1, 1 << 32, 1 << 70):
        with pytest.raises(OverflowError):
            table.first(weak)


def test_the_fastest_engine_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the compiled kernel numpy, without that plain Python; a named one that is not there says what to do."""
    assert choose().NAME == engine_name() == HERE[0]
    there = {"numpy"}
    monkeypatch.setattr(_native, "find_spec", lambda name: object() if name in there else None)
    assert engine_name() == "numpy"
    there.clear()
    assert engine_name() == "python"

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(_native, "import_module", missing)
    assert find_bulk() is None
    with pytest.raises(EngineMissing, match="C compiler"):
        choose("native")
    with pytest.raises(EngineMissing, match="pip wheel --no-deps --build-constraint"):
        choose("pyrsync2")
    with pytest.raises(EngineMissing, match="no such engine"):
        choose("fast")


@pytest.mark.needs("gcc")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("define", ["VECTORS_TOO", "SCALARS_ONLY"])
def test_the_compiled_engine_under_the_sanitizers(define: str, tmp_path: Path) -> None:
    """All of these tests once more, with a kernel that watches its addresses and its arithmetic; also as a plain compiler makes it."""
    run_sanitized("kernel", __file__, tmp_path, f"-D{define}")
