"""The TCP peer through the command itself: who is let in and who is not, what arrives, and how it ends."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from time import monotonic

import pytest

from tests.cli.commands import Process
from tests.engine.trees import change, make, snapshot
from tests.listeners import Client, Listening
from tests.sources import PROJECT

pytestmark = pytest.mark.timeout(120)

Start = Callable[..., Listening]


@pytest.fixture
def listen(tmp_path: Path) -> Generator[Start, None, None]:
    """Start listeners that share `tmp_path/root` as `data` and as `look:ro`; they end with the test."""
    started: list[Listening] = []
    (tmp_path / "root").mkdir()

    def start(*words: str, bind: str = "127.0.0.1:0", **environment: str) -> Listening:
        root = tmp_path / "root"
        roots = ("--root", f"data={root}", "--root", f"look={root}:ro")
        folder = tmp_path / f"listener{len(started)}"
        folder.mkdir()
        started.append(Listening(folder, (*roots, *words), environment, bind))
        return started[-1]

    yield start
    for listening in started:
        listening.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small directory to push."""
    (tmp_path / "source" / "sub").mkdir(parents=True)
    (tmp_path / "source" / "file").write_text("content\n")
    (tmp_path / "source" / "sub" / "other").write_text("more\n")
    return tmp_path / "source"


def large(path: Path, mib: int = 64) -> Path:
    """Make a file that takes a while to send when it is sent slowly."""
    path.write_bytes(random.Random(7).randbytes(1 << 20) * mib)
    return path


def slowly(client: Client, source: Path, place: str) -> subprocess.Popen[str]:
    """Start a push that takes about a minute."""
    return client.start("push", "--bwlimit", "1M", "--no-compress", source, place)


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_a_tree_goes_and_comes_back(listen: Start, tmp_path: Path, bind: str) -> None:
    """A random tree pushed and pulled is equal, changes and deletions included, and a further push does nothing."""
    listening = listen(bind=bind)
    client = listening.client("client", "data")
    rng = random.Random(bind)
    source, back = tmp_path / "source", tmp_path / "back"
    make(os.fsencode(source), rng, 80)
    for _ in range(2):
        assert client.run("push", "-H", "--delete", f"{source}/", "@data/sub") == Process(0, "", "")
        assert snapshot(os.fsencode(tmp_path / "root" / "sub"), links=True) == snapshot(os.fsencode(source), links=True)
        assert client.run("pull", "-H", "--delete", "@data/sub/", back) == Process(0, "", "")
        assert snapshot(os.fsencode(back), links=True) == snapshot(os.fsencode(source), links=True)
        change(os.fsencode(source), rng, 30)
    client.run("push", "-H", "--delete", f"{source}/", "@data/sub")
    done = client.run("push", "-H", "--delete", "--json", f"{source}/", "@data/sub")
    (summary,) = map(json.loads, done.out.splitlines())
    assert (done.code, summary["channel"], summary["cipher"]) == (0, "tcp", "AES-256-GCM")
    assert (summary["files_sent"], summary["entries_changed"], summary["exit_code"]) == (0, 0, 0)
    assert listening.stop() == 0


def test_a_large_change_goes_as_a_delta(listen: Start, tmp_path: Path) -> None:
    """Both ways only what changed travels; the pool of threads works in a confined session too."""
    listening = listen()
    client = listening.client("client", "*")
    file = large(tmp_path / "big", 16)
    assert client.run("push", file, "@data").code == 0
    with file.open("r+b") as opened:
        opened.seek(5 << 20)
        opened.write(b"changed")
    os.utime(file, (1, 1))
    done = client.run("push", "--json", file, "@data")
    summary = json.loads(done.out)
    assert (done.code, summary["resent_whole"]) == (0, 0)
    assert summary["literal_bytes"] < 100_000
    assert (tmp_path / "root" / "big").read_bytes() == file.read_bytes()
    (tmp_path / "old").mkdir()
    large(tmp_path / "old" / "big", 16)
    done = client.run("pull", "--json", "@look/big", tmp_path / "old")
    assert (done.code, (tmp_path / "old" / "big").read_bytes()) == (0, file.read_bytes())
    assert json.loads(done.out)["literal_bytes"] < 100_000
    assert (listening.home / "roots" / "data").is_dir()


def test_the_name_of_a_root_is_its_contents(listen: Start, source: Path, tmp_path: Path) -> None:
    """With a slash or without; what is named beneath it follows the slash as ever."""
    client = listen().client("client", "*")
    assert client.run("push", f"{source}/", "@data").code == 0
    assert sorted(os.listdir(tmp_path / "root")) == ["file", "sub"]
    for number, place in enumerate(["@look", "@look/"]):
        assert client.run("pull", place, tmp_path / f"back{number}").code == 0
        assert sorted(os.listdir(tmp_path / f"back{number}")) == ["file", "sub"]
    assert client.run("pull", "@look/sub", tmp_path / "back2").code == 0
    assert os.listdir(tmp_path / "back2") == ["sub"]


@pytest.mark.parametrize("grant", ["data:ro", "look", "*"])
def test_nothing_is_written_where_only_reading_is_allowed(listen: Start, source: Path, tmp_path: Path, grant: str) -> None:
    """Shared read-only, or granted so: a push is refused with 5, nothing has changed, and a pull works."""
    client = listen().client("client", grant)
    (tmp_path / "root" / "there").write_text("x")
    before = [os.stat(path) for path in (tmp_path / "root", tmp_path / "root" / "there")]
    place = "data" if grant == "data:ro" else "look"
    for more in ([], ["--delete", "--force-empty"], ["-n"]):
        done = client.run("push", *more, f"{source}/", f"@{place}")
        assert (done.code, done.err) == (5, "deltasync: this deltasync serves read-only: nothing can be pushed to it\n")
    assert client.run("pull", f"@{place}/there", tmp_path).code == 0
    after = [os.stat(path) for path in (tmp_path / "root", tmp_path / "root" / "there")]
    assert [(s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for s in after] == [(s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for s in before]


def test_an_unknown_listener_is_not_even_connected_to(listen: Start, source: Path) -> None:
    """5, and the line says how to add it."""
    listening = listen()
    client = Client(listening.folder / "stranger", listening.address)
    done = client.run("push", source, "@data")
    assert (done.code, done.err.count("\n")) == (5, 1)
    assert f"deltasync known add {listening.address} KEY" in done.err
    assert listening.events() == []


def test_a_listener_with_another_key_is_told_nothing(listen: Start, source: Path) -> None:
    """5; it hears one message that means nothing to it."""
    listening = listen()
    client = listening.client("client", "data")
    other = Client(listening.folder / "other").key
    client.know(listening.address, other)
    done = client.run("push", source, "@data")
    assert (done.code, done.err.count("\n")) == (5, 1)
    assert f"did not prove that it holds the key {other}" in done.err
    listening.wait_for(lambda: listening.events("refused"))
    assert listening.events("session-begin") == []


@pytest.mark.parametrize(("grants", "place"), [([], "data"), ([], "nope"), (["look"], "data"), (["look"], "nope"), (["*"], "nope")])
def test_who_is_not_allowed_can_not_tell_what_there_is(listen: Start, source: Path, grants: list[str], place: str) -> None:
    """Not listed, not allowed, no such root: 5 with the same words, but for the name that was asked for."""
    listening = listen()
    client = listening.client("client", *grants)
    done = client.run("push", source, f"@{place}")
    expected = (
        f"deltasync: {listening.address} does not let this client use {place}: there, deltasync trust add {client.key} "
        f"--allow {place} would; or it shares nothing of that name\n"
    )
    assert done == Process(5, "", expected)
    (refused,) = listening.events("refused")
    assert (refused["key"], refused["root"]) == (client.key, place)


def test_nobody_listens(listen: Start, source: Path) -> None:
    """10, without a try too many."""
    listening = listen()
    client = listening.client("client", "data")
    assert listening.stop() == 0
    done = client.run("push", source, "@data")
    assert (done.code, done.err) == (10, f"deltasync: no connection to {listening.address}: Connection refused\n")


@pytest.mark.parametrize(
    ("banner", "code", "words"),
    [(b"SSH-2.0-OpenSSH_9\r\n", 12, 'no deltasync: it said "SSH-2.0-OpenSSH_9"'), (b"", 5, "did not prove"), (None, 30, "did not answer")],
)
def test_something_else_listens(tmp_path: Path, source: Path, banner: bytes | None, code: int, words: str) -> None:
    """Noise is 12, silence and an end 5, silence without an end 30; each is one line."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Client(tmp_path / "client", f"127.0.0.1:{server.getsockname()[1]}")
        client.know(client.address, Client(tmp_path / "other").key)
        pushing = client.start("push", "--timeout", "2", source, "@data")
        connected, _ = server.accept()
        with connected:
            connected.recv(1000)
            if banner is not None:
                connected.sendall(banner)
                connected.shutdown(socket.SHUT_WR)
            out, err = pushing.communicate(timeout=20)
    assert (pushing.returncode, out, err.count("\n")) == (code, "", 1)
    assert words in err


def test_a_grant_works_at_once(listen: Start, source: Path) -> None:
    """A running listener follows the list."""
    listening = listen()
    client = listening.client()
    assert client.run("push", f"{source}/", "@data").code == 5
    listening.trust(client, "data")
    assert client.run("push", f"{source}/", "@data").code == 0
    listening.command("trust", "remove", client.key)
    assert client.run("push", f"{source}/", "@data").code == 5


@pytest.mark.parametrize("narrower", [["data:ro"], ["look"], []])
def test_a_session_ends_with_its_grant(listen: Start, tmp_path: Path, narrower: list[str]) -> None:
    """Within two seconds of the change; the client is told why, and what is not carried any more is the grant and not the client."""
    listening = listen()
    client = listening.client("client", "data")
    other = listening.client("other", "data")
    pushes = [slowly(who, large(tmp_path / f"big{number}"), "@data") for number, who in enumerate((client, other))]
    listening.wait_for(lambda: len(listening.events("session-begin")) == 2)
    if narrower:
        listening.trust(client, *narrower)
    else:
        listening.command("trust", "remove", client.key)
    changed_at = monotonic()
    listening.wait_for(lambda: listening.events("session-end"))
    assert monotonic() - changed_at < 2
    _, err = pushes[0].communicate(timeout=20)
    assert (pushes[0].returncode, err) == (5, "deltasync: the listener has withdrawn what this client was allowed\n")
    assert pushes[1].poll() is None
    pushes[1].terminate()
    pushes[1].communicate(timeout=20)
    assert [path.name for path in (tmp_path / "root").iterdir() if not path.name.startswith(".deltasync~")] == []


def test_a_list_that_can_not_be_read_lets_nobody_in(listen: Start, source: Path) -> None:
    """Its sessions end too, and the log says what is wrong with it; a line that means nothing takes nothing from the others."""
    listening = listen()
    client = listening.client("client", "data")
    path = listening.home / "authorized_peers"
    content = path.read_text()
    path.chmod(0o666)
    assert client.run("push", f"{source}/", "@data").code == 5
    assert "others have access" in listening.events("trust-unclear")[-1]["why"]
    path.chmod(0o600)
    path.write_text(f"garbage\n{content}")
    assert client.run("push", f"{source}/", "@data").code == 0
    assert "line 1" in listening.events("trust-unclear")[-1]["why"]


def test_pairing_fills_both_sides_once(listen: Start, source: Path) -> None:
    """No key is carried by hand; the invitation is of no use to a second client."""
    listening = listen("--pair")
    client = Client(listening.folder / "client", listening.address)
    assert client.run("pair", listening.invitation) == Process(0, "", "")
    assert client.run("known", "list").out == f"{listening.key}\t{listening.address}\n"
    key, name, grants = listening.command("trust", "list").out.rstrip("\n").split("\t")
    assert (key, name, grants) == (client.key, socket.gethostname(), "*")
    assert client.run("push", f"{source}/", "@data").code == 0
    for again in (client, Client(listening.folder / "thief", listening.address)):
        done = again.run("pair", listening.invitation)
        assert (done.code, done.out, done.err.count("\n")) == (5, "", 1)
        assert "works once" in done.err
    assert listening.command("trust", "list").out.count("\n") == 1


def test_a_wrong_invitation_spoils_nothing(listen: Start) -> None:
    """Another token or another key is refused, and the right one still works."""
    listening = listen("--pair")
    other = Client(listening.folder / "other").key
    thief = Client(listening.folder / "thief", listening.address)
    address, _, rest = listening.invitation.rpartition("/")
    key, _, token = rest.partition("#")
    for wrong in (f"{address}/{key}#{other}", f"{address}/{other}#{token}"):
        assert thief.run("pair", wrong).code == 5
    assert thief.run("known", "list").out == ""
    assert Client(listening.folder / "client", listening.address).run("pair", listening.invitation).code == 0
    for malformed in ("", "x", f"{address}/{key}", f"{address}#{token}", f"host/{key}#{token}", f"{listening.invitation}x"):
        done = thief.run("pair", malformed)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert token not in done.err


def test_a_token_is_spent_also_where_it_can_not_be_written_down(listen: Start) -> None:
    """It works once, whatever happens."""
    listening = listen("--pair")
    path = listening.home / "authorized_peers"
    path.mkdir()
    client = Client(listening.folder / "client", listening.address)
    assert client.run("pair", listening.invitation).code == 5
    assert listening.events("pairing-failed") != []
    path.rmdir()
    assert client.run("pair", listening.invitation).code == 5
    assert client.run("known", "list").out == ""


@pytest.mark.parametrize(("place", "code"), [("@data", 0), ("@look", 5), ("@data/no/such/place", 11)])
def test_once_ends_with_the_first_session(listen: Start, source: Path, place: str, code: int) -> None:
    """Whoever is refused is no session; the exit code is the session's."""
    listening = listen("--once")
    stranger = listening.client("stranger")
    assert stranger.run("push", f"{source}/", "@data").code == 5
    client = listening.client("client", "*")
    assert client.run("push", f"{source}/", place).code == code
    assert listening.wait() == code
    assert client.run("push", f"{source}/", place).code == 10


def test_the_number_of_sessions_is_bounded(listen: Start, source: Path, tmp_path: Path) -> None:
    """Who comes too many is told so, and may come later."""
    listening = listen("--max-peers", "1")
    client = listening.client("client", "data")
    first = slowly(client, large(tmp_path / "big"), "@data")
    listening.wait_for(lambda: listening.events("session-begin"))
    done = client.run("push", f"{source}/", "@data")
    assert (done.code, done.err) == (
        10,
        "deltasync: the listener has 1 sessions already, which is its limit; try again later\n",
    )
    first.terminate()
    first.communicate(timeout=20)
    listening.wait_for(lambda: listening.events("session-end"))
    assert client.run("push", f"{source}/", "@data").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_gracefully(listen: Start, tmp_path: Path, number: signal.Signals) -> None:
    """0; the session under way is told, no file is half there, and no process is left."""
    listening = listen()
    client = listening.client("client", "data")
    pushing = slowly(client, large(tmp_path / "big"), "@data")
    listening.wait_for(lambda: listening.events("session-begin"))
    assert listening.stop(number) == 0
    _, err = pushing.communicate(timeout=20)
    assert pushing.returncode == 10
    assert "the listener was stopped" in err
    assert not (tmp_path / "root" / "big").exists()
    assert [event["event"] for event in listening.events()[-2:]] == ["stopping", "session-end"]
    with pytest.raises(ProcessLookupError):
        os.kill(listening.events("session-begin")[0]["session"], 0)


def test_systemd_is_told(listen: Start, tmp_path: Path) -> None:
    """That it is ready, and where, once; that it stops, while a session is told to end. Sessions have no way to say so themselves."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(tmp_path / "notify"))
        service.settimeout(20)
        listening = listen(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert service.recv(4096).decode() == f"READY=1\nSTATUS=listening on {listening.address}"
        pushing = slowly(listening.client("client", "data"), large(tmp_path / "big"), "@data")
        listening.wait_for(lambda: listening.events("session-begin"))
        session = listening.events("session-begin")[0]["session"]
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{session}/environ").read_bytes()
        assert listening.stop() == 0
        pushing.communicate(timeout=20)
        assert service.recv(4096) == b"STOPPING=1"
        service.setblocking(False)
        with pytest.raises(BlockingIOError):
            service.recv(4096)


def test_a_killed_listener_leaves_no_session(listen: Start, tmp_path: Path) -> None:
    """Nobody would look after it any more."""
    listening = listen()
    client = listening.client("client", "data")
    pushing = slowly(client, large(tmp_path / "big"), "@data")
    listening.wait_for(lambda: listening.events("session-begin"))
    session = listening.events("session-begin")[0]["session"]
    listening.wait_for(lambda: list((tmp_path / "root").iterdir()))
    listening.process.kill()
    listening.wait()
    _, err = pushing.communicate(timeout=30)
    assert pushing.returncode == 10, err

    def gone() -> bool:
        try:
            return Path(f"/proc/{session}/stat").read_text().split()[2] == "Z"
        except OSError:
            return True

    listening.wait_for(gone)


def test_two_pushes_to_one_root_never_mix_files(listen: Start, tmp_path: Path) -> None:
    """Each file is wholly the one's or the other's, small ones and large ones, and nothing is left lying about."""
    listening = listen()
    client = listening.client("client", "data")
    contents: list[dict[str, bytes]] = []
    for which in range(2):
        folder = tmp_path / f"from{which}"
        folder.mkdir()
        content = {f"small{n}": bytes([which]) * (1000 + n) for n in range(200)}
        content |= {f"large{n}": bytes([which]) * (3 << 20) for n in range(4)}
        for name, data in content.items():
            (folder / name).write_bytes(data)
        contents.append(content)
    pushes = [client.start("push", "-I", f"{tmp_path}/from{which}/", "@data") for which in range(2)]
    for pushing in pushes:
        _, err = pushing.communicate(timeout=60)
        assert (pushing.returncode, err) == (0, "")
    assert sorted(os.listdir(tmp_path / "root")) == sorted(contents[0])
    for name in contents[0]:
        assert (tmp_path / "root" / name).read_bytes() in (contents[0][name], contents[1][name])


def test_sessions_that_end_at_the_same_moment(listen: Start, source: Path) -> None:
    """The listener hears of all of them at once, and of each once."""
    listening = listen()
    client = listening.client("client", "data")
    pushes = [slowly(client, large(source / f"big{number}", 4), "@data") for number in range(4)]
    listening.wait_for(lambda: len(listening.events("session-begin")) == len(pushes))
    listening.process.send_signal(signal.SIGSTOP)
    sessions = [event["session"] for event in listening.events("session-begin")]
    for session, pushing in zip(sessions, pushes, strict=True):
        os.kill(session, signal.SIGKILL)
        pushing.kill()
        pushing.communicate(timeout=20)
    listening.wait_for(lambda: all(Path(f"/proc/{session}/stat").read_text().split()[2] == "Z" for session in sessions))
    listening.process.send_signal(signal.SIGCONT)
    listening.wait_for(lambda: len(listening.events("session-end")) == len(pushes))
    assert client.run("push", source / "file", "@data").code == 0


def test_plain_lines_are_as_the_contract_has_them(tmp_path: Path) -> None:
    """First where it listens and its key, then how to pair."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "DELTASYNC_HOME": str(tmp_path / "home")}
    words = ["listen", "--root", f"data={tmp_path}", "--bind", "127.0.0.1:0", "--pair"]
    with subprocess.Popen([sys.executable, "-m", "deltasync", *words], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline().split(), process.stdout.readline().split()
        process.terminate()
        assert process.wait(20) == 0
    assert (first[:2], first[3], len(first[4])) == (["listening", "on"], "key", 43)
    assert second[0] == "pair"
    assert second[1].startswith(f"{first[2]}/{first[4]}#")


def test_sockets_are_taken_over(tmp_path: Path, source: Path, listen: Start) -> None:
    """Those of `LISTEN_FDS`: connections that came before the listener are not lost. `--bind` does not go with them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = (
            "import os, sys; os.dup2(int(sys.argv.pop(1)), 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); "
            "os.execv(sys.executable, [sys.executable, '-m', 'deltasync', *sys.argv[1:]])"
        )
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "DELTASYNC_HOME": str(tmp_path / "home")}
        words = [sys.executable, "-c", code, str(server.fileno()), "listen", "--json", "--root", f"data={tmp_path / 'root'}"]
        refused = subprocess.run(
            [*words, "--bind", "127.0.0.1:0"], env=environment, pass_fds=[server.fileno()], capture_output=True, check=False, text=True
        )
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        client = Client(tmp_path / "client", f"127.0.0.1:{server.getsockname()[1]}")
        key = Client(tmp_path / "home").key
        client.know(client.address, key)
        assert Client(tmp_path / "home").run("trust", "add", client.key, "--allow", "data").code == 0
        pushing = client.start("push", f"{source}/", "@data")
        with subprocess.Popen(
            words, env=environment, pass_fds=[server.fileno()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            _, err = pushing.communicate(timeout=30)
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["port"] == server.getsockname()[1]
            process.terminate()
    assert (pushing.returncode, err) == (0, "")
    assert (tmp_path / "root" / "file").read_text() == "content\n"
