"""The line that starts the far end works under every login shell, and finds deltasync where it may be."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from deltasync.channel.remote_command import NOT_FOUND_CODE, NOT_FOUND_LINE, remote_words

SHELLS = [
    "bash",
    "dash",
    *(pytest.param(shell, marks=pytest.mark.needs(shell)) for shell in ("zsh", "fish", "tcsh")),
]
ODD = 'it\'s "a" $(home)! \\ é'


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """A login shell."""
    found: str | None = shutil.which(request.param)
    assert found
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory of a name that is hard on shells; its `path` directory is all there is on the PATH."""
    home = tmp_path / ODD
    (home / "path").mkdir(parents=True)
    (home / "path" / "sh").symlink_to("/bin/sh")
    return home


def install(path: Path, mode: int = 0o755) -> None:
    """Put a deltasync there that prints its own name and its arguments."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('#!/bin/sh\necho "$0" "$@"\n')
    path.chmod(mode)


def run(shell: str, home: Path, remote_path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the line as sshd does."""
    env = {"HOME": str(home), "PATH": str(home / "path"), "LC_ALL": "C.UTF-8"}
    return subprocess.run([shell, "-c", " ".join(remote_words(remote_path))], env=env, capture_output=True, text=True, check=False)


def test_deltasync_is_found_wherever_it_may_be(shell: str, home: Path) -> None:
    """First on the PATH, then in ~/.local/bin, then in ~/.deltasync/bin; what is no program is passed over."""
    places = [home / ".deltasync/bin/deltasync", home / ".local/bin/deltasync", home / "path/deltasync"]
    for place in places:
        install(place)
        assert run(shell, home).stdout == f"{place} serve --stdio\n"
    for place, next_one in ((places[2], places[1]), (places[1], places[0])):
        place.unlink()
        place.mkdir()
        assert run(shell, home).stdout == f"{next_one} serve --stdio\n"


def test_no_deltasync_is_told(shell: str, home: Path) -> None:
    """The line and the exit code are those that the near end knows."""
    install(home / ".local/bin/deltasync", mode=0o644)
    result = run(shell, home)
    assert (result.returncode, result.stdout) == (NOT_FOUND_CODE, "")
    assert NOT_FOUND_LINE in result.stderr


def test_the_user_may_name_it(shell: str, home: Path) -> None:
    """The words of --remote-path are the far shell's; nothing is looked for then."""
    install(home / "path/deltasync")
    install(home / "path/other")
    assert run(shell, home, "other --verbose").stdout == f"{home}/path/other --verbose serve --stdio\n"


def test_the_line_holds_nothing_of_the_user() -> None:
    """It is one word, always the same, without what some shell reads within single quotes."""
    [line] = remote_words(None)
    assert [line] == remote_words(None)
    _, script, rest = line.split("'")
    assert rest == ""
    assert not set(script) & set("!\\\n")
