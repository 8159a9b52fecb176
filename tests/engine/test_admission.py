"""Who may do what, as the list stands now; and a pairing that works once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deltasync.engine import admission
from deltasync.engine.admission import Admission, Pairing, SharedRoot
from deltasync.errors import StateError
from deltasync.fs.trust import Peer, authorized_peers, parse_allow
from deltasync.wire.noise import public_key

KEY = public_key(b"\1" * 32)
OTHER = public_key(b"\2" * 32)
ROOTS = {name: SharedRoot(name, b"/srv", -1, read_only) for name, read_only in (("data", False), ("look", True))}


def decide(directory: Path, *grants: str, pairing: Pairing | None = None) -> Admission:
    """Return what decides by a list in which one client is."""
    if grants:
        authorized_peers(str(directory)).add(Peer(KEY, parse_allow(list(grants)), "box"))
    found = Admission(ROOTS, authorized_peers(str(directory)), pairing)
    found.refresh()
    return found


def trouble(found: Admission) -> str | None:
    """Return what is wrong with the list now."""
    return found.trouble


def token(found: Admission) -> bytes | None:
    """Return the token that is good now."""
    return found.token


@pytest.mark.parametrize(
    ("grants", "request_", "read_only"),
    [
        (["data"], b"data", False),
        (["data:ro"], b"data", True),
        (["look"], b"look", True),
        (["*"], b"data", False),
        (["*"], b"look", True),
        (["*", "data:ro"], b"data", True),
        (["data"], b"look", None),
        (["data"], b"nope", None),
        (["nope"], b"nope", None),
        (["*"], b"nope", None),
        (["*"], b"", None),
        (["*"], b"\xff", None),
        (["*"], b"*", None),
        ([], b"data", None),
    ],
)
def test_the_narrower_of_root_and_grant_counts(tmp_path: Path, grants: list[str], request_: bytes, read_only: bool | None) -> None:
    """A root that is shared read-only is so for everybody; what is not granted is as if it were not there."""
    found = decide(tmp_path, *grants).grant(KEY, request_)
    assert (None if found is None else found.read_only) is read_only
    assert decide(tmp_path, *grants).grant(OTHER, request_) is None


def test_it_is_read_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it changed right after it was read, so that nothing but its content tells; not while it stays the same."""
    found = decide(tmp_path, "data")
    path = tmp_path / "authorized_peers"
    content, status = path.read_text(), path.stat()
    assert found.refresh()
    path.write_text(content.replace(" data ", " look "))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    found.refresh()
    assert found.grant(KEY, b"data") is None
    monkeypatch.setattr(admission, "_TICK_NS", -1)
    found.refresh()
    assert not found.refresh()


def test_what_can_not_be_read_lets_nobody_in(tmp_path: Path) -> None:
    """And says so."""
    found = decide(tmp_path, "data")
    assert trouble(found) is None
    (tmp_path / "authorized_peers").chmod(0o666)
    found.refresh()
    assert found.grant(KEY, b"data") is None
    assert trouble(found) is not None
    (tmp_path / "authorized_peers").chmod(0o600)
    found.refresh()
    assert (trouble(found), found.grant(KEY, b"data") is None) == (None, False)


def test_a_token_is_spent_by_its_use(tmp_path: Path) -> None:
    """It lets one in, with all roots as they are shared; its name is one harmless line."""
    pairing = Pairing()
    found = decide(tmp_path, pairing=pairing)
    assert token(found) == pairing.token
    assert len(pairing.token) == 32
    assert str(pairing.token) not in repr(pairing)
    assert found.pair(KEY, b"a\nb \x1b[31m " + b"x" * 100).name == f"a\\x0ab \\x1b[31m {'x' * 48}"
    assert token(found) is None
    found.refresh()
    assert found.grant(KEY, b"look") is not None


def test_a_token_is_spent_also_where_nothing_can_be_written(tmp_path: Path) -> None:
    """Whatever happens."""
    (tmp_path / "authorized_peers").mkdir()
    found = decide(tmp_path, pairing=Pairing())
    with pytest.raises(StateError):
        found.pair(KEY, b"box")
    assert token(found) is None


def test_a_token_is_good_for_ten_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a moment longer."""
    now = [1000.0]
    monkeypatch.setattr(admission, "monotonic", lambda: now[0])
    found = decide(tmp_path, pairing=Pairing())
    now[0] += 599.9
    assert token(found) is not None
    now[0] += 0.2
    assert token(found) is None
    assert decide(tmp_path).token is None
