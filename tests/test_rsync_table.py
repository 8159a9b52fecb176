"""The table of rsync's options says what there is: none is missing, none called the same is refused, none that is not there is taken."""

from __future__ import annotations

import re
import subprocess

import pytest

from deltasync.cli.glance import VALUES
from deltasync.cli.options import parse
from deltasync.errors import UsageError
from tests.sources import PROJECT

PAGE = (PROJECT / "docs" / "rsync.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]
TABLE = {option: row[1] for row in ROWS for option in re.findall(r"`(-[^`]+)`", row[0])}
WITH_VALUE = {
    *("--backup-dir", "--suffix", "--block-size", "-e", "--rsh", "--max-delete", "--max-size", "--min-size", "--timeout", "--port"),
    *("--exclude", "--include", "--exclude-from", "--include-from", "--files-from", "-f", "--filter", "--log-file", "--bwlimit"),
    *("--chmod", "--chown", "--usermap", "--groupmap"),
}
SPOKEN_ELSEWHERE = {"--no-OPTION", "--version", "-V", "--help"}


def rsync_options() -> set[str]:
    """The options that `rsync --help` names, without their values."""
    text = subprocess.run(["rsync", "--help"], capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in text[text.index("\nOptions") :].splitlines() if re.match(r" *-", line)]
    return {option for line in lines for option in re.findall(r"(?<!\S)--?[A-Za-z0-9@][\w-]*", re.sub("[=,]", " ", line.split("  ")[0]))}


@pytest.mark.needs("rsync")
def test_every_option_of_rsync_is_in_the_table() -> None:
    """Once, and no other is; a newer rsync may have more."""
    assert rsync_options() - set(TABLE) - {"--no-D"} == set()
    assert len(TABLE) == sum(len(re.findall(r"`-[^`]+`", row[0])) for row in ROWS)
    assert set(TABLE.values()) == {"same", "different", "not there"}


@pytest.mark.parametrize("option", sorted(set(TABLE) - SPOKEN_ELSEWHERE))
def test_what_the_table_says_is_so(option: str) -> None:
    """What is called the same, or different, is taken; what is not there is refused."""
    words = [option, "1"] if option in WITH_VALUE else [option]
    if TABLE[option] == "not there":
        with pytest.raises(UsageError):
            parse("push", [f"{option}=1" if option.startswith("--") else option, "a", "b"])
        with pytest.raises(UsageError):
            parse("push", [option, "a", "b"])
    else:
        given = parse("push", [*words, "a", "b"])
        assert given is not None
        assert given.places == ("a", "b")


def test_options_that_are_met_at_a_glance_are_in_no_doubt() -> None:
    """Those with a value are the same ones here."""
    assert {option for option in VALUES if option in TABLE} <= WITH_VALUE | {option for option in TABLE if TABLE[option] == "not there"}
