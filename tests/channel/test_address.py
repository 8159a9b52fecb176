"""A host and a user are names, and never what ssh or a shell acts upon."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from deltasync.channel.address import Remote, refuse_unsafe_names
from deltasync.channel.ssh import connect
from deltasync.errors import UsageError

COMMANDS = ["`touch owned`", "$(touch owned)", "a;b", "a|b", "a&b", "a>b", "a<b", "'a'", '"a"', "-oProxyCommand=x", "a\nProxyCommand x", ""]


@pytest.mark.parametrize("name", [*COMMANDS, "$HOME", "a b", "a\\b", "a\tb"])
def test_a_host_that_is_no_name_is_refused(name: str) -> None:
    """Whatever would be read by a shell, by ssh or as another line of its configuration."""
    with pytest.raises(UsageError, match="no host name"):
        refuse_unsafe_names(Remote(name))


@pytest.mark.parametrize("name", [*COMMANDS, "a -b", "a\\"])
def test_a_user_that_is_no_name_is_refused(name: str) -> None:
    """As a host."""
    with pytest.raises(UsageError, match="no user name"):
        refuse_unsafe_names(Remote("host", user=name))


@pytest.mark.parametrize("host", ["host", "host.example", "::1", "fe80::1%eth0", "192.0.2.1", "bücher.example", "a_b-c"])
@pytest.mark.parametrize("user", [None, "user", "first.last", "DOMAIN\\user", "machine$", "user@realm", "Jo Doe"])
def test_names_are_names(host: str, user: str | None) -> None:
    """Names, addresses, and what users of other systems are called."""
    refuse_unsafe_names(Remote(host, user=user))


@pytest.mark.parametrize("ssh", [pytest.param("openssh", marks=pytest.mark.needs("ssh")), "paramiko"])
@pytest.mark.parametrize(("host", "user"), [("$(touch${IFS}owned)", None), ("host", "`touch owned`"), ("host", "x\nHost *")])
def test_no_command_is_run_by_a_name(
    ssh: Literal["openssh", "paramiko"], host: str, user: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ProxyCommand gets the host and the user, so a session with such names does not begin."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config"
    config.write_text("Host *\n  ProxyCommand echo %h %r; false\n", encoding="ascii")
    with pytest.raises(UsageError):
        connect(Remote(host, user=user, ssh=ssh, ssh_config=str(config)))
    assert not (tmp_path / "owned").exists()
