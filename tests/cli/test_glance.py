"""The first look at a command line finds what the parser finds, or gives up."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.channel.address import Remote
from deltasync.cli.glance import FLAGS, LETTERS, VALUES, glance
from deltasync.cli.job import route_of
from deltasync.cli.options import _command, parse
from deltasync.cli.remote import remote_of
from deltasync.errors import UsageError

WORDS = (
    "-a", "-av", "-ave", "-e", "-essh -p 3", "ssh -4", "--rsh", "--rsh=ssh -v", "--port", "--port=0", "--port=22", "2222", "--ssh", "auto",
    "--ssh=openssh", "--ssh=paramiko", "--ssh-config", "/dev/null", "--identity=/dev/null", "--identity=/no/such", "--remote-path", "there",
    "--remote-path= ", "--exclude", "--exclude=x", "-n", "-x", "--", "-", "--delete", "--delete=1", "--max-delete", "--no-such", "--help",
    "/", "host:b", "me@host:b", "ssh://host:7/b", "tcp://host/b", "rsync://host/b", "-h:b", ":b", "", "--timeout=5", "--bwlimit=1",
)  # fmt: skip


def parsed(words: list[str]) -> Remote | None:
    """Say where a push leads by the parser's word; None for nowhere and for usage errors."""
    try:
        taken = parse("push", words)
        way = None if taken is None else route_of("push", taken)
        return None if taken is None or way is None or way.host is None else remote_of(taken.values, way.host)
    except UsageError:
        return None


@given(st.lists(st.sampled_from(WORDS), max_size=8))
def test_it_never_finds_another_way_than_the_parser(words: list[str]) -> None:
    """Whatever stands on the command line: the same, or nothing."""
    found = glance(True, words)
    assert found is None or found == parsed(words)


@pytest.mark.parametrize(
    "words",
    [
        "/ host:b", "-a --delete / me@host:b", "-avz -e ssh / host:b", "--port 7 / ssh://host/b", "--ssh-config /dev/null -n / host:b",
        "--exclude=*.o --exclude x --remote-path there -- / host:b", "/ / -i host:b --identity=/dev/null", "-anessh / host:b",
    ],
)  # fmt: skip
def test_it_finds_the_common_ways(words: str) -> None:
    """Where it leads is known before the parser is loaded."""
    assert glance(True, words.split()) == parsed(words.split()) is not None


def test_a_pull_leads_to_where_its_sources_are() -> None:
    """The host is that of the sources."""
    assert glance(False, ["host:a", "host:b", "."]) == Remote("host")


@pytest.mark.parametrize("words", ["a host:b", "/ there", "host:a host:b", "/", "-e / host:b", "--ssh=paramiko / host:b"])
def test_it_begins_nothing_in_vain(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No source, no host, a missing value, or no need of the OpenSSH binary: nothing is found."""
    monkeypatch.chdir(tmp_path)
    assert glance(True, words.split()) is None


def test_every_option_it_knows_is_one() -> None:
    """Its tables name options of the parser only, and with a value where the parser takes one."""
    options = [option for option in _command("push").params if isinstance(option, click.Option)]
    with_value = {name for option in options if not option.is_flag for name in option.opts}
    without = {name for option in options if option.is_flag for name in option.opts}
    assert set(VALUES) <= with_value
    assert FLAGS | {f"-{letter}" for letter in LETTERS} <= without
