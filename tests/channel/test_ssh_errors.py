"""What the user is told of a session over SSH that can't be begun or breaks: one line with the host and what to do, and the right exit."""

from __future__ import annotations

import pytest

from deltasync.channel.remote_command import NOT_FOUND_CODE, NOT_FOUND_LINE
from deltasync.channel.ssh_errors import denied, ended, not_found, silent, unreachable
from deltasync.errors import ConnectionLost, DeadlineExceeded, DeltasyncError, ExitCode
from tests.sources import PROJECT

LOST = ConnectionLost("the connection broke: Broken pipe")


def explained(*, answered: bool = False, exit_code: int | None = None, said: bytes = b"", command: str | None = None) -> DeltasyncError:
    """Explain a session with `HOST` that broke."""
    return ended(LOST, "HOST", command, answered=answered, exit_code=exit_code, said=said)


@pytest.mark.parametrize("exit_code", [0, 1, 3, 126, 254, 255])
def test_a_command_that_ends_before_it_has_greeted_is_no_deltasync(exit_code: int) -> None:
    """Something was reached and ran there, and it is not what was asked for; ssh's own 255 is told apart before."""
    error = explained(exit_code=exit_code)
    assert error.exit_code == ExitCode.PROTOCOL
    assert str(error).startswith(f"no deltasync answered on HOST: the command ended with exit code {exit_code}; ")


@pytest.mark.parametrize("exit_code", [None, -9])
def test_an_end_of_unknown_cause_is_the_connections(exit_code: int | None) -> None:
    """Nobody knows whether anything ran there: a killed ssh says nothing of the far end."""
    error = explained(exit_code=exit_code)
    assert error.exit_code == ExitCode.CONNECTION
    assert not isinstance(error, ConnectionLost)
    assert str(error) == "HOST closed the connection without an answer: nothing is known of the cause; see whether `ssh HOST true` works"


def test_the_last_words_explain_an_early_end() -> None:
    """The last line that says anything, safe for a terminal, and which option to look at."""
    said = b"first\r\nOut of \x1b memory\r\n \r\n"
    assert str(explained(exit_code=3, said=said)) == (
        "no deltasync answered on HOST: Out of \\x1b memory; see that deltasync runs there, or name it with --remote-path"
    )
    assert str(explained(exit_code=3, said=said, command="nice ds")).endswith("memory; see that --remote-path names deltasync")


@pytest.mark.parametrize(("exit_code", "said"), [(NOT_FOUND_CODE, b""), (1, NOT_FOUND_LINE.encode() + b"\n")])
def test_a_host_without_deltasync_is_told_by_code_or_line(exit_code: int, said: bytes) -> None:
    """A login shell may swallow either."""
    assert str(explained(exit_code=exit_code, said=said)) == str(not_found("HOST", None))
    assert str(explained(exit_code=exit_code, said=said, command="ds")) == str(not_found("HOST", "ds"))


def test_the_advice_to_install_is_that_of_the_readme() -> None:
    """What is told to be done there is what the README's first command does, from a clone; there is no package to be fetched."""
    advice = str(not_found("HOST", None)).partition("in a clone of it: ")[2].partition(")")[0]
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert advice
    assert all(step in readme.replace(" -q", "") for step in advice.split(" && "))


def test_a_session_that_had_been_answered_is_lost() -> None:
    """It can be made again, whatever the exit code; the host is named, and what was said if nobody has passed it on."""
    for exit_code in (None, 0, 1, 255):
        assert type(explained(answered=True, exit_code=exit_code)) is ConnectionLost
    assert str(explained(answered=True)) == "HOST: the connection broke: Broken pipe"
    assert str(explained(answered=True, said=b"Killed\n")) == "HOST: the connection broke: Broken pipe: Killed"


@pytest.mark.parametrize(
    "error",
    [
        silent(DeadlineExceeded("the peer took nothing for 3 s"), "HOST"),
        unreachable("HOST", "refused"),
        denied("HOST", "no"),
        not_found("HOST", "ds"),
        explained(),
        explained(exit_code=1),
    ],
)
def test_each_line_names_the_host_and_what_to_do(error: DeltasyncError) -> None:
    """Behind what failed stands a remedy."""
    what, _, remedy = str(error).replace("name what", "; name what").partition(";")
    assert "HOST" in what
    assert remedy.strip()
    assert "\n" not in str(error)
