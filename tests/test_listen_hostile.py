"""The listener against strangers, meddlers and hostile clients, who speak the protocol by an implementation of their own."""

from __future__ import annotations

import os
import random
import re
import resource
import socket
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic

import pytest

from deltasync.errors import ConnectionLost
from deltasync.fs import landlock
from deltasync.wire.keys import decode_public, decode_secret, encode
from tests.engine import hostile
from tests.engine.hostile import Await, Cut, Finish, Row, Speaker
from tests.engine.hostile_arena import seen
from tests.listeners import Listening
from tests.stranger import XKPSK3, Stranger, framed, preamble, sealed

pytestmark = pytest.mark.timeout(120)

STATIC = b"\5" * 32
"""The private key of the hostile client that is trusted."""
SPOILED = int(os.environ.get("DELTASYNC_SPOILED_SESSIONS", "24"))
"""How many sessions are spoiled by a record; `nox -s hostile` takes 10,000."""
STALLED = 1000


class Scene:
    """A listener with a root, a canary beside it, and a client that is trusted with `data` and `look`."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.root, self.canary = folder / "root", folder / "canary"
        for made in (self.root, self.canary, self.canary / "dir", self.root / "in"):
            made.mkdir(parents=True)
        for secret in ("secret", "dir/deep"):
            (self.canary / secret).write_text("never read, never changed")
            os.utime(self.canary / secret, ns=(0, 1))
        (self.root / "out").symlink_to(self.canary)
        (self.root / "in" / "mine").write_text("mine")
        roots = ("--root", f"data={self.root}", "--root", f"look={self.root}:ro")
        self._strangers: list[Stranger] = []
        self.listening = Listening(folder, (*roots, *words))
        self.key = decode_public(self.listening.key)
        self.grant("data", "look")
        self._before = seen(os.fsencode(self.canary))

    def grant(self, *names: str) -> None:
        """Trust the hostile client."""
        public = encode(self.stranger().public)
        assert self.listening.command("trust", "add", public, "--allow", *names).code == 0

    def stranger(self, static: bytes = STATIC, **more: object) -> Stranger:
        """Connect."""
        made = Stranger(self.listening.port, self.key, static=static, **more)  # type: ignore[arg-type]
        self._strangers.append(made)
        return made

    def say(self, request: bytes, *steps: hostile.Step) -> Speaker:
        """Have the trusted client speak by a script; returns what it heard."""
        peer = Speaker(self.stranger().shake(request))  # type: ignore[arg-type]  # It has what the speaker uses of a link.
        peer.play(steps)
        return peer

    def check(self) -> None:
        """State that nothing outside the root was touched."""
        assert seen(os.fsencode(self.canary)) == self._before

    def close(self) -> None:
        """End it."""
        for stranger in self._strangers:
            stranger.close()
        self.listening.close()
        self.check()


@pytest.fixture
def scene(tmp_path: Path) -> Generator[Scene, None, None]:
    """A scene in which no pairing is open."""
    made = Scene(tmp_path)
    yield made
    made.close()


def push(*more: bytes, place: bytes = b"", **settings: object) -> list[bytes]:
    """The first words of a push."""
    return [hostile.hello(), hostile.setup(True, [place], **settings), hostile.tree(), *more]


def one_file(name: bytes = b"new", content: bytes = b"content") -> list[bytes]:
    """A push of one small file, as frames that need no answer."""
    listed = hostile.entries(hostile.section(b"", Row(name, size=len(content))))
    return [*push(listed, hostile.entries_end(1)), hostile.pack((0, content)), hostile.sender_done()]


def test_the_other_implementation_can_push(scene: Scene) -> None:
    """So what is refused below is not refused for want of skill."""
    *frames, done = one_file()
    peer = scene.say(b"data", *frames, Await(hostile.RECEIVER_DONE), done, Finish())
    assert peer.complete, peer.heard
    assert (scene.root / "new").read_bytes() == b"content"


@pytest.mark.parametrize("request_", [b"data", b"nope", b"", b"x" * 100, b"\0\xff/.."])
def test_who_is_not_listed_hears_nothing_after_the_second_message(scene: Scene, request_: bytes) -> None:
    """Whatever it asks for, and whatever it says then."""
    stranger = scene.stranger(b"\6" * 32).shake(request_)
    with suppress(ConnectionLost):
        for frame in one_file():
            stranger.send([frame])
    assert stranger.rest() == b""
    assert scene.listening.events("session-begin") == []


@pytest.mark.parametrize("request_", [b"nope", b"", b"*", b"data:ro", b"data\0", b"data/in"])
def test_who_is_listed_hears_nothing_about_other_roots(scene: Scene, request_: bytes) -> None:
    """What is not granted is as if it were not there."""
    assert scene.stranger().shake(request_).rest() == b""
    assert scene.listening.events("session-begin") == []


def spoiled_firsts(scene: Scene) -> dict[str, bytes]:
    """First messages that must not be answered."""
    good = scene.stranger().first()
    with closing(Stranger(scene.listening.port, scene.stranger(b"\7" * 32).public)) as wrong:
        other = wrong.first()
    found = {"another key": other, "noise": os.urandom(64), "http": b"GET / HTTP/1.1\r\n\r\n", "nothing": b""}
    found |= {f"cut at {at}": good[:at] for at in (1, 11, 14, 16, 40, len(good) - 1)}
    found |= {f"flipped at {at}": good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in (0, 15, 16, 40, len(good) - 1)}
    orders = (0, 1, (1 << 255) - 20, 325606250916557431795983626356110631294008115727848805560023387167927233504)
    found |= {f"small order {point}": preamble() + framed(point.to_bytes(32, "little") + bytes(16)) for point in orders}
    found |= {f"length {length}": preamble() + length.to_bytes(2, "big") + bytes(65535) for length in (0, 47, 49, 65535)}
    found["pairing"] = scene.stranger(handshake=XKPSK3).first()
    return found


def test_a_spoiled_first_message_is_not_answered(scene: Scene) -> None:
    """Wrong, of small order, cut, changed: the connection closes, and not one byte comes back."""
    for name, data in spoiled_firsts(scene).items():
        stranger = scene.stranger()
        with suppress(ConnectionLost, OSError):
            stranger.raw(data)
            stranger.socket.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            assert stranger.rest() == b"", name
        stranger.close()


def test_another_version_is_told_ours_and_nothing_else(scene: Scene) -> None:
    """So that its user learns what to update."""
    for theirs in (preamble(version=2), preamble(handshake=1), preamble(handshake=200)):
        stranger = scene.stranger()
        stranger.raw(theirs + bytes(100))
        assert stranger.rest() == preamble()


def test_a_replayed_handshake_is_of_no_use(scene: Scene) -> None:
    """The very bytes that let somebody in bring nobody in again."""
    honest = scene.stranger()
    first = honest.first()
    honest.raw(first)
    third = honest.third(b"data")
    honest.raw(third)
    records = sealed(honest.key_to_listener, 0, b"".join(one_file()))
    again = scene.stranger()
    again.raw(first + third + records)
    answer = again.rest()
    assert len(answer) == 14 + 2 + 48
    assert not (scene.root / "new").exists()
    assert len(scene.listening.events("session-begin")) == 1


def spoil(records: list[bytes], rng: random.Random) -> list[bytes]:
    """Change, drop, repeat or exchange records, so that the file's own is never as it should be where it should be."""
    found = list(records)
    at = rng.randrange(len(found))
    kind = rng.choice(["flip", "drop", "repeat", "swap", "cut", "number"])
    if kind == "flip":
        spot = rng.randrange(len(found[at]))
        found[at] = found[at][:spot] + bytes([found[at][spot] ^ 1 << rng.randrange(8)]) + found[at][spot + 1 :]
    elif kind == "drop":
        del found[at]
    elif kind == "repeat":
        at = rng.randrange(len(found) - 1)
        found.insert(at + 1, found[at])
    elif kind == "swap":
        at = rng.randrange(len(found) - 1)
        found[at], found[at + 1] = found[at + 1], found[at]
    elif kind == "cut":
        del found[at:]
    else:
        found[at] = found[-1]
    return found if found != records else spoil(records, rng)


def test_a_spoiled_record_ends_the_session(scene: Scene, rng: random.Random) -> None:
    """Changed, dropped, repeated, exchanged, cut off: the connection closes, and no byte of the file is written."""

    def attempt(number: int) -> None:
        chance = random.Random(f"{rng.random()} {number}")
        name = b"file%d" % number
        stranger = scene.stranger().shake()
        frames = one_file(name)[:-1]
        records = [sealed(stranger.key_to_listener, at, frame) for at, frame in enumerate(frames)]
        with suppress(ConnectionLost):
            for record in spoil(records, chance):
                stranger.raw(record)
        with suppress(OSError):
            stranger.socket.shutdown(socket.SHUT_WR)
        stranger.rest()
        stranger.close()
        assert not (scene.root / os.fsdecode(name)).exists()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempt, range(SPOILED)))
    scene.listening.wait_for(lambda: len(scene.listening.events("session-end")) == SPOILED)
    assert {event["exit_code"] for event in scene.listening.events("session-end")} <= {10, 12}
    assert sorted(os.listdir(scene.root)) == ["in", "out"]


def connect_from(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Open a connection from each address, and say nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 3 * STALLED)), hard))
    return [socket.create_connection(("127.0.0.1", port), source_address=(address, 0)) for address in addresses]


def test_stalled_connections_keep_nobody_out(scene: Scene, tmp_path: Path) -> None:
    """A thousand that say nothing, some from the honest client's address, and junk without end: a push starts, and memory stays."""
    listening = scene.listening
    client = listening.client("honest", "data")
    (tmp_path / "file").write_text("content")
    assert client.run("push", tmp_path / "file", "@data").code == 0
    before_kib = listening.rss_kib()
    stop = threading.Event()
    sent = [0]

    def junk() -> None:
        message = preamble() + framed(b"\x09" + bytes(47))
        while not stop.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", listening.port), timeout=1) as connected:
                connected.sendall(message)
                connected.recv(1)
                sent[0] += 1

    began_at = monotonic()
    addresses = [f"127.{n % 4}.{n % 250}.{1 + n % 200}" if n % 10 else "127.0.0.1" for n in range(STALLED)]
    stalled = connect_from(addresses, listening.port)
    junkers = [threading.Thread(target=junk) for _ in range(2)]
    for thread in junkers:
        thread.start()
    try:
        for number in range(3):
            (tmp_path / "file").write_text(f"content {number}")
            asked_at, sessions = monotonic(), len(listening.events("session-begin"))
            pushing = client.start("push", tmp_path / "file", "@data")
            listening.wait_for(lambda known=sessions: len(listening.events("session-begin")) > known)  # type: ignore[misc]
            assert monotonic() - asked_at < 2
            _, err = pushing.communicate(timeout=20)
            assert (pushing.returncode, err) == (0, "")
        assert listening.rss_kib() - before_kib < 32 << 10
        for connected in stalled:
            connected.settimeout(max(0.01, began_at + 13 - monotonic()))
            with suppress(ConnectionResetError):
                assert connected.recv(1) == b""
        assert sent[0] > 50
    finally:
        stop.set()
        for thread in junkers:
            thread.join()
        for connected in stalled:
            connected.close()
    assert len(listening.log.read_text().splitlines()) < 1500


@pytest.mark.parametrize(
    "steps",
    [
        push(place=b"../canary"),
        push(place=b"out"),
        push(place=b"out/dir"),
        push(place=b"/../canary", mkpath=True),
        push(hostile.entries(hostile.section(b"", Row(b"..")))),
        push(hostile.entries(hostile.section(b"", Row(b"/x")))),
        push(hostile.entries(hostile.section(b"", Row(b"a/b")))),
        push(hostile.entries(hostile.section(b"", Row(b".deltasync~x")))),
        push(hostile.entries(hostile.section(b"", Row(b"a"), Row(b"a")))),
        push(hostile.entries(hostile.section(b"", Row(b"a", size=1 << 63)))),
        push(hostile.entries(hostile.section(b"", Row(b"a"), count=4_000_000_000))),
        push(hostile.squeezed(hostile.ENTRIES, b"", length=1 << 30)),
        push(hostile.frame(hostile.ENTRIES, length=1 << 31)),
        push(hostile.frame(0x7E)),
    ],
)
def test_a_hostile_client_stays_within_the_root(scene: Scene, steps: list[bytes]) -> None:
    """A trusted key, and talk that leads out of the root, or without end: nothing outside is read or changed, and the listener lives on."""
    peer = scene.say(b"data", *steps, Await(hostile.FAILURE))
    assert not any(b"never read" in message.body for message in peer.heard)
    assert sorted(os.listdir(scene.root)) == ["in", "out"]
    assert (scene.root / "in" / "mine").read_text() == "mine"
    scene.listening.wait_for(lambda: scene.listening.events("session-end"))
    assert scene.listening.events("session-end")[0]["exit_code"] > 0
    assert scene.listening.process.poll() is None


@pytest.mark.parametrize("place", [b"../canary/", b"out/", b"out/dir/deep", b"/../canary/secret"])
def test_a_hostile_client_reads_nothing_outside(scene: Scene, place: bytes) -> None:
    """Not by `..` and not through a symlink: what it names is not there."""
    peer = scene.say(b"data", hostile.hello(), hostile.setup(False, [place]), Await(hostile.ENTRIES_END), Cut())
    assert [message.fields[0] for message in peer.of(hostile.TREE)] == [False]
    assert not any(b"secret" in message.body or b"deep" in message.body for message in peer.of(hostile.ENTRIES))


def test_a_read_only_root_stays_as_it_is(scene: Scene) -> None:
    """Whatever is asked for: no inode of it changes."""
    before = seen(os.fsencode(scene.root))
    for steps in (one_file(), push(place=b"made"), push(place=b"a/b/c", mkpath=True), push(place=b"in", delete=True, force_empty=True)):
        peer = scene.say(b"look", *steps, Await(hostile.FAILURE))
        assert [message.fields[0] for message in peer.of(hostile.FAILURE)] == [5]
    assert seen(os.fsencode(scene.root)) == before


def live_session(scene: Scene) -> tuple[Stranger, int]:
    """Return a session that waits for its client, and its process."""
    stranger = scene.stranger().shake()
    stranger.send([hostile.hello()])
    stranger.recv()
    return stranger, scene.listening.events("session-begin")[-1]["session"]


def test_a_session_has_nothing_but_its_root(scene: Scene) -> None:
    """Bounded, without new privileges, confined before its first thread, with no other file open, and the private key is nowhere in it."""
    stranger, process = live_session(scene)
    place = Path(f"/proc/{process}")
    status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
    limits = {line[:25].strip(): line[26:].split()[:2] for line in (place / "limits").read_text().splitlines()}
    assert (limits["Max core file size"], limits["Max open files"]) == (["0", "0"], ["1024", "1024"])
    assert limits["Max data size"] == [str(2 << 30)] * 2
    if landlock.abi():
        for thread in (place / "task").iterdir():
            assert "NoNewPrivs:\t1" in (thread / "status").read_text()
    targets = [os.readlink(fd) for fd in (place / "fd").iterdir()]
    named = {target for target in targets if not re.match(r"(socket|pipe|anon_inode):", target)}
    assert named <= {str(scene.root), str(scene.listening.log), "/dev/null"}
    assert sum(target.startswith("socket:") for target in targets) == 1
    secret = (scene.listening.home / "key").read_text().strip()
    words = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
    for key in (stranger.key_to_listener, decode_secret(secret)):
        assert key not in words
        assert key.hex().encode() not in words
        assert encode(key).encode() not in words
    for needle in (secret.encode(), decode_secret(secret)):
        assert not in_memory(place, needle)
    assert int(status["Threads"]) > 1
    stranger.close()


def in_memory(place: Path, needle: bytes) -> bool:
    """Tell whether bytes stand anywhere in the writable memory of a process."""
    with (place / "mem").open("rb", buffering=0) as memory:
        for line in (place / "maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if "w" not in rights:
                continue
            start, end = (int(word, 16) for word in span.split("-"))
            with suppress(OSError, ValueError):
                memory.seek(start)
                if needle in memory.read(end - start):
                    return True
    return False


@pytest.mark.needs("root")
def test_sessions_run_as_another_user(tmp_path: Path) -> None:
    """With `--user`, for good; it writes as that user, with all that a push and a pull need."""
    scene = Scene(tmp_path, "--user", "nobody")
    try:
        os.chown(scene.root, 65534, 65534)
        client = scene.listening.client("honest", "data")
        stranger, process = live_session(scene)
        status = Path(f"/proc/{process}/status").read_text()
        assert "Uid:\t65534\t65534\t65534\t65534" in status
        assert "Gid:\t65534\t65534\t65534\t65534" in status
        stranger.close()
        (tmp_path / "large").write_bytes(random.Random(1).randbytes(8 << 20))
        for _ in range(2):
            assert client.run("push", tmp_path / "large", "@data").err == ""
            with (tmp_path / "large").open("r+b") as file:
                file.write(b"changed")
        assert (scene.root / "large").stat().st_uid == 65534
        assert client.run("pull", "@data/large", tmp_path / "back").code == 0
        assert client.run("push", tmp_path / "large", "@data/in").code == 23
    finally:
        scene.close()


def test_who_waits_is_sent_away(scene: Scene) -> None:
    """After ten seconds, whatever was said until then, and however slowly it goes on: every byte has come by the deadline or not at all."""
    began_at = monotonic()
    strangers = [scene.stranger() for _ in range(3)]
    for stranger, held in zip(strangers, (b"", preamble(), preamble() + b"\0\x30"), strict=True):
        stranger.raw(held)
    dripping = threading.Event()
    with suppress(ConnectionLost):
        while monotonic() - began_at < 15:
            strangers[2].raw(b"\x09")
            dripping.wait(0.5)
    for stranger in strangers:
        assert stranger.rest() == b""
    assert 9 < monotonic() - began_at < 13
