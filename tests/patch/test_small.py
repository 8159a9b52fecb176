"""Small files are put in their places together as they would be one by one, in C and in Python."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync._native import Bulk, find_bulk
from deltasync._native.columns import packed
from deltasync.patch import small
from deltasync.patch.attributes import NOTHING_LOST, Attributes
from deltasync.patch.small import SmallFile, put_together
from tests._native.sanitized import run_sanitized

NATIVE = find_bulk()
PLAIN = Attributes(0o644, 1_700_000_000_123_456_789)


@pytest.fixture(params=["native", "python"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put files in their places in one way or the other."""
    name: str = request.param
    if name == "native" and NATIVE is None:
        pytest.skip("needs compiler")
    monkeypatch.setattr(small, "_BULK", NATIVE if name == "native" else None)
    return name


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """Open an empty directory."""
    (tmp_path / "here").mkdir()
    opened = os.open(tmp_path / "here", os.O_RDONLY | os.O_DIRECTORY)
    yield opened
    os.close(opened)


def held(dir_fd: int) -> dict[str, bytes]:
    """Read all files of a directory."""
    found = {}
    for name in os.listdir(dir_fd):
        opened = os.open(name, os.O_RDONLY, dir_fd=dir_fd)
        with open(opened, "rb") as file:
            found[name] = file.read()
    return found


@pytest.mark.usefixtures("engine")
def test_each_has_its_content_mode_and_time(fd: int) -> None:
    """Also an empty one, one without rights for anybody, with set-id bits, from before 1970, and one that replaces another."""
    files = [
        SmallFile(b"new", b"one", PLAIN),
        SmallFile(b"empty", b"", Attributes(0o600, 0)),
        SmallFile(b"closed", memoryview(b"three"), Attributes(0o000, -1)),
        SmallFile(b"set-id", bytearray(b"four"), Attributes(0o6755, -2_000_000_000)),
        SmallFile(b"old", b"five" * 20_000, Attributes(0o777, (1 << 62) - 1)),
        SmallFile(b"\xff\n", b"six", PLAIN),
    ]
    os.symlink("elsewhere", "old", dir_fd=fd)
    assert put_together(fd, files) == [NOTHING_LOST] * len(files)
    for name, content, attributes in files:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_size) == (attributes.mode, attributes.mtime_ns, len(content))
        assert stat.S_ISREG(status.st_mode)
    assert sorted(os.fsencode(name) for name in os.listdir(fd)) == sorted(file.name for file in files)


@pytest.mark.usefixtures("engine")
def test_one_that_can_not_be_put_does_not_stop_the_others(fd: int) -> None:
    """Each has its own result, and nothing is left of what failed."""
    os.mkdir("directory", dir_fd=fd)
    names = (b"a", b"directory", b"x" * 256, b"b")
    results = put_together(fd, [SmallFile(name, name, PLAIN) for name in names])
    assert [type(result) for result in results] == [type(NOTHING_LOST), IsADirectoryError, OSError, type(NOTHING_LOST)]
    os.rmdir("directory", dir_fd=fd)
    assert held(fd) == {"a": b"a", "b": b"b"}


@pytest.mark.usefixtures("engine")
def test_files_with_other_wishes_are_put_one_by_one(fd: int) -> None:
    """Without a mode, without a time, or with an owner or group: among others, and in their order."""
    mine = Attributes(0o640, 5, os.geteuid(), os.getegid())
    wishes = [PLAIN, Attributes(None, 7), mine, Attributes(0o611, None), PLAIN]
    files = [SmallFile(b"%d" % number, b"%d" % number, attributes) for number, attributes in enumerate(wishes)]
    assert put_together(fd, files) == [NOTHING_LOST] * len(files)
    assert held(fd) == {str(number): b"%d" % number for number in range(len(files))}
    modes = [stat.S_IMODE(os.stat(file.name, dir_fd=fd).st_mode) for file in files]
    assert modes == [0o644, 0o600, 0o640, 0o611, 0o644]
    assert put_together(fd, []) == []


@pytest.mark.skipif(NATIVE is None, reason="needs compiler")
class TestNative:
    """What the compiled code alone can be asked."""

    native: Bulk

    @pytest.fixture(autouse=True)
    def _native(self) -> None:
        assert NATIVE is not None
        self.native = NATIVE

    @pytest.mark.parametrize(
        "changed",
        [
            {"stem": b"x" * 109}, {"stem": b"x\0"}, {"names": b"a"}, {"names": b"a\0b\0c"}, {"contents": b"12"}, {"contents": b"1234"},
            {"sizes": packed("I", [3])}, {"sizes": b""}, {"modes": b""}, {"modes": bytes(4)}, {"modes": bytes(9)}, {"mtimes_ns": bytes(15)},
            {"sizes": packed("I", [0xFFFFFFFF, 4])},
        ],
    )  # fmt: skip
    def test_arguments_of_different_files_are_refused(self, fd: int, changed: dict[str, bytes]) -> None:
        """Nothing is read beyond them, and nothing is made."""
        right = {
            "stem": b".s", "names": b"a\0b", "contents": b"123", "sizes": packed("I", [1, 2]), "modes": packed("I", [0o600] * 2),
            "mtimes_ns": bytes(16),
        }  # fmt: skip
        with pytest.raises(ValueError, match="not of the same files"):
            self.native.put_small(fd, *(right | changed).values())
        assert held(fd) == {}
        assert self.native.put_small(fd, *right.values()) == b"\1\1"
        assert held(fd) == {"a": b"1", "b": b"23"}

    def test_a_staged_name_that_is_taken_is_left_alone(self, fd: int) -> None:
        """Whoever it belongs to: the file is not written here, and Python takes another name."""
        opened = os.open(".s-0", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd)
        os.close(opened)
        one = (packed("I", [1]), packed("I", [0o600]), packed("q", [0]))
        assert self.native.put_small(fd, b".s", b"a", b"1", *one) == b"\0"
        assert held(fd) == {".s-0": b""}

    def test_types_are_checked(self, fd: int) -> None:
        """Bytes and a descriptor."""
        with pytest.raises(TypeError):
            self.native.put_small(fd, "stem", b"a", b"", bytes(4), bytes(4), bytes(8))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="put_small takes"):
            self.native.put_small(fd, b"stem")  # type: ignore[call-arg]


@pytest.mark.skipif(NATIVE is None, reason="needs compiler")
@given(st.lists(st.tuples(st.binary(max_size=70), st.integers(0, 0o7777), st.integers(-(1 << 40), 1 << 62)), min_size=1, max_size=20))
def test_both_ways_make_the_same(tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[bytes, int, int]]) -> None:
    """Whatever the contents, modes and times."""
    seen = []
    for bulk in (NATIVE, None):
        place = tmp_path_factory.mktemp("place")
        opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        files = [SmallFile(b"%d" % at, content, Attributes(mode, time_ns)) for at, (content, mode, time_ns) in enumerate(wanted)]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(small, "_BULK", bulk)
            results = put_together(opened, files)
        stats = [os.stat(file.name, dir_fd=opened) for file in files]
        seen.append((results, [(one.st_mode, one.st_mtime_ns, one.st_size) for one in stats]))
        os.close(opened)
    assert seen[0] == seen[1]


@pytest.mark.needs("gcc")
@pytest.mark.timeout(300)
def test_the_compiled_code_under_the_sanitizers(tmp_path: Path) -> None:
    """All of these tests once more, with a module that watches its addresses and its arithmetic."""
    run_sanitized("bulk", __file__, tmp_path)
