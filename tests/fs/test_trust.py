"""Who is trusted: what is written is what is granted, comments and order stay, and what means nothing grants nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltasync.errors import StateError
from deltasync.fs.trust import Daemon, Peer, authorized_peers, known_daemons, parse_allow
from deltasync.wire.keys import encode
from deltasync.wire.noise import public_key

KEYS = [public_key(bytes([number]) * 32) for number in range(1, 5)]
NAMES = [encode(key) for key in KEYS]


def peer(number: int, *grants: str, name: str = "") -> Peer:
    """Make a peer."""
    return Peer(KEYS[number], parse_allow(list(grants)), name)


@pytest.mark.parametrize(
    ("grants", "root", "access"),
    [
        (["photos"], "photos", False),
        (["photos:ro"], "photos", True),
        (["photos"], "docs", None),
        (["*"], "docs", False),
        (["*:ro"], "docs", None),
        (["*", "docs:ro"], "docs", True),
        (["*", "docs:ro"], "photos", False),
    ],
)
def test_a_grant_is_what_it_says(grants: list[str], root: str, access: bool | None) -> None:
    """A root that is named is as it is named, whatever stands for all."""
    if "*:ro" in grants:
        with pytest.raises(ValueError, match="no grant"):
            parse_allow(grants)
        return
    assert peer(0, *grants).access(root) is access


@pytest.mark.parametrize(
    "grants", [[], [""], ["a", "a"], ["a", "a:ro"], ["a b"], ["a/b"], ["..", "."], ["-a"], ["a:rw"], ["é"], ["a" * 65]]
)
def test_what_is_no_grant_is_refused(grants: list[str]) -> None:
    """No name that would be another thing in a URL, a file or a path."""
    with pytest.raises(ValueError, match="grant"):
        parse_allow(grants)


def test_a_second_grant_replaces_the_first_in_its_place(tmp_path: Path) -> None:
    """Comments, blank lines and the order of the others stay."""
    peers = authorized_peers(str(tmp_path))
    peers.add(peer(0, "a", name="first"))
    peers.add(peer(1, "b"))
    path = Path(peers.path)
    path.write_text(f"# who may what\n\n{path.read_text()}# the end\n")
    peers.add(peer(0, "a:ro", "c", name="first again"))
    assert path.read_text().splitlines() == ["# who may what", "", f"{NAMES[0]} a:ro,c first again", f"{NAMES[1]} b", "# the end"]
    assert peers.entries() == [peer(0, "a:ro", "c", name="first again"), peer(1, "b")]
    assert peers.remove(NAMES[0])
    assert not peers.remove(NAMES[0])
    assert path.read_text().splitlines() == ["# who may what", "", f"{NAMES[1]} b", "# the end"]


def test_a_malformed_line_grants_nothing_and_is_named(tmp_path: Path) -> None:
    """The other lines stand; a second line about one key grants nothing either."""
    peers = authorized_peers(str(tmp_path))
    lines = [f"{NAMES[0]} a", f"{NAMES[1]}", "garbage", f"{'A' * 43} a", f"{NAMES[0]} *", f"{NAMES[2]} b:rw", f"{NAMES[3]} b"]
    Path(peers.path).write_text("".join(f"{line}\n" for line in lines))
    assert peers.read() == ([peer(0, "a"), peer(3, "b")], [2, 3, 4, 5, 6])
    with pytest.raises(StateError, match="line 2"):
        peers.entries()
    assert peers.remove("garbage")
    assert peers.read()[1] == [2, 3, 4, 5]


def test_removing_a_key_leaves_no_line_about_it(tmp_path: Path) -> None:
    """Also where it stood twice, or with a grant that meant nothing."""
    peers = authorized_peers(str(tmp_path))
    Path(peers.path).write_text(f"{NAMES[0]} a\n{NAMES[0]} b:rw\n  {NAMES[0]} *\n")
    assert peers.remove(NAMES[0])
    assert Path(peers.path).read_text() == ""


def test_addresses_are_as_written(tmp_path: Path) -> None:
    """One key for each; another takes its place."""
    daemons = known_daemons(str(tmp_path))
    daemons.add(Daemon("host:1", KEYS[0]))
    daemons.add(Daemon("Host:1", KEYS[1]))
    daemons.add(Daemon("host:1", KEYS[2]))
    assert daemons.entries() == [Daemon("host:1", KEYS[2]), Daemon("Host:1", KEYS[1])]
