"""A program is found as execvp(3) would find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltasync.channel.programs import is_program


def test_a_program_is_found_by_path_and_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executable regular file is one; a directory, or a file that may not be executed, is none."""
    program, text, directory = tmp_path / "program", tmp_path / "text", tmp_path / "directory"
    for file, mode in ((program, 0o755), (text, 0o644)):
        file.touch()
        file.chmod(mode)
    directory.mkdir()
    monkeypatch.setenv("PATH", f"/no/such:{tmp_path}")
    for name, there in ((program.name, True), (text.name, False), (directory.name, False), ("missing", False), ("", False)):
        assert is_program(name) is there
        assert is_program(f"{tmp_path}/{name}") is there
