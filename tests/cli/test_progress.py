"""Progress on a terminal: a real one, as far as the program can tell."""

from __future__ import annotations

import errno
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deltasync.cli.progress import TerminalProgress
from deltasync.engine.job import Progress
from tests.sources import PROJECT


def _all_of(terminal: int) -> bytes:
    """Read what was written on the other side until that is closed by all."""
    written = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError as error:
            # What Linux says when the other side is closed and all is read.
            if error.errno != errno.EIO:
                raise
            return written
        if not data:
            return written
        written += data


def _on_terminal(*words: str, term: str = "xterm") -> tuple[int, bytes]:
    """Run the command with a terminal for its output; return the exit code and all that was written."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "TERM": term, "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-m", "deltasync", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    written = _all_of(ours)
    os.close(ours)
    return process.wait(30), written


def _tree(tmp_path: Path) -> Path:
    source = tmp_path / "src"
    source.mkdir()
    for number in range(5):
        (source / f"f\x1b{number}").write_bytes(os.urandom(1000))
    return source


def test_a_terminal_sees_progress_and_items_unharmed(tmp_path: Path) -> None:
    """Files and bytes are shown; the itemized lines are whole; in the end the display is gone and the cursor back."""
    code, written = _on_terminal("push", "-i", str(_tree(tmp_path)), str(tmp_path / "dst"))
    assert code == 0
    assert b"files" in written
    assert b"\x1b[?25h" in written
    for number in range(5):
        assert f">f+++++++++ src/f\\x1b{number}\r\n".encode() in written
    assert written.rstrip().endswith(b"\x1b[2K")


def test_no_progress_is_none(tmp_path: Path) -> None:
    """With `--no-progress`, with `-q` and on a terminal that can't draw nothing is shown; the later option counts."""
    source = str(_tree(tmp_path))
    for number, (words, term) in enumerate([(["-P", "--no-progress"], "xterm"), (["-q", "--progress"], "xterm"), ([], "dumb")]):
        assert _on_terminal("push", *words, source, str(tmp_path / f"dst{number}"), term=term) == (0, b"")


def test_names_can_not_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file in hand is shown escaped, and square brackets are no markup."""
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as stream:
        display = TerminalProgress(stream, lambda: 0.0)
        display.show(Progress(current=b"\x1b]0;title\x07[red]x"))
        display.show(Progress(current=b"\x1b]0;title\x07[red]x"))
        display.clear()
        display.clear()
    text = _all_of(ours).decode()
    os.close(ours)
    assert "\x1b]0" not in text
    assert "\\x1b]0;title\\x07[red]x" in text


def _drawn(monkeypatch: pytest.MonkeyPatch, columns: int, progress: Progress) -> str:
    """Return the first line drawn on a terminal of that width, without its colours."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as stream:
        display = TerminalProgress(stream, lambda: 0.0)
        display.show(progress)
        display.clear()
    text = _all_of(ours).decode()
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()[0]


FAR_ON = Progress(files_done=20_000, files_total=30_000, bytes_done=967 << 10, bytes_total=10 << 20, total_known=True)


@pytest.mark.parametrize(("columns", "bar"), [(100, 20), (80, 15), (72, 5), (66, 0)])
def test_the_bar_makes_room_for_the_figures(columns: int, bar: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal of 80 columns the time left is there whole: the bar is what gets shorter, and goes."""
    line = _drawn(monkeypatch, columns, FAR_ON)
    assert line.endswith("time left unknown")
    assert len(re.findall("[━╸╺]", line)) == bar


def test_a_very_narrow_terminal_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the figures have room, they are cut: a line never wraps."""
    line = _drawn(monkeypatch, 30, FAR_ON)
    assert line == "20,000/30,000 files  967 KiB/…"
