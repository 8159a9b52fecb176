"""What a run says: which line goes where, under which options; the engine only pretends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deltasync.cli.main import main
from deltasync.engine.job import Job, Observer, Progress, Summary
from deltasync.errors import ConnectionLost, DestinationError, ExitCode, Interrupted, PeerFailure, Problem
from tests.cli.commands import FakeEngine
from tests.sources import PROJECT

ITEMS = ((">f+++++++++", b"new", b""), (".f...p.....", b"mode", b""), ("cL+++++++++", b"l", b"to"), ("*deleting", b"d/", b""))


def _busy(job: Job, observer: Observer, stop: threading.Event) -> Summary:
    for item in ITEMS:
        observer.item(*item)
    problem = Problem(b"a\xff", "it can't be read: no")
    observer.problem(problem)
    observer.note("something to know")
    observer.progress(Progress(files_total=3, bytes_total=4096, files_done=3, bytes_done=4096, total_known=True))
    return Summary(
        files_total=4, bytes_total=1000, bytes_sent=100, bytes_received=100, elapsed_s=1.0, problems=(problem,), exit_code=ExitCode.PARTIAL
    )


ITEMIZED = [">f+++++++++ new", ".f...p..... mode", "cL+++++++++ l -> to", "*deleting   d/"]
NAMED = ["new", "l -> to", "deleting d/"]
TOTALS = ["", "sent 100 bytes  received 100 bytes  200.00 bytes/sec", "total size is 1,000  speedup is 5.00"]
PROBLEM = "deltasync: a\\xff: it can't be read: no"
NOTE = "deltasync: something to know"
PROGRESS = "3/3 files  4.00 KiB/4.00 KiB  0 B/s  0:00:00 left"


@pytest.mark.parametrize(
    ("words", "out", "err"),
    [
        ("", [], [PROBLEM, NOTE]),
        ("-n", [], [PROBLEM, NOTE]),
        ("-i", ITEMIZED, [PROBLEM, NOTE]),
        ("-ni", ITEMIZED, [PROBLEM, NOTE]),
        ("-v", NAMED + TOTALS, [PROBLEM, NOTE]),
        ("-vi", ITEMIZED + TOTALS, [PROBLEM, NOTE]),
        ("-nv", [*NAMED, *TOTALS[:-1], TOTALS[-1] + " (DRY RUN)"], [PROBLEM, NOTE]),
        ("-q", [], [PROBLEM]),
        ("-qiv --stats --progress", [], [PROBLEM]),
        ("--progress", [], [PROBLEM, NOTE, PROGRESS]),
        ("-P", [], [PROBLEM, NOTE, PROGRESS]),
        ("-P --no-progress", [], [PROBLEM, NOTE]),
        ("--no-progress --progress", [], [PROBLEM, NOTE, PROGRESS]),
    ],
)
def test_lines_for_people(
    words: str, out: list[str], err: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was asked for on stdout; problems, notes and progress on stderr; the summary's code is the exit code."""
    FakeEngine(_busy).put_in_place(monkeypatch)
    assert main(["push", *words.split(), "a", "b"]) == 23
    said = capfd.readouterr()
    assert said.out.splitlines() == out
    assert said.err.splitlines() == err


def test_stats_are_a_block(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Figures, then the totals."""
    FakeEngine(_busy).put_in_place(monkeypatch)
    main(["push", "--stats", "a", "b"])
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "Number of files: 4"
    assert lines[-3:] == TOTALS


@pytest.mark.parametrize(
    ("words", "items"), [("", 0), ("-v --stats", 0), ("-i", 4), ("-n", 4), ("-iq", 4)], ids=["plain", "verbose", "items", "dry", "quiet"]
)
def test_json_is_all_there_is_on_stdout(words: str, items: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Items with `-i` or `-n`, and the summary last; `-q` takes nothing from a script."""
    FakeEngine(_busy).put_in_place(monkeypatch)
    assert main(["push", "--json", *words.split(), "a", "b"]) == 23
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["item"] * items + ["summary"]
    assert events[-1]["exit_code"] == 23
    assert events[-1]["files_total"] == 4
    if items:
        assert [event["path"] for event in events[:-1]] == ["new", "mode", "l", "d"]


COUNTED = {
    "files_total": 9, "files_sent": 8, "entries_changed": 7, "files_deleted": 6, "bytes_total": 5000, "bytes_sent": 400,
    "bytes_received": 300, "literal_bytes": 200, "matched_bytes": 100, "resent_whole": 1,
}  # fmt: skip
REACHED = Summary(
    **COUNTED,  # type: ignore[arg-type]
    update_modes={"clone": 1, "stage": 2, "inplace": 3},
    elapsed_s=1e9,
    channel="ssh",
    cipher="C",
    engine="E",
)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DestinationError("/x: the destination can't be made"), 11, "deltasync: /x: the destination can't be made"),
        (ConnectionLost("h: lost"), 10, "deltasync: h: lost"),
        (Interrupted("interrupted"), 20, "deltasync: interrupted"),
        (PeerFailure(5, "not allowed"), 5, "deltasync: not allowed"),
        (RuntimeError("oh"), 12, "deltasync: internal error: RuntimeError: oh; please report it"),
    ],
)
def test_a_run_that_fails_has_a_summary(
    error: Exception, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With what the engine had done until then, the problems, the time, and the exit code of the error, which is told in one line."""

    def fails(job: Job, observer: Observer, stop: threading.Event) -> Summary:
        observer.problem(Problem(b"p", "e"))
        observer.broken_off(REACHED)
        raise error

    monkeypatch.delenv("DELTASYNC_DEBUG", raising=False)
    FakeEngine(fails).put_in_place(monkeypatch)
    assert main(["push", "--json", "a", "h:b"]) == code
    said = capfd.readouterr()
    summary = json.loads(said.out)
    assert summary["problems"] == [{"path": "p", "error": "e"}]
    assert (summary["exit_code"], summary["channel"]) == (code, "ssh")
    assert {name: summary[name] for name in COUNTED} == COUNTED
    assert summary["update_modes"] == REACHED.update_modes
    assert (summary["cipher"], summary["engine"]) == (REACHED.cipher, REACHED.engine)
    assert 0 < summary["elapsed_s"] < 1000
    assert said.err.splitlines() == ["deltasync: p: e", line]


@pytest.mark.parametrize(("words", "named"), [("", 20), ("-q", 20), ("-v", 50), ("--json", 20)])
def test_paths_that_fail_for_a_reason_not_their_own_are_counted(
    words: str, named: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A full disk is no reason for a thousand lines; what failed by itself is named in any case, and the log and `--json` name all."""

    def full(job: Job, observer: Observer, stop: threading.Event) -> Summary:
        problems = [Problem(b"%d" % number, "no space", ExitCode.LOCAL_IO) for number in range(50)]
        problems += [Problem(b"own %d" % number, "no access") for number in range(50)]
        for problem in problems:
            observer.problem(problem)
        return Summary(problems=tuple(problems), exit_code=ExitCode.LOCAL_IO)

    FakeEngine(full).put_in_place(monkeypatch)
    assert main(["push", *words.split(), "--log-file", str(tmp_path / "log"), "a", "b"]) == 11
    said = capfd.readouterr()
    lines = said.err.splitlines()
    assert lines[: named + 50] == [
        *(f"deltasync: {number}: no space" for number in range(named)),
        *(f"deltasync: own {number}: no access" for number in range(50)),
    ]
    assert lines[named + 50 :] == (["deltasync: 30 more paths: no space; -v, --json and --log-file name them"] if named < 50 else [])
    assert (tmp_path / "log").read_text().count("no space\n") == 50
    if words == "--json":
        assert len(json.loads(said.out)["problems"]) == 100


def test_the_log_holds_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Items, problems, notes and totals, each with time and process, whatever is shown; a second run is appended."""
    engine = FakeEngine(_busy).put_in_place(monkeypatch)
    for _ in range(2):
        assert main(["push", "-q", "--log-file", str(tmp_path / "log"), "a", "b"]) == 23
    assert all(job.settings.itemize for job in engine.jobs)
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    stamp = re.compile(rf"\d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d \[{os.getpid()}\] (.*)")
    found = [stamp.fullmatch(line) for line in lines]
    assert [match[1] for match in found if match] == [*ITEMIZED, PROBLEM, NOTE, *TOTALS[1:]] * 2
    assert capfd.readouterr() == ("", 2 * (PROBLEM + "\n"))


def test_a_log_that_can_not_be_written_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before anything is done: 11, with a summary."""
    engine = FakeEngine(_busy).put_in_place(monkeypatch)
    assert main(["push", "--json", "--log-file", str(tmp_path / "no" / "log"), "a", "b"]) == 11
    said = capfd.readouterr()
    assert engine.jobs == []
    assert json.loads(said.out)["exit_code"] == 11
    assert "the log can't be written" in said.err


def test_a_run_that_ends_before_the_engine_has_a_summary_of_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where it would have gone is known all the same."""

    def fails(job: Job, observer: Observer, stop: threading.Event) -> Summary:
        raise Interrupted("interrupted")

    FakeEngine(fails).put_in_place(monkeypatch)
    assert main(["push", "--json", "a", "h:b"]) == 20
    summary = json.loads(capfd.readouterr().out)
    assert (summary["channel"], summary["cipher"], summary["exit_code"]) == ("ssh", "none", 20)
    assert {name: summary[name] for name in COUNTED} == dict.fromkeys(COUNTED, 0)


@pytest.mark.parametrize("words", [["-i"], ["--json", "-i"], ["-v", "--stats"]])
def test_a_reader_that_leaves_is_no_failure(words: list[str], tmp_path: Path) -> None:
    """`| head` ends quietly, and the run does its work all the same."""
    (tmp_path / "src").mkdir()
    for number in range(2000):
        (tmp_path / "src" / f"{number}").write_bytes(b"")
    script = '"$0" -m deltasync push "$@" src/ dst | head -n 1; test "$(ls dst | wc -l)" = 2000'
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


def test_output_that_is_lost_is_told(tmp_path: Path) -> None:
    """A full disk behind stdout is exit 11, though the files are where they should be."""
    (tmp_path / "a").write_bytes(b"a")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "deltasync", "push", "-i", str(tmp_path / "a"), str(tmp_path / "b")],
            cwd=PROJECT, stdout=full, stderr=subprocess.PIPE, check=False, timeout=30,
        )  # fmt: skip
    assert done.returncode == 11
    assert done.stderr == b"deltasync: standard output can't be written to: No space left on device\n"
    assert (tmp_path / "b").read_bytes() == b"a"


@pytest.mark.parametrize("words", [["--json"], ["--json", "-i"], ["--json", "-n"]])
def test_a_summary_that_is_lost_is_told_once(words: list[str], tmp_path: Path) -> None:
    """A script that never gets its last line learns of it by the exit code, also where that line is the first."""
    (tmp_path / "a").write_bytes(b"a")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "deltasync", "push", *words, str(tmp_path / "a"), str(tmp_path / "b")],
            cwd=PROJECT, stdout=full, stderr=subprocess.PIPE, check=False, timeout=30,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (11, b"deltasync: standard output can't be written to: No space left on device\n")
