"""What the pages show is what happens: every example is run and compared, every link leads somewhere."""

from __future__ import annotations

import ast
import errno
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.examples import Example, blocks, complaints, examples, matches, run
from tests.sources import PROJECT, package_modules
from tests.sshd import Sshd, make_key

PAGES: Final = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
WITH_EXAMPLES: Final = [page for page in PAGES if examples(page.read_text(encoding="utf-8"))]


def page_id(page: Path) -> str:
    """Name a page as the clone does."""
    return str(page.relative_to(PROJECT))


COMMAND: Final = f'PYTHONPATH={shlex.quote(str(PROJECT))} exec {shlex.quote(sys.executable)} -m deltasync "$@"'


def write_command(path: Path, line: str) -> None:
    """Make an executable shell script of one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


def reader_environment(folder: Path) -> dict[str, str]:
    """Make a home directory of a reader's own, and the environment in which `deltasync` is this work tree's."""
    home, commands = folder / "home", folder / "bin"
    home.mkdir()
    write_command(commands / "deltasync", COMMAND)
    path = os.pathsep.join([str(commands), os.environ["PATH"]])
    return {"HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def add_far_end(folder: Path, environment: dict[str, str], sshd: Sshd) -> None:
    """Let the reader reach a host `server` by SSH, whose home is another directory, with deltasync installed as the README says.

    The pages find the server's home in `$FAR_HOME`, its `authorized_keys` in `$AUTHORIZED_KEYS`.
    """
    far_home = folder / "far"
    write_command(far_home / ".deltasync" / "bin" / "deltasync", COMMAND)
    make_key(folder / "id")
    start = f'cd {far_home} && HOME={far_home} exec sh -c \\"$SSH_ORIGINAL_COMMAND\\"'
    authorized = sshd.directory / "authorized_keys"
    with authorized.open("a", encoding="utf-8") as keys:
        keys.write(f'restrict,command="{start}" {(folder / "id.pub").read_text(encoding="utf-8")}')
    alias = ["Host server", "HostName 127.0.0.1", f"Port {sshd.port}", "Match all"]
    config = sshd.config(folder, identity=str(folder / "id"), options=alias)
    # ssh looks for its configuration in the home that the system knows, whatever HOME says.
    write_command(folder / "bin" / "ssh", f'exec {shutil.which("ssh")} -F {config} "$@"')
    environment |= {"FAR_HOME": str(far_home), "AUTHORIZED_KEYS": str(authorized)}


def needs(page: Path) -> list[pytest.MarkDecorator]:
    """Tell what a page needs to be run."""
    return [pytest.mark.needs("sshd", "ssh")] if "server:" in page.read_text(encoding="utf-8") else []


@pytest.mark.parametrize("page", [pytest.param(page, marks=needs(page), id=page_id(page)) for page in WITH_EXAMPLES])
def test_every_example_does_what_the_page_shows(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The commands of a page, typed one after the other in a fresh home, print what the page prints."""
    environment = reader_environment(tmp_path)
    if needs(page):
        add_far_end(tmp_path, environment, request.getfixturevalue("sshd"))
    session = examples(page.read_text(encoding="utf-8"))
    assert "\n".join(complaints(session, run(session, tmp_path / "home", environment))) == ""


def test_no_example_escapes_being_run() -> None:
    """What looks like something to type stands in a `console` block, which is run, or makes an environment, as CI does."""
    allowed = {"console", "sh", "text"}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"^```(\w*)$", text, re.MULTILINE)) - {""} <= allowed, page
        assert text.count("```") % 2 == 0, page
        for _, block in blocks(text, "sh"):
            assert block.startswith("python3 -m venv "), f"{page}: only what makes an environment is left to .ci/run"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    """A relative link names a file of the clone, and a fragment a heading in it."""
    broken = [link for link in links(page.read_text(encoding="utf-8")) if not leads_somewhere(page, link)]
    assert broken == []


def test_every_page_is_linked_from_the_index() -> None:
    """A reader who starts at docs/index.md finds every page."""
    linked = set(links((PROJECT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert {page.name for page in PAGES if page.parent.name == "docs"} - {"index.md"} <= linked


def links(text: str) -> Iterator[str]:
    """Find the targets of the links that stay within the clone."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def leads_somewhere(page: Path, link: str) -> bool:
    """Tell whether the file is there, and the heading in it."""
    name, _, fragment = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists() or not fragment:
        return target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return fragment in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGE: Final = """# Page
<!-- run
printf one > file
-->
Text.
```console
$ cat file; echo
one
$ printf '%s\\n' a b c
a
...
$ for x in 1 2; do
>   echo $x
> done
1
2
```
"""


def test_examples_are_found_in_order_with_their_lines() -> None:
    """Hidden preparation, commands of one and of several lines, and their output are told apart."""
    assert examples(PAGE) == [
        Example(3, "printf one > file", "", shown=False),
        Example(7, "cat file; echo", "one\n"),
        Example(9, "printf '%s\\n' a b c", "a\n...\n"),
        Example(12, "for x in 1 2; do\n  echo $x\ndone", "1\n2\n"),
    ]


def test_a_true_page_has_no_complaints(tmp_path: Path) -> None:
    """Output that is as shown, `...` included, passes."""
    session = examples(PAGE)
    assert list(complaints(session, run(session, tmp_path, os.environ))) == []


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("$ echo one\ntwo\n", "line 2: echo one\nshould print:\ntwo\nbut printed:\none\n"),
        ("$ echo one\n", "line 2: echo one\nshould print:\nbut printed:\none\n"),
        ("$ echo gone >&2; false\ngone\n", "line 2: echo gone >&2; false\nended with status 1, and printed:\ngone\n"),
        ("$ if\n", "line 2: if\nended with status None"),
        ("$ exit 0\n", "line 2: exit 0\nended with status None"),
        ("$ false\n$ echo $?\n0\n", "line 3: echo $?\nshould print:\n0\nbut printed:\n1\n"),
    ],
)
def test_a_false_page_is_complained_about(block: str, complaint: str, tmp_path: Path) -> None:
    """Wrong output, output where none is shown, a failure that is not looked at, and a shell that stops are named with their line."""
    session = examples(f"```console\n{block}```\n")
    assert "".join(complaints(session, run(session, tmp_path, os.environ))).startswith(complaint)


def test_an_expected_failure_is_shown_by_looking_at_the_status(tmp_path: Path) -> None:
    """A command may fail when the next one shows its status, and what it wrote to standard error is compared too."""
    session = examples("```console\n$ echo oops >&2; (exit 5)\noops\n$ echo $?\n5\n```\n")
    assert list(complaints(session, run(session, tmp_path, os.environ))) == []


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nd\n", True),
        ("took ... s\n", "took 12.5 s\n", True),
        ("...\n", "", True),
        ("a ... c\n", "a b\nc\n", False),
        ("a\n...\nd\n", "a\nb\n", False),
        ("a.b\n", "acb\n", False),
    ],
)
def test_an_ellipsis_stands_for_lines_or_for_text_within_a_line(shown: str, printed: str, *, same: bool) -> None:
    """`...` alone is any lines, also none; within a line it is any text of that line."""
    assert matches(shown, printed) is same


MESSAGES: Final = "docs/troubleshooting.md"
SAID_BY_OTHERS: Final = {os.strerror(number) for number in errno.errorcode}
"""Messages of the system, which stand in no module of the package."""


def quoted_messages(page: str) -> list[str]:
    """Find the messages that a page explains: what stands in backticks before the colon of a list item."""
    return [message for item in re.findall(r"^- ((?:`[^`]+`(?:, )?)+):", page, re.MULTILINE) for message in re.findall(r"`([^`]+)`", item)]


def constant_parts(message: str) -> list[str]:
    """Split a message at what differs from case to case: the page writes it in capital letters, or as `…`."""
    parts = (part.strip(' "') for part in re.split(r"\b(?:HOST|REASON|NOISE|N|M)\b|…", message))
    return [part for part in parts if len(part) > 1]


def test_every_message_that_is_explained_is_one_that_is_said() -> None:
    """Who looks for the line on the screen finds it on the page in the same words: each part of it stands in a text of the package."""
    constants = (node.value for module in package_modules() for node in ast.walk(module.tree()) if isinstance(node, ast.Constant))
    said = [value for value in constants if isinstance(value, str)]
    messages = quoted_messages((PROJECT / MESSAGES).read_text(encoding="utf-8"))
    assert len(messages) > 20
    unsaid = [m for m in messages if m not in SAID_BY_OTHERS and not all(any(part in text for text in said) for part in constant_parts(m))]
    assert unsaid == []


def test_every_test_that_a_promise_names_is_there() -> None:
    """Each test that docs/security.md names stands in the file that it names, and each promise of the list names at least one."""
    page = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
    promises = [item for item in re.findall(r"^- .*\n(?:  .*\n)*", page.split("## What is not promised")[0], re.MULTILINE) if item]
    assert [item for item in promises if "Tests: `" not in item] == []
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    missing = [name for file, name in named if f"def {name}(" not in (PROJECT / file).read_text(encoding="utf-8")]
    assert len(named) > 20
    assert missing == []
