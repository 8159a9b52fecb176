"""The house itself: what is declared is what is used, what the README says is what CI does, and tests skip only by name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

import deltasync
from deltasync._native import ENGINES, choose, engine_name
from tests.examples import blocks
from tests.skips import CI_HEADING, NEEDS_HEADING, listed, objection
from tests.sources import PROJECT, package_modules

README: Final = (PROJECT / "README.md").read_text(encoding="utf-8")
SESSIONS: Final = {
    "oracle",
    "sanitize",
    "tests",
    "lint",
    "types",
    "build",
    "docs",
    "bench",
    "fuzz",
    "parsers",
    "hostile",
    "cuts",
    "crash",
    "kills",
    "power",
    "soak",
}


def pyproject() -> dict[str, Any]:
    """Read pyproject.toml."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_declared_dependencies_are_those_imported() -> None:
    """Nothing is installed that the package does not import, and nothing but optional engines imported that is not installed."""
    declared = {re.split(r"[<>=;]", requirement)[0] for requirement in pyproject()["project"]["dependencies"]}
    imported = {found.name.split(".")[0] for module in package_modules() for found in module.imports()}
    foreign = imported - set(sys.stdlib_module_names) - {"deltasync", "compression"}
    engines = {"numpy", "pyrsync2"}
    assert [requirement[:7] for requirement in pyproject()["project"]["optional-dependencies"]["numpy"]] == ["numpy>="]
    assert {name.split(".")[0] for name in declared} == foreign - engines


def test_the_version_is_told_once() -> None:
    """The package's own `__version__` is the version of the distribution, and its form is that of Semantic Versioning."""
    project = pyproject()
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "deltasync.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", deltasync.__version__)


def test_the_engine_in_use_has_a_name() -> None:
    """What `auto` stands for is the fastest engine that is there, and loading it gives the one that was named."""
    assert engine_name() in ENGINES
    assert choose().NAME == choose(engine_name()).NAME == engine_name()


def test_the_command_names_its_version_and_engine() -> None:
    """`deltasync --version` tells both, so that a report of a defect can too."""
    result = subprocess.run(
        [sys.executable, "-m", "deltasync", "--version"], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30
    )
    assert deltasync.__version__ in result.stdout
    assert engine_name() in result.stdout


def test_ci_runs_the_commands_of_the_readme() -> None:
    """The README's two set-up commands are what CI runs, letter by letter, and the tests come last."""
    commands = [block.strip() for _, block in blocks(README, "sh")]
    script = (PROJECT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert len(commands) == 2
    assert set(commands) <= set(script)
    assert script[-1] == commands[1]
    assert "bin/pytest" in commands[1]
    assert os.access(PROJECT / ".ci" / "run", os.X_OK)


def test_the_two_commands_stand_on_the_first_screen() -> None:
    """Whoever opens the README sees what deltasync is and both commands within the first 30 lines."""
    first_screen = "\n".join(README.splitlines()[:30])
    assert [block for _, block in blocks(first_screen, "sh")] == [block for _, block in blocks(README, "sh")]


def test_nox_has_the_promised_sessions() -> None:
    """Each session that contributors are told of is there, and says what it does."""
    tree = ast.parse((PROJECT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = {
        node.name: ast.get_docstring(node)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and "nox.session" in [ast.unparse(decorator) for decorator in node.decorator_list]
    }
    assert set(sessions) == SESSIONS
    assert all(sessions.values())


def test_the_licence_is_whole() -> None:
    """The text of the Apache licence is there from its title to its end, and named in the metadata."""
    text = (PROJECT / "LICENSE").read_text(encoding="utf-8")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text
    assert pyproject()["project"]["license"] == "Apache-2.0"


def test_the_changelog_tells_of_this_version() -> None:
    """The newest entry is for what is not released yet, or for the version that is."""
    headings = re.findall(r"^## \[([^\]]+)\]", (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] in {"Unreleased", deltasync.__version__}


def test_tests_mirror_the_package() -> None:
    """Each directory of tests is named after a room."""
    rooms = {module.room for module in package_modules()}
    directories = {file.parent.name for file in (PROJECT / "tests").glob("*/test_*.py")}
    assert directories <= rooms


SKIPS_README: Final = f"""
{NEEDS_HEADING}

- `root`: owners.
- `zsh`, `fish`: shells.

{CI_HEADING}

- `tests/a/test_b.py::test_c`: no such device in CI.

## After
- `rsync`: elsewhere.
"""


def test_the_readme_lists_what_may_skip() -> None:
    """Names in backticks before the colon of the items beneath the heading count, up to the next heading; a missing heading is an error."""
    assert listed(SKIPS_README, NEEDS_HEADING) == {"root", "zsh", "fish"}
    assert listed(SKIPS_README, CI_HEADING) == {"tests/a/test_b.py::test_c"}
    with pytest.raises(ValueError, match="no heading"):
        listed("", CI_HEADING)
    assert {"root", "sshd", "rsync"} <= listed(README, NEEDS_HEADING)
    assert listed(README, CI_HEADING) == set()


@pytest.mark.parametrize(
    ("test", "reason", "in_ci", "may"),
    [
        ("tests/a/test_b.py::test_d", "Skipped: needs root", False, True),
        ("tests/a/test_b.py::test_d", "Skipped: needs rsync", False, False),
        ("tests/a/test_b.py::test_d", "Skipped: not today", False, False),
        ("tests/a/test_b.py::test_d", "Skipped: needs root", True, False),
        ("tests/a/test_b.py::test_c[1]", "Skipped: needs root", True, True),
    ],
)
def test_a_skip_is_judged_by_its_reason_and_in_ci_by_its_name(test: str, reason: str, *, in_ci: bool, may: bool) -> None:
    """Elsewhere the reason must be one that the README lists, in CI the test itself."""
    assert (objection(SKIPS_README, test, reason, in_ci=in_ci) is None) is may


@pytest.mark.parametrize("ci", [True, False])
def test_an_unlisted_skip_fails_the_run_in_ci(ci: bool, tmp_path: Path) -> None:
    """A test that skips for want of a program passes a run by hand and fails one in CI; so does a module that skips as a whole."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n", encoding="utf-8")
    (tmp_path / "test_one.py").write_text("import pytest\ndef test_it(): pytest.skip('needs rsync')\n", encoding="utf-8")
    (tmp_path / "test_all.py").write_text("import pytest\npytest.skip('needs sshd', allow_module_level=True)\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    environment.pop("CI", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path / "test_one.py")]
    for argument in ("test_one.py", "test_all.py"):
        command[-1] = str(tmp_path / argument)
        result = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment | ({"CI": "true"} if ci else {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert ("skipped in CI" in result.stdout) is ci
        assert ("1 skipped" in result.stdout) is not ci
