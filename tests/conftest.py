"""What all tests share: what they need here, when they may skip, repeatable chance, and how long property tests try."""

from __future__ import annotations

import os
import random
import secrets
import shutil
from collections.abc import Generator, Iterator
from typing import Final

import hypothesis
import pytest

from tests.skips import objection
from tests.sources import PROJECT

pytest_plugins = ["tests.sshd"]

# Processes that share the tests take it over by the environment.
SEED: Final = os.environ.setdefault("DELTASYNC_TEST_SEED", secrets.token_hex(4))
README: Final = (PROJECT / "README.md").read_text(encoding="utf-8")
SYSTEM_PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Where programs are looked for: a plain user's PATH often lacks the place of sshd."""

# This machine's speed says nothing about the code; a failing example is printed in a form that can be pasted into the test.
hypothesis.settings.register_profile(
    "deltasync", deadline=None, print_blob=True, max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100"))
)
hypothesis.settings.load_profile("deltasync")


def pytest_report_header() -> str:
    """Print the seed of the `rng` fixture."""
    return f"rng seed: DELTASYNC_TEST_SEED={SEED}"


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what deltasync remembers out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DELTASYNC_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Chance that is repeated by the seed in the header of the run, and is another for each test."""
    return random.Random(f"{SEED} {request.node.nodeid}")


def _is_here(need: str) -> bool:
    return os.geteuid() == 0 if need == "root" else shutil.which(need, path=SYSTEM_PATH) is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `needs` where that is missing, and say what it needs."""
    for mark in item.iter_markers("needs"):
        for need in mark.args:
            if not _is_here(need):
                pytest.skip(f"needs {need}")


def _refuse_unlisted_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if complaint := objection(README, report.nodeid, reason, in_ci="CI" in os.environ):
            report.outcome = "failed"
            report.longrepr = complaint


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that the README does not list into a failure."""
    report = yield
    _refuse_unlisted_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole module that the README does not list into a failure."""
    report = yield
    _refuse_unlisted_skip(report)
    return report
