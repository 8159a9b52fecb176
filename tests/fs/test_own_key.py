"""The key pair of this installation: made once, private, and refused when it is not."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deltasync.errors import StateError
from deltasync.fs.own_key import home, load, load_or_make, replace
from deltasync.wire.keys import encode
from deltasync.wire.noise import public_key


def test_it_is_made_once_and_found_again(tmp_path: Path) -> None:
    """Also by several at the same time; the file is this user's alone, and the private part is shown nowhere."""
    directory = str(tmp_path / "home")
    assert load(directory) is None
    with ThreadPoolExecutor(8) as pool:
        pairs = list(pool.map(lambda _: load_or_make(directory), range(8)))
    assert len(set(pairs)) == 1
    assert pairs[0].public == public_key(pairs[0].private)
    assert os.stat(tmp_path / "home" / "key").st_mode & 0o777 == 0o600
    assert load(directory) == pairs[0]
    assert pairs[0].private.hex() not in repr(pairs[0])
    assert str(pairs[0].private) not in repr(pairs[0])


def test_another_takes_its_place(tmp_path: Path) -> None:
    """Whatever stood there: a symlink is replaced, and what it points to stays."""
    first = load_or_make(str(tmp_path))
    assert replace(str(tmp_path)) != first
    target = tmp_path / "elsewhere"
    (tmp_path / "key").rename(target)
    (tmp_path / "key").symlink_to(target)
    content = target.read_bytes()
    replace(str(tmp_path))
    assert target.read_bytes() == content
    assert not (tmp_path / "key").is_symlink()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o620, 0o644, 0o660])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    """Who knows what they have read."""
    load_or_make(str(tmp_path))
    (tmp_path / "key").chmod(mode)
    with pytest.raises(StateError, match="others have access"):
        load_or_make(str(tmp_path))


def test_a_symlink_is_refused(tmp_path: Path) -> None:
    """Even to a good key."""
    load_or_make(str(tmp_path))
    (tmp_path / "key").rename(tmp_path / "real")
    (tmp_path / "key").symlink_to("real")
    with pytest.raises(StateError, match="symlink"):
        load(str(tmp_path))


@pytest.mark.parametrize("content", ["", "\n", "A" * 42, "A" * 43 + "\n\n", f" {encode(bytes(32))}", "key"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    """And not taken for a new installation."""
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(StateError, match=r"holds no key: .*new --force"):
        load(str(tmp_path))
    assert path.read_text() == content


def test_without_a_home_there_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to set."""
    monkeypatch.delenv("DELTASYNC_HOME")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "relative")
    with pytest.raises(StateError, match="DELTASYNC_HOME"):
        home()
