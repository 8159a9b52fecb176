"""Whole commands on real trees, both ends local."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Process, command, start


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a small tree `src`."""
    source = tmp_path / "src"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_bytes(b"a" * 1000)
    (source / "sub" / "b").write_bytes(b"b")
    (source / "l").symlink_to("a")
    os.link(source / "a", source / "z")
    return tmp_path


def _events(done: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def _names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_a_slash_means_the_contents(place: Path) -> None:
    """`src` gives `dst/src`, `src/` its contents; nothing is said when all goes well."""
    assert command("push", "src", "one", cwd=place) == Process(0, "", "")
    assert command("push", "src/", "two", cwd=place) == Process(0, "", "")
    assert command("pull", "src/", "three", cwd=place) == Process(0, "", "")
    assert _names(place / "one" / "src") == _names(place / "two") == _names(place / "three") == _names(place / "src")


def test_items_are_those_of_rsync(place: Path) -> None:
    """A first push names everything, a second one nothing, a change only itself."""
    first = command("push", "-iH", "src/", "dst", cwd=place)
    assert set(first.out.splitlines()) == {
        "cd+++++++++ ./",
        "hf+++++++++ a => z",
        "cL+++++++++ l -> a",
        "cd+++++++++ sub/",
        ">f+++++++++ sub/b",
        ">f+++++++++ z",
    }
    assert command("push", "-iH", "src/", "dst", cwd=place) == Process(0, "", "")
    (place / "src" / "sub" / "b").write_bytes(b"longer")
    (place / "dst" / "extra").mkdir()
    changed = command("push", "-iH", "--delete", "src/", "dst", cwd=place)
    assert set(changed.out.splitlines()) == {".d..t...... ./", ">f.st...... sub/b", "*deleting   extra/"}
    assert not (place / "dst" / "extra").exists()


def test_a_dry_run_says_and_does_nothing(place: Path) -> None:
    """Without `-i` it is silent, with it it says what would be done; nothing is written."""
    assert command("push", "-n", "src/", "dst", cwd=place) == Process(0, "", "")
    assert ">f+++++++++ a" in command("push", "-ni", "src/", "dst", cwd=place).out
    assert not (place / "dst").exists()


def test_json_sums_up(place: Path) -> None:
    """Items if asked for, the figures at the end."""
    done = command("push", "--json", "-i", "src/", "dst", cwd=place)
    *items, summary = _events(done)
    assert {item["path"] for item in items} == {".", "a", "l", "sub", "sub/b", "z"}
    assert summary["files_sent"] == 3
    assert summary["bytes_total"] == summary["literal_bytes"] == 2001
    assert (summary["channel"], summary["cipher"], summary["exit_code"], summary["problems"]) == ("local", "none", 0, [])


def test_filters_choose(place: Path) -> None:
    """The first rule that matches counts."""
    command("push", "--include", "a", "--exclude", "*/", "--exclude", "?", "src/", "dst", cwd=place)
    assert _names(place / "dst") == {"a"}


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["nope", "dst"], 23, "deltasync: nope: "),
        (["src", "no/such/dst"], 11, "deltasync: no/such/dst: "),
        (["--exclude-from", "nope", "src", "dst"], 11, "deltasync: nope: "),
        (["src/", "src/a"], 11, "deltasync: src/a: "),
    ],
)
def test_a_failure_names_its_path(words: list[str], code: int, line: str, place: Path) -> None:
    """One line on stderr, the exit code of the contract, and a summary that has it too."""
    done = command("push", "--json", *words, cwd=place)
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert done.err.startswith(line)
    assert _events(done)[-1]["exit_code"] == code


def test_a_deletion_guard_is_25(place: Path) -> None:
    """`--max-delete` and an empty source hold back; the summary lists it."""
    command("push", "src/", "dst", cwd=place)
    (place / "empty").mkdir()
    done = command("push", "--json", "--delete", "empty/", "dst", cwd=place)
    assert (done.code, len(_events(done)[-1]["problems"])) == (25, 1)
    assert _names(place / "dst") == _names(place / "src")
    assert command("push", "--delete", "--force-empty", "empty/", "dst", cwd=place).code == 0
    assert _names(place / "dst") == set()


def test_names_of_any_bytes(place: Path) -> None:
    """They are escaped for people, and whole for scripts."""
    odd = os.fsencode(place / "src" / "sub") + b"/\xff\n"
    with open(odd, "wb"):
        pass
    assert "sub/\\xff\\x0a\n" in command("push", "-i", "src/", "dst", cwd=place).out
    events = _events(command("push", "--json", "-n", "src/sub/", "dst2", cwd=place))
    assert {"event": "item", "code": ">f+++++++++", "path": "\\xff\n", "path_b64": "/wo="} in events


def test_local_names_that_look_like_places(place: Path) -> None:
    """`./a:b` is a file here, and so is a name that begins with a tilde."""
    (place / "a:b").write_bytes(b"1")
    (place / "~").write_bytes(b"2")
    assert command("push", "./a:b", "~", "dst/", cwd=place).code == 0
    assert _names(place / "dst") == {"a:b", "~"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_20(number: signal.Signals, place: Path) -> None:
    """One line, a summary of what was done, and nothing of the receiver's own is left for small files."""
    (place / "big").write_bytes(os.urandom(1 << 20))
    process = start("push", "--json", "--progress", "--no-compress", "--bwlimit", "200", place / "big", place / "dst")
    with process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith((b"0/1 files", b"0/1+ files"))
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 20
    assert err.splitlines()[-1] == b"deltasync: interrupted"
    summary = json.loads(out.splitlines()[-1])
    assert summary["exit_code"] == 20
    assert (summary["files_total"], summary["files_sent"], summary["bytes_total"]) == (1, 0, 1 << 20)
    assert summary["literal_bytes"] < 1 << 20
    assert summary["bytes_sent"] > summary["literal_bytes"]
    assert not [name for name in os.listdir(place) if name.startswith(".deltasync~")]


def test_a_second_signal_ends_at_once(place: Path) -> None:
    """Also when the engine does not listen: 20, and still a summary."""
    code = (
        "import sys, os, deltasync.engine.run as run\n"
        "from deltasync.cli.main import main\n"
        "def deaf(job, observer, stop, ahead):\n"
        "    observer.note('ready')\n"
        "    stop.wait(); observer.note('asked')\n"
        "    while True: os.read(0, 1)\n"
        "run.run = deaf\n"
        "main(['push', '--json', 'a', 'b'])"
    )
    process = start(code=code)
    with process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"deltasync: ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == b"deltasync: asked\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 20
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["exit_code"] == 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("option", ["--exclude-from", "--log-file"])
def test_a_signal_ends_the_wait_for_a_pipe(option: str, number: signal.Signals, place: Path) -> None:
    """A FIFO that nobody opens at its other end holds no run that is to end: 20, with a summary, and nothing done."""
    os.mkfifo(place / "pipe")
    code = (
        "import sys, deltasync.cli.transfer as transfer\n"
        "from deltasync.cli.main import main\n"
        "make = transfer.make_job\n"
        "def told(*words):\n"
        "    print('ready', file=sys.stderr, flush=True)\n"
        "    return make(*words)\n"
        "transfer.make_job = told\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    process = start("push", "--json", option, place / "pipe", place / "src", place / "dst", code=code)
    with process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (20, b"deltasync: interrupted\n")
    assert json.loads(out)["exit_code"] == 20
    assert not (place / "dst").exists()


def test_a_signal_ends_a_run_that_nobody_reads() -> None:
    """Items for a full pipe do not hold a run that is to end."""
    code = (
        "import sys, deltasync.engine.run as run\n"
        "from deltasync.cli.main import main\n"
        "from deltasync.errors import Interrupted\n"
        "def talkative(job, observer, stop, ahead):\n"
        "    for number in range(20_000):\n"
        "        observer.item('>f+++++++++', b'%d' % number, b'')\n"
        "    raise Interrupted('interrupted')\n"
        "run.run = talkative\n"
        "sys.exit(main(['push', '-i', 'a', 'b']))"
    )
    process = start(code=code)
    with process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b">"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 20
        assert process.stderr is not None
        assert process.stderr.read() == b"deltasync: interrupted\n"


STOPPED_EARLY = """
import importlib.abc, os, signal, sys
from deltasync.cli.main import main

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.{number})

sys.modules.pop("{module}", None)
sys.meta_path.insert(0, Interrupting())
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("module", ["deltasync.cli.transfer", "datetime", "deltasync.cli.options"])
def test_a_signal_while_the_command_is_still_loading_ends_in_a_summary_too(module: str, number: str, tmp_path: Path) -> None:
    """Nothing is done, 20. An exception within `import datetime` would be lost in msgspec, and would make it crash later."""
    (tmp_path / "a").write_bytes(b"content")
    process = start("push", "--json", tmp_path / "a", tmp_path / "b", code=STOPPED_EARLY.format(module=module, number=number))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (20, b"deltasync: interrupted\n")
    assert json.loads(out)["exit_code"] == 20
    assert os.listdir(tmp_path) == ["a"]
