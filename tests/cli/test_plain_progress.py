"""Progress in lines, for what is no terminal."""

from __future__ import annotations

from deltasync.cli.plain_progress import PlainProgress
from deltasync.engine.job import Progress


def test_a_line_a_second_and_one_at_the_end() -> None:
    """However often the engine tells, the lines are few, and the last one says that all is done."""
    lines: list[str] = []
    now = [0.0]
    display = PlainProgress(lines.append, lambda: now[0])
    progress = Progress(files_total=100, bytes_total=100)
    for step in range(1, 31):
        now[0] = step / 10
        display.show(progress._replace(files_done=step))
    assert len(lines) == 3
    done = progress._replace(files_done=100, bytes_done=100, total_known=True)
    display.show(done)
    display.show(done)
    display.clear()
    assert len(lines) == 4
    assert lines[-1].startswith("100/100 files")
