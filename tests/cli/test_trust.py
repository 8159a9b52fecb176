"""`key`, `trust` and `known` as the contract has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltasync.cli.main import main
from deltasync.wire.keys import encode
from deltasync.wire.noise import public_key
from tests.cli.commands import command

KEY = encode(public_key(b"\1" * 32))


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELTASYNC_HOME", str(tmp_path / "home"))


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run a command; returns exit code, output and errors."""
    code = main(words)
    out, err = capfd.readouterr()
    return code, out, err


def test_the_key_is_shown_alone_on_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """It is made when it is first asked for, and replaced only by force."""
    code, out, err = run(capfd, "key", "show")
    assert (code, len(out), err) == (0, 44, "")
    assert run(capfd, "key", "show")[1] == out
    code, nothing, err = run(capfd, "key", "new")
    assert (code, nothing) == (2, "")
    assert "--force" in err
    code, other, _ = run(capfd, "key", "new", "--force")
    assert (code, len(other)) == (0, 44)
    assert other != out
    assert run(capfd, "key", "show")[1] == other


def test_a_first_key_needs_no_force(capfd: pytest.CaptureFixture[str]) -> None:
    """There is nothing to lose."""
    code, out, _ = run(capfd, "key", "new")
    assert (code, run(capfd, "key", "show")[1]) == (0, out)


def test_a_key_file_of_loose_mode_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It names the file, and exits as for local files."""
    run(capfd, "key", "show")
    (tmp_path / "home" / "key").chmod(0o644)
    code, out, err = run(capfd, "key", "show")
    assert (code, out, err.count("\n")) == (11, "", 1)
    assert str(tmp_path / "home" / "key") in err


@pytest.mark.parametrize(
    "grants", [["--allow", "a", "--allow", "b:ro"], ["--allow", "a", "b:ro"], ["--allow=a,b:ro"], ["--allow", "a,b:ro"]]
)
def test_trust_is_listed_with_tabs(capfd: pytest.CaptureFixture[str], grants: list[str]) -> None:
    """Key, name, grants; again for the same key replaces; removed is gone."""
    assert run(capfd, "trust", "list") == (0, "", "")
    assert run(capfd, "trust", "add", KEY, *grants, "--name", "my box") == (0, "", "")
    assert run(capfd, "trust", "list") == (0, f"{KEY}\tmy box\ta,b:ro\n", "")
    assert run(capfd, "trust", "add", "--allow", "*", "--name=x", KEY) == (0, "", "")
    assert run(capfd, "trust", "list") == (0, f"{KEY}\tx\t*\n", "")
    assert run(capfd, "trust", "remove", KEY) == (0, "", "")
    assert run(capfd, "trust", "list") == (0, "", "")
    assert run(capfd, "trust", "remove", KEY)[0] == 2


@pytest.mark.parametrize("address", ["host:1", "Host.example:65535", "[::1]:8730", "192.0.2.1:8730"])
def test_addresses_are_listed_with_tabs(capfd: pytest.CaptureFixture[str], address: str) -> None:
    """Key and address, as written."""
    assert run(capfd, "known", "add", address, KEY) == (0, "", "")
    assert run(capfd, "known", "list") == (0, f"{KEY}\t{address}\n", "")
    assert run(capfd, "known", "remove", address) == (0, "", "")
    assert run(capfd, "known", "remove", address)[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ["key"], ["key", "show", "x"], ["key", "new", "--froce"], ["trust"], ["trust", "add"], ["trust", "add", KEY],
        ["trust", "add", KEY, "--allow"], ["trust", "add", "A" * 43, "--allow", "a"], ["trust", "add", KEY, "--allow", "a b"],
        ["trust", "add", KEY, "--allow", "a", "--nmae", "x"], ["trust", "add", KEY, "--allow", "a", "--name", "x\ny"],
        ["trust", "add", KEY, "--allow", "a", "--name"], ["trust", "list", "x"], ["trust", "remove"], ["known", "add", "host", KEY],
        ["known", "add", "host:0", KEY], ["known", "add", "me@host:1", KEY], ["known", "add", "host:1", "A" * 43],
        ["known", "add", "::1:8730", KEY], ["known", "remove", "host:1"], ["known", "list", "x"],
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(capfd: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Exit 2, and nothing is written."""
    code, out, err = run(capfd, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert run(capfd, "trust", "list")[1] == run(capfd, "known", "list")[1] == ""


def test_a_key_may_begin_with_dashes(capfd: pytest.CaptureFixture[str]) -> None:
    """One in 4,096 does, and is no option."""
    keys = (encode(public_key(number.to_bytes(32))) for number in range(1, 100_000))
    dashed = next(key for key in keys if key.startswith("--"))
    assert run(capfd, "trust", "add", dashed, "--allow", "a") == (0, "", "")
    assert run(capfd, "trust", "remove", dashed) == (0, "", "")


@pytest.mark.parametrize("name", ["key", "trust", "known"])
def test_help_is_given(name: str) -> None:
    """On standard output, and exit 0."""
    done = command(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: deltasync {name} ")
