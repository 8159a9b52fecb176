"""The order of ciphers that ssh is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltasync.channel.ciphers import preferring_gcm

GCM_FIRST = "Ciphers=aes128-gcm@openssh.com,aes256-gcm@openssh.com,"


def test_a_configuration_without_ciphers_needs_no_question(tmp_path: Path) -> None:
    """The defaults are reordered without starting ssh at all: the command given here does not exist."""
    (tmp_path / "more").write_text("Host *\n  Compression no\n")
    (tmp_path / "config").write_text(f"Include {tmp_path}/mor*\nHost x\n  Port 22\n")
    option, value = preferring_gcm(["/nowhere/ssh", "--", "host"], str(tmp_path / "config"))
    assert option == "-o"
    assert value.startswith(GCM_FIRST)
    assert preferring_gcm(["/nowhere/ssh", "--", "host"], str(tmp_path / "missing")) == [option, value]


@pytest.mark.needs("ssh")
@pytest.mark.parametrize("how", ["itself", "included"])
def test_ciphers_that_the_user_chose_are_only_reordered(tmp_path: Path, how: str) -> None:
    """What the configuration offers is asked of ssh, and no cipher is added or taken away."""
    said = "Ciphers aes256-ctr,aes256-gcm@openssh.com\n"
    (tmp_path / "more").write_text(said)
    config = tmp_path / "config"
    config.write_text(said if how == "itself" else f"include {tmp_path}/more\n")
    words = ["ssh", "-F", str(config), "--", "host"]
    assert preferring_gcm(words, str(config)) == ["-o", "Ciphers=aes256-gcm@openssh.com,aes256-ctr"]


def test_a_question_that_fails_leaves_the_order_to_ssh(tmp_path: Path) -> None:
    """Where ssh can't be asked, connecting will tell what is wrong."""
    (tmp_path / "config").write_text("Ciphers aes256-ctr\n")
    assert preferring_gcm(["/nowhere/ssh", "--", "host"], str(tmp_path / "config")) == []
