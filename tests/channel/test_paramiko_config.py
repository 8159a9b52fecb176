"""The ssh_config is followed as far as paramiko can, and not beyond in silence."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from deltasync.channel.address import Remote
from deltasync.channel.paramiko_config import route_to
from deltasync.errors import UsageError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without a configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(home: Path, text: str) -> str:
    """Write a configuration, and return its path."""
    path = home / "config"
    path.write_text(text)
    return str(path)


def test_without_a_configuration_the_defaults_hold(home: Path) -> None:
    """Those of OpenSSH."""
    route = route_to(Remote("host"))
    assert (route.host, route.port, route.user) == ("host", 22, pwd.getpwuid(os.getuid()).pw_name)
    assert (route.alias, route.proxy, route.identities_only) == (None, None, False)
    assert route.known_hosts == (
        f"{home}/.ssh/known_hosts", f"{home}/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2",
    )  # fmt: skip
    assert route.identities == (f"{home}/.ssh/id_rsa", f"{home}/.ssh/id_ecdsa", f"{home}/.ssh/id_ed25519")


FULL = """
Host nick
  HostName real.example
  Port 2222
  User them
  IdentityFile ~/first
  IdentityFile /second
  IdentitiesOnly yes
  UserKnownHostsFile ~/known "/with space"
  GlobalKnownHostsFile none
  HostKeyAlias alias
  ProxyCommand proxy %h %p %r
"""


def test_the_configuration_is_followed(home: Path) -> None:
    """What it says of the host, with its tokens."""
    route = route_to(Remote("nick", ssh_config=write(home, FULL)))
    assert (route.host, route.port, route.user, route.alias) == ("real.example", 2222, "them", "alias")
    assert route.identities == (f"{home}/first", "/second")
    assert route.identities_only
    assert route.known_hosts == (f"{home}/known", "/with space")
    assert route.proxy == "proxy real.example 2222 them"


def test_the_users_own_words_win(home: Path) -> None:
    """Also in what the proxy is told; an identity stands before the others."""
    route = route_to(Remote("nick", user="me", port=22022, identity="~/mine", ssh_config=write(home, FULL)))
    assert (route.port, route.user, route.proxy) == (22022, "me", "proxy real.example 22022 me")
    assert route.identities == (f"{home}/mine", f"{home}/first", "/second")


def test_an_identity_alone_leaves_the_defaults_out() -> None:
    """As with `ssh -i`."""
    assert route_to(Remote("host", identity="/mine")).identities == ("/mine",)


def test_the_home_directory_has_one(home: Path) -> None:
    """Which is read when no other is named."""
    (home / ".ssh").mkdir()
    (home / ".ssh/config").write_text("Port 3\nProxyCommand none\nUserKnownHostsFile none\n")
    route = route_to(Remote("host"))
    assert (route.port, route.proxy) == (3, None)
    assert route.known_hosts == ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ProxyJump other", "proxyjump"),
        ("RevokedHostKeys /x", "revokedhostkeys"),
        ("Port no", "no TCP port"),
        ("Port 65536", "no TCP port"),
        ("Match nonsense", "can't read"),
        ("=", "can't read"),
    ],
)
def test_what_can_not_be_followed_is_refused(home: Path, text: str, complaint: str) -> None:
    """It would lead elsewhere, or trust whom it should not."""
    with pytest.raises(UsageError, match=complaint):
        route_to(Remote("host", ssh_config=write(home, f"{text}\n")))


def test_a_configuration_that_is_not_there_is_told(home: Path) -> None:
    """If it was named; the user's own need not be there."""
    with pytest.raises(UsageError, match="can't be read"):
        route_to(Remote("host", ssh_config=f"{home}/missing"))
