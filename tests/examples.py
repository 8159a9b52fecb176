"""The examples on the pages: found in the Markdown, run as one shell session, compared with the output printed beside them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Example", "blocks", "complaints", "examples", "matches", "run"]

SHELL_TIMEOUT_S: Final = 50.0
_END: Final = "-- end of example, status "


@dataclass(frozen=True, slots=True)
class Example:
    """One command on a page.

    Attributes:
        line: Where it stands on the page.
        command: What is typed; may have several lines.
        output: What the page shows beneath it; `""` for nothing. A line `...` stands for any lines, `...` in a line for any text.
        shown: Whether the reader sees it; what only prepares the session shows nothing and may print.
    """

    line: int
    command: str
    output: str
    shown: bool = True


def blocks(page: str, language: str) -> Iterator[tuple[int, str]]:
    """Find the fenced blocks of one language, each as the line of its first line and its text."""
    for found in re.finditer(rf"^```{re.escape(language)}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        yield page.count("\n", 0, found.start(1)) + 1, found[1]


def examples(page: str) -> list[Example]:
    """Find what is to be run, in order: each `$ ` line of the `console` blocks, and the comments that begin with `run`."""
    found = [
        Example(page.count("\n", 0, hidden.start(1)) + 1, hidden[1].rstrip("\n"), "", shown=False)
        for hidden in re.finditer(r"^<!-- run\n(.*?)^-->$", page, re.DOTALL | re.MULTILINE)
    ]
    for first_line, text in blocks(page, "console"):
        for part in re.finditer(r"^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            command = re.sub(r"^> ", "", part[1], flags=re.MULTILINE).rstrip("\n")
            found.append(Example(first_line + text.count("\n", 0, part.start()), command, part[2]))
    return sorted(found, key=lambda example: example.line)


def matches(shown: str, printed: str) -> bool:
    """Tell whether what was printed is what the page shows, `...` standing for anything."""
    lines = (r"(?:.*\n)*?" if line == "...\n" else re.escape(line).replace(r"\.\.\.", ".*") for line in shown.splitlines(keepends=True))
    return re.fullmatch("".join(lines), printed) is not None


def run(session: list[Example], cwd: Path, environment: Mapping[str, str]) -> list[tuple[str, int | None]]:
    """Run the examples in one shell, so that a `cd` or `$?` reaches the next.

    Returns: For each what it printed, errors included, and its status; None for what the shell never came to.
    """
    script = "".join(f"{e.command}\n(code=$?; printf '%s%d\\n' {shlex.quote(_END)} $code; exit $code)\n" for e in session)
    result = subprocess.run(
        ["sh", "-c", script],
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SHELL_TIMEOUT_S,
    )
    *ended, rest = re.split(rf"{re.escape(_END)}(\d+)\n", result.stdout)
    reports: list[tuple[str, int | None]] = [(printed, int(status)) for printed, status in zip(ended[::2], ended[1::2], strict=True)]
    return reports + [(rest, None)] * (len(session) - len(reports))


def complaints(session: list[Example], reports: list[tuple[str, int | None]]) -> Iterator[str]:
    """Say where the page and what happened differ: in the output, or in a failure that the page does not look at with `echo $?`."""
    for example, (printed, status), following in zip(session, reports, [*session[1:], None], strict=True):
        looked_at = following is not None and following.command == "echo $?"
        if status is None or (status != 0 and not looked_at):
            yield f"line {example.line}: {example.command}\nended with status {status}, and printed:\n{printed}"
        elif example.shown and not matches(example.output, printed):
            yield f"line {example.line}: {example.command}\nshould print:\n{example.output}but printed:\n{printed}"
