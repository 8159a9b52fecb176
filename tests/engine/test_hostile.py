"""A hostile client that pushes: whatever it says, the serving side ends with a protocol error and writes nothing outside its root."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deltasync.errors import ExitCode
from deltasync.fs import owners
from tests.engine import hostile
from tests.engine.hostile import Cut, Finish, Raw, Row, Step, folder, frame, link, section
from tests.engine.hostile_arena import DEADLINE_S, Arena, forget_peak, peak_bytes, refused
from tests.engine.hostile_talks import END, PUSHED

FILE = Row(b"f", size=3)
WHOLE = hostile.tree()
OPEN = hostile.hello() + hostile.setup(True, [b""])
ONE = WHOLE + hostile.entries(section(b"", FILE)) + hostile.entries_end(1)
"""A tree of one file, number 0, that is wanted."""
CONTENT = b"abc"
GOOD = hostile.digest_of(CONTENT)
MANY = [Row(b"%05d" % number, size=1) for number in range(20)]
NESTED = Raw(b"\x91" * 100_000 + b"\xc0")
ZSTD_WINDOW = bytes.fromhex("28b52ffd0088") + bytes.fromhex("010000")
"""A frame that asks for a window of 128 MiB and holds nothing."""


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    """The places, looked after when the test is over."""
    made = Arena(tmp_path)
    yield made
    made.check()


def chunk(*rows: Row, path: bytes = b"", flags: int = 3, **said: object) -> bytes:
    """A tree and one section."""
    return WHOLE + hostile.entries(section(path, *rows, flags=flags, **said))


NAMES = {
    "dotdot": chunk(Row(b"..")),
    "dot": chunk(Row(b".")),
    "slash": chunk(Row(b"a/b")),
    "absolute": chunk(Row(b"/etc")),
    "empty name": chunk(Row(b"")),
    "empty name among others": chunk(Row(b""), Row(b"a")),
    "256 bytes": chunk(Row(b"n" * 256)),
    "reserved": chunk(Row(b".deltasync~s1")),
    "reserved among others": chunk(Row(b"-"), Row(b".deltasync~"), Row(b"a")),
    "NUL makes one name more": chunk(Row(b"a\0b")),
    "duplicate": chunk(Row(b"a"), Row(b"a")),
    "unsorted": chunk(Row(b"b"), Row(b"a")),
    "unsorted over sections": WHOLE + hostile.entries(section(b"", Row(b"b"), flags=1), section(b"", Row(b"a"), flags=2)),
    "duplicate over chunks": chunk(Row(b"a"), flags=1) + hostile.entries(section(b"", Row(b"a"), flags=2)),
}
PATHS = {
    f"path {path[:12]!r}": chunk(Row(b"x"), path=path)
    for path in (b"..", b"/", b"/etc", b"a//b", b"a/../b", b"a/", b"./a", b"a\0b", b"n" * 256, b"in/..", b"a/" * 140_000 + b"a")
} | {
    "reserved path": chunk(Row(b"x"), path=b".deltasync~d"),
    "reserved path inside": chunk(Row(b"x"), path=b"in/.deltasync~d/e"),
    "path of 4 GiB": chunk(path_length=0xFFFFFFFF),
    "path beyond the chunk": chunk(path_length=2000),
}
COUNTS = {
    "count 2^32-1": chunk(FILE, count=0xFFFFFFFF),
    "count one more": chunk(FILE, count=2),
    "count none": chunk(FILE, count=0),
    "4,097 entries": chunk(*[Row(b"%05d" % number) for number in range(4097)]),
    "4,097 entries in two": WHOLE
    + hostile.entries(section(b"", *[Row(b"%05d" % number) for number in range(4096)]), section(b"in", Row(b"x"))),
    "names 2^32-1": chunk(FILE, names_length=0xFFFFFFFF),
    "names cut": chunk(FILE, names_length=0),
    "links 2^32-1": chunk(FILE, links_count=0xFFFFFFFF),
    "links cut": chunk(FILE, links_count=1),
    "devices 65,535": chunk(FILE, devices=0xFFFF),
    "device without number": chunk(Row(b"n", 0o020600)),
    "number without device": chunk(Row(b"n", rdev=5)),
    "digests 2": chunk(FILE, digests=2),
    "digests cut": chunk(FILE, digests=1),
    "flags 64": chunk(FILE, flags=67),
    "size 2^63": chunk(Row(b"f", size=1 << 63)),
    "size 2^64-1": chunk(Row(b"f", size=(1 << 64) - 1)),
    "mode 0": chunk(Row(b"f", mode=0)),
    "mode of 17 bits": chunk(Row(b"f", mode=0o100644 | 1 << 16)),
    "directory's mode of a file": chunk(FILE, own_mode=0o100644),
    "directory's mode of 17 bits": chunk(FILE, own_mode=0o040755 | 1 << 16),
    "target empty": chunk(link(b"l", b"")),
    "target 4,096": chunk(link(b"l", b"t" * 4096)),
    "target too many": chunk(link(b"l", b"t"), targets=b"t\0t"),
    "target of a file": chunk(FILE, targets=b"t"),
    "link index": chunk(FILE, links=[(1, 1)]),
    "link index 2^32-1": chunk(FILE, links=[(0xFFFFFFFF, 1)]),
    "link indexes fall": chunk(Row(b"a"), Row(b"b"), links=[(1, 1), (0, 1)]),
    "link group 0": chunk(FILE, links=[(0, 0)]),
    "link of a directory": chunk(folder(b"d"), links=[(0, 1)]),
    "half a section": WHOLE + frame(hostile.ENTRIES, section(b"", FILE)[:-1]),
    "a section and a byte": WHOLE + frame(hostile.ENTRIES, section(b"", FILE) + b"\0"),
}
ORDER = {
    "no first": chunk(FILE, flags=2),
    "first twice": chunk(Row(b"a"), flags=1) + hostile.entries(section(b"", Row(b"b"), flags=1)),
    "another directory between": chunk(Row(b"a"), flags=1) + hostile.entries(section(b"in", Row(b"b"), flags=2)),
    "end within a directory": chunk(FILE, flags=1) + hostile.entries_end(1),
    "end with another count": chunk(folder(b"in")) + hostile.entries_end(2),
    "a chunk missing": WHOLE + hostile.entries_end(1),
    "entries after the end": ONE + hostile.entries(section(b"in")),
    "owners after the end": ONE + hostile.control(hostile.OWNERS, [], []),
    "end twice": ONE + hostile.entries_end(1),
    "tree twice": WHOLE * 2,
    "no tree": hostile.entries(section(b"", FILE)),
    "a want from the sender": WHOLE + hostile.want(0),
    "items from the sender": WHOLE + hostile.control(hostile.ITEMS, []),
    "receiver done from the sender": ONE + hostile.receiver_done(),
    "sender done early": ONE + hostile.sender_done(),
    "ready from the initiator": hostile.control(hostile.READY, "python"),
    "setup twice": hostile.setup(True, [b""]),
    "hello twice": hostile.hello(),
    **{f"reserved {kind:#x}": WHOLE + frame(kind) for kind in (0x1C, 0x24)},
    **{f"unknown {kind:#x}": WHOLE + frame(kind) for kind in (0x00, 0x08, 0x1D, 0x30, 0x7F, 0xFF)},
    "frame of 1 MiB and 1": WHOLE + frame(hostile.ENTRIES, length=(1 << 20) + 1),
    "frame of 4 GiB": WHOLE + frame(hostile.ENTRIES, length=0xFFFFFFFF),
}
TREES = {
    "tops with dotdot": hostile.tree(b".."),
    "tops absolute": hostile.tree(b"/etc"),
    "tops with a NUL": hostile.tree(b"a\0b"),
    "whole without contents": hostile.tree(b"a", whole=True),
    "contents without whole": hostile.tree(whole=False),
    "lone and whole": hostile.tree(lone=True),
    "two lone ones": hostile.tree(b"a", b"b", lone=True),
    "65,537 tops": hostile.tree(*[b"%d" % number for number in range(65537)]),
    "2^32-1 tops": hostile.control(hostile.TREE, False, Raw(b"\xdd\xff\xff\xff\xff"), False, 0),
    "missing 2^63": hostile.tree(missing=1 << 63),
    "missing -1": hostile.tree(missing=-1),
    "not asked for": hostile.tree(b"a") + hostile.entries(section(b"", Row(b"b"))),
    "a directory not asked for": hostile.tree(b"a") + hostile.entries(section(b"", folder(b"a")), section(b"in")),
    "owner 2^32": WHOLE + hostile.control(hostile.OWNERS, [[1 << 32, b"x"]], []),
    "owner of 257 bytes": WHOLE + hostile.control(hostile.OWNERS, [[1, b"x" * 257]], []),
    "4,097 owners": WHOLE + hostile.control(hostile.OWNERS, [[number, b""] for number in range(4097)], []),
    "trouble of exit code 0": WHOLE + hostile.control(hostile.TROUBLE, b"a", "x", 0),
    "trouble of 4,097 letters": WHOLE + hostile.control(hostile.TROUBLE, b"a", "x" * 4097, 1),
    "note of no UTF-8": WHOLE + frame(hostile.NOTE, b"\x91\xa1\xff"),
    "a map for an array": WHOLE + frame(hostile.NOTE, b"\x80"),
    "two values": WHOLE + frame(hostile.PING, b"\x90\x90"),
    "nothing": WHOLE + frame(hostile.NOTE),
    "nested without end": WHOLE + hostile.control(hostile.NOTE, "x", NESTED),
}
FILES = {
    "not wanted": ONE + hostile.pack((1, CONTENT)),
    "wanted by nobody": chunk(folder(b"d")) + hostile.pack((0, CONTENT)),
    "pack twice": WHOLE + hostile.entries(section(b"", FILE), section(b"in", FILE)) + hostile.pack((0, b"abc")) * 2,
    "twice in a pack": ONE + hostile.pack((0, b"abc"), (0, b"abd")),
    "id 2^62+1": ONE + hostile.pack(((1 << 62) + 1, CONTENT)),
    "id 2^64-1": ONE + hostile.begin((1 << 64) - 1, 3),
    "no files": ONE + hostile.pack(),
    "4,097 files": ONE + hostile.pack(*[(number, b"") for number in range(4097)]),
    "2^32-1 files": ONE + hostile.pack((0, CONTENT), count=0xFFFFFFFF),
    "sizes beyond": ONE + hostile.pack((0, CONTENT))[:-1].replace(struct.pack("<I", 31), struct.pack("<I", 30), 1),
    "pack of a symlink": ONE + hostile.pack((0, CONTENT), mode=0o120777),
    "pack of mode 17 bits": ONE + hostile.pack((0, CONTENT), mode=0o100644 | 1 << 16),
    "begin not wanted": ONE + hostile.begin(1, 3),
    "begin twice": ONE + hostile.begin(0, 3) * 2,
    "begin of a device": ONE + hostile.begin(0, 3, mode=0o020666),
    "begin of 2^63": ONE + hostile.begin(0, 1 << 63),
    "pack of an open file": ONE + hostile.begin(0, 3) + hostile.pack((0, CONTENT)),
    "17 open": WHOLE + hostile.entries(section(b"", *MANY)) + b"".join(hostile.begin(number, 1) for number in range(17)),
    "data not open": ONE + hostile.data(0, CONTENT),
    "data beyond the size": ONE + hostile.begin(0, 3) + hostile.data(0, b"abcd"),
    "data of nothing": ONE + hostile.begin(0, 3) + hostile.data(0, b""),
    "data of 512 KiB and 1": ONE + hostile.begin(0, 1 << 20) + hostile.data(0, bytes((512 << 10) + 1)),
    "data without an id": ONE + hostile.begin(0, 3) + frame(hostile.FILE_DATA, b"1234"),
    "zeros beyond the size": ONE + hostile.begin(0, 3) + hostile.zeros(0, 4),
    "zeros 0": ONE + hostile.begin(0, 3) + hostile.zeros(0, 0),
    "zeros 256 MiB and 1": ONE + hostile.begin(0, 1 << 40) + hostile.zeros(0, (256 << 20) + 1),
    "zeros 2^63": ONE + hostile.begin(0, 1 << 62) + hostile.zeros(0, 1 << 63),
    "end early": ONE + hostile.begin(0, 3) + hostile.data(0, b"ab") + hostile.end(0, GOOD),
    "end of what is not open": ONE + hostile.end(0, GOOD),
    "end twice": ONE + hostile.entries(section(b"in"))[:0] + hostile.begin(0, 3) + hostile.data(0, b"abc") + hostile.end(0, GOOD) * 2,
    "digest of 31 bytes": ONE + hostile.begin(0, 3) + hostile.data(0, b"abc") + hostile.end(0, GOOD[:-1]),
    "data after the end": WHOLE + hostile.entries(section(b"", *MANY)) + hostile.begin(0, 0) + hostile.end(0, GOOD) + hostile.data(0, b"x"),
    "abort not wanted": ONE + hostile.abort(1, 0),
    "abort twice": WHOLE + hostile.entries(section(b"", *MANY)) + hostile.abort(0, 0) * 2,
    "again without a begin": ONE + hostile.abort(0, 1),
    "again 2": ONE + hostile.begin(0, 3) + hostile.abort(0, 2),
}
BOMBS = {
    "1 GiB as 1 MiB": hostile.squeezed(hostile.ENTRIES, b"", length=1 << 20, data=hostile.zstd_of(bytes(1 << 28))),
    "more than it says": hostile.squeezed(hostile.ENTRIES, bytes(1000), length=999),
    "less than it says": hostile.squeezed(hostile.ENTRIES, bytes(1000), length=1001),
    "says 2^31": hostile.squeezed(hostile.ENTRIES, bytes(1000), length=1 << 31),
    "says 1 MiB and 1": hostile.squeezed(hostile.ENTRIES, bytes((1 << 20) + 1)),
    "two frames": hostile.squeezed(hostile.ENTRIES, bytes(9), data=hostile.zstd_of(bytes(9)) * 2),
    "trailing": hostile.squeezed(hostile.ENTRIES, bytes(9), data=hostile.zstd_of(bytes(9)) + b"x"),
    "cut": hostile.squeezed(hostile.ENTRIES, bytes(9), data=hostile.zstd_of(bytes(9))[:-1]),
    "no zstd": hostile.squeezed(hostile.ENTRIES, bytes(9), data=b"not zstd at all"),
    "window of 128 MiB": hostile.squeezed(hostile.ENTRIES, b"", data=ZSTD_WINDOW),
    "three bytes": frame(hostile.ENTRIES | hostile.COMPRESSED, b"abc"),
}
SETUPS = {
    "two destinations": hostile.setup(True, [b"a", b"b"]),
    "no destination": hostile.setup(True, []),
    "place of 65,537 bytes": hostile.setup(True, [b"a" * 65537]),
    "65,537 places": hostile.setup(False, [b"a"] * 65537),
    "unknown option": hostile.setup(True, [b""], more=True),
    "number for a bool": hostile.setup(True, [b""], delete=1),
    "max_delete -1": hostile.setup(True, [b""], max_delete=-1),
    "max_delete 2^63": hostile.setup(True, [b""], max_delete=1 << 63),
    "bwlimit -1": hostile.setup(True, [b""], bwlimit_bytes_s=-1),
    "timeout -1": hostile.setup(True, [b""], timeout_s=-1.0),
    "timeout nan": hostile.setup(True, [b""], timeout_s=float("nan")),
    "compress perhaps": hostile.setup(True, [b""], compress="perhaps"),
    "rule of nothing": hostile.setup(True, [b""], rules=[b"x"]) + WHOLE,
    "65,537 rules": hostile.setup(True, [b""], rules=[b"- a"] * 65537) + WHOLE,
    "2^32-1 rules": hostile.setup(True, [b""], rules=Raw(b"\xdd\xff\xff\xff\xff")),
    "nested settings": hostile.control(hostile.SETUP, True, [b""], NESTED),
    "nested more": hostile.control(hostile.SETUP, True, [b""], {}, NESTED),
    "tree before setup": WHOLE,
    "ping before setup": hostile.control(hostile.PING),
}
GREETINGS = {
    "setup first": hostile.setup(True, [b""]),
    "software of 129 letters": hostile.hello("x" * 129),
    "65 features": hostile.hello(features=["x"] * 65),
    "2^32-1 features": hostile.control(hostile.HELLO, "x", Raw(b"\xdd\xff\xff\xff\xff")),
    "nested without end": hostile.control(hostile.HELLO, "x", [], NESTED),
    "an SSH banner": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
}
PUSHES = {
    f"{group}: {name}": OPEN + said
    for group, cases in {"name": NAMES, "path": PATHS, "count": COUNTS, "order": ORDER, "tree": TREES, "file": FILES}.items()
    for name, said in cases.items()
}
PUSHES |= {f"bomb: {name}": OPEN + WHOLE + said for name, said in BOMBS.items()}
PUSHES |= {f"setup: {name}": hostile.hello() + said for name, said in SETUPS.items()}
PUSHES |= {f"greeting: {name}": said for name, said in GREETINGS.items()}


@pytest.mark.parametrize("name", PUSHES)
def test_what_the_protocol_does_not_allow_ends_a_push(name: str, arena: Arena) -> None:
    """The serving side ends at once, says so, and leaves nothing behind."""
    began_at = time.monotonic()
    ended = arena.serve(PUSHES[name])
    assert refused(ended), (ended.code, ended.failure)
    assert time.monotonic() - began_at < DEADLINE_S / 2
    assert (Path(os.fsdecode(arena.root)) / "in" / "mine").read_text() == "mine"


def test_a_section_cut_anywhere_is_refused(arena: Arena) -> None:
    """A chunk that ends within a section, at any byte, is no chunk."""
    whole = section(b"in", Row(b"a", 0o120777, target=b"t", group=1), Row(b"b", 0o020600, rdev=9), digests=0)
    for at in range(1, len(whole)):
        ended = arena.serve(OPEN + WHOLE + frame(hostile.ENTRIES, whole[:at]))
        assert refused(ended), at


def found(root: bytes) -> set[str]:
    """Return the paths in a tree."""
    return {str(path.relative_to(os.fsdecode(root))) for path in Path(os.fsdecode(root)).rglob("*")}


def test_the_second_speaker_is_understood(arena: Arena) -> None:
    """A push that follows docs/protocol.md does what it says, symlinks in the way of directories replaced and not followed."""
    ended = arena.serve(*PUSHED, *END)
    assert ended.code == ExitCode.OK
    assert ended.peer.complete
    assert found(arena.root) == {"d", "d/g", "d/h", "f", "l", "out", "sub", "sub/i", "sub/j"}
    root = Path(os.fsdecode(arena.root))
    assert (root / "d" / "g").read_bytes() == b"y" * 2000
    assert (root / "out").is_dir()
    assert not (root / "out").is_symlink()
    assert (root / "sub" / "i").stat().st_ino == (root / "sub" / "j").stat().st_ino
    assert [one.kind for one in ended.peer.heard][-1] == hostile.RECEIVER_DONE


def test_a_stream_cut_anywhere_is_a_failed_run(arena: Arena) -> None:
    """Cut at each frame's boundary, and a byte before and behind, with and without the word that nothing follows, no push succeeds."""
    whole = b"".join(PUSHED)
    ends = [0]
    for one in PUSHED:
        ends.append(ends[-1] + len(one))
    for at in sorted({end + off for end in ends for off in (-1, 0, 1)} & set(range(len(whole)))):
        for last in (Finish(), Cut()):
            ended = arena.serve(whole[:at], last)
            assert ended.code in (ExitCode.CONNECTION, ExitCode.PROTOCOL), (at, last)
        arena.check()


def test_a_directory_that_is_a_symlink_here_is_not_entered(arena: Arena) -> None:
    """The sections of a directory in whose place a symlink stands cost a problem; what it points to is neither read nor written."""
    for said in (section(b"out", Row(b"secret", size=3), Row(b"new", size=3)), section(b"out/dir", Row(b"deep", size=3))):
        ended = arena.serve(OPEN, hostile.tree(b"out"), hostile.entries(section(b"", link(b"out", arena.canary)), said), Finish())
        assert ended.code in (ExitCode.OK, ExitCode.CONNECTION, ExitCode.PROTOCOL)
        assert all(not any(one.fields[1:]) for one in ended.peer.of(hostile.WANT))
        arena.check()


def test_deletions_do_not_follow_a_symlink(arena: Arena) -> None:
    """With --delete a symlink to a directory goes, and not what it points to."""
    open_ = hostile.hello() + hostile.setup(True, [b""], delete=True)
    ended = arena.serve(open_, ONE, hostile.pack((0, b"abc")), *END)
    assert ended.code == ExitCode.OK
    assert found(arena.root) == {"f"}


def test_a_wrong_digest_costs_the_file_and_nothing_else(arena: Arena) -> None:
    """What does not match its digest is not put in place; the rest is, and the sender hears of it."""
    rows = section(b"", Row(b"e", size=3), FILE)
    said = [hostile.begin(0, 3), hostile.data(0, b"abd"), hostile.end(0, GOOD), hostile.pack((1, b"abc"))]
    ended = arena.serve(OPEN, WHOLE, hostile.entries(rows), hostile.entries_end(2), *said, *END)
    assert ended.code == ExitCode.OK
    assert [(one.fields[0], one.fields[2]) for one in ended.peer.of(hostile.TROUBLE)] == [(b"e", ExitCode.PARTIAL)]
    assert found(arena.root) >= {"f"}
    assert "e" not in found(arena.root)


def test_what_cannot_be_kept_is_a_problem(arena: Arena) -> None:
    """Times, owners and device numbers beyond what the system takes cost the entry at most."""
    far = (1 << 63) - 1
    rows = [
        Row(b"a", mtime_ns=-far - 1),
        Row(b"b", 0o040755, mtime_ns=far),
        Row(b"c", 0o120777, target=b"t" * 4095, mtime_ns=far),
        Row(b"d", uid=0xFFFFFFFF, gid=0xFFFFFFFF),
        Row(b"e", 0o020600, rdev=(1 << 64) - 1),
        Row(b"f", 0o107777, size=(1 << 63) - 1),
        Row(b"g", 0o010600, uid=0xFFFFFFFE, mtime_ns=far),
    ]
    said = [
        hostile.pack((0, b""), (3, b""), mtime_ns=far),
        hostile.begin(5, 1 << 62, mode=0o107777, mtime_ns=-far - 1),
        hostile.abort(5, 0),
    ]
    steps: list[Step] = [OPEN, WHOLE, hostile.entries(section(b"", *rows)), hostile.entries_end(7), *said, *END]
    for _ in range(2):
        ended = arena.serve(*steps)
        assert ended.code in (ExitCode.OK, ExitCode.PROTOCOL)
        arena.check()


def test_files_that_begin_anew_again_and_again_leave_nothing(arena: Arena) -> None:
    """A thousand beginnings of one file cost no memory and leave nothing staged."""
    again = (hostile.begin(0, 3) + hostile.data(0, b"a") + hostile.abort(0, 1)) * 1000
    ended = arena.serve(OPEN + ONE + again + hostile.abort(0, 0), *END)
    assert ended.code == ExitCode.OK
    assert "f" not in found(arena.root)


def test_zeros_without_end_cost_no_memory(arena: Arena) -> None:
    """A sparse file of 2^62 bytes may be announced; its zeros are neither held nor written."""
    open_ = hostile.hello() + hostile.setup(True, [b""], sparse=True)
    before = forget_peak()
    ended = arena.serve(open_ + ONE + hostile.begin(0, 1 << 62) + hostile.zeros(0, 256 << 20) * 20, Finish())
    assert ended.code == ExitCode.CONNECTION
    assert peak_bytes() - before < 64 << 20
    for partial in Path(os.fsdecode(arena.root)).glob(".deltasync~p*"):
        assert partial.stat().st_blocks < 1000


NOISE = {
    "notes": hostile.squeezed(hostile.NOTE, hostile.packed(["x" * 4096])),
    "troubles": hostile.squeezed(hostile.TROUBLE, hostile.packed([b"p" * (1 << 18), "x" * 4096, 23])),
    "owners": hostile.squeezed(hostile.OWNERS, hostile.packed([[[number + 1, b"o" * 200] for number in range(4000)], []])),
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_costs_no_memory(name: str, arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports and names without end, compressed to almost nothing, are taken one by one, or end the session."""
    monkeypatch.setattr(owners, "MAX_OWNERS", 20_000)
    before = forget_peak()
    ended = arena.serve(OPEN, WHOLE, *[NOISE[name] * 20] * 15, Finish())
    assert ended.code in (ExitCode.CONNECTION, ExitCode.PROTOCOL)
    assert peak_bytes() - before < 200 << 20
