"""How failures are worded."""

from __future__ import annotations

from deltasync.cli.failures import LocalFileError, failure_line, problem_line
from deltasync.errors import ExitCode, PeerFailure


def test_a_problem_names_its_path_harmlessly() -> None:
    """One line, whatever the name; what belongs to no path names none."""
    assert problem_line(b"a\xff\n", "it can't be read: no\x1b") == "deltasync: a\\xff\\x0a: it can't be read: no\\x1b"
    assert problem_line(b"", "why") == "deltasync: why"


def test_an_error_keeps_its_code() -> None:
    """Ours are told as they are, others as defects."""
    assert failure_line(LocalFileError("f: no")) == ("deltasync: f: no", ExitCode.LOCAL_IO)
    assert failure_line(PeerFailure(5, "not allowed")) == ("deltasync: not allowed", ExitCode.AUTHENTICATION)
    line, code = failure_line(ValueError("x"))
    assert code == ExitCode.PROTOCOL
    assert "internal error: ValueError: x" in line
