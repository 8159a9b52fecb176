"""What ssh, or what replaces it, is asked to do; the sessions themselves are tried in test_ssh.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deltasync.channel.address import Remote
from deltasync.channel.openssh import command_line
from deltasync.channel.remote_command import remote_words


def ciphers_of(words: list[str]) -> list[str]:
    """Return the ciphers that the words ask for."""
    [option] = [word for word in words if word.startswith("Ciphers=")]
    return option.removeprefix("Ciphers=").split(",")


@pytest.mark.needs("ssh")
def test_what_the_user_asks_for_is_handed_on(tmp_path: Path) -> None:
    """As ssh's own options; the host stands behind `--`, where it can be no option, and no terminal is asked for."""
    config = tmp_path / "config"
    config.write_text("")
    words = command_line(Remote("host", user="me", port=2222, ssh_config=str(config), identity="key"))
    assert words[:9] == ["ssh", "-l", "me", "-p", "2222", "-F", str(config), "-i", "key"]
    assert words[-4:] == ["-T", "--", "host", *remote_words(None)]


@pytest.mark.needs("ssh")
@pytest.mark.parametrize("option", ["", "Ciphers aes256-ctr,aes256-gcm@openssh.com", "Ciphers +aes128-cbc", "Ciphers aes256-ctr"])
def test_the_ciphers_are_the_users_in_another_order(tmp_path: Path, option: str) -> None:
    """AES-GCM comes first; none is added and none is lost."""
    config = tmp_path / "config"
    config.write_text(option)
    offered = subprocess.run(["ssh", "-F", str(config), "-G", "host"], capture_output=True, text=True, check=True).stdout
    [theirs] = [line.split()[1].split(",") for line in offered.splitlines() if line.startswith("ciphers ")]
    ours = ciphers_of(command_line(Remote("host", ssh_config=str(config))))
    assert sorted(ours) == sorted(theirs)
    gcm = [cipher for cipher in theirs if "-gcm@" in cipher]
    assert ours[: len(gcm)] == gcm


def test_a_remote_shell_is_left_alone() -> None:
    """What replaces ssh gets only what the user asks for, and the host and the command."""
    assert command_line(Remote("host", rsh=("my-rsh", "-x"))) == ["my-rsh", "-x", "host", *remote_words(None)]
    words = command_line(Remote("host", user="me", rsh=("my-rsh",), remote_path="there"))
    assert words == ["my-rsh", "-l", "me", "host", "there", "serve", "--stdio"]


def test_ssh_as_a_remote_shell_keeps_its_ciphers() -> None:
    """Its options are the user's, but the host is none of them here either."""
    words = command_line(Remote("host", rsh=("/usr/bin/ssh", "-o", "Ciphers=aes256-ctr")))
    assert words[:3] == ["/usr/bin/ssh", "-o", "Ciphers=aes256-ctr"]
    assert words[-4:] == ["-T", "--", "host", *remote_words(None)]
    assert ciphers_of(words) == ["aes256-ctr"]


BATCH = """
from deltasync.channel.address import Remote
from deltasync.channel.openssh import command_line
print("BatchMode=yes" in command_line(Remote("host", rsh=("ssh",))))
"""


def test_nobody_is_asked_where_nobody_is() -> None:
    """Without a terminal ssh must not wait for an answer; with one it may ask for passwords and second factors."""
    assert subprocess.run([sys.executable, "-c", BATCH], start_new_session=True, capture_output=True, check=True).stdout == b"True\n"
    terminal, program = os.openpty()
    # A session of its own has no terminal until it opens one.
    with_terminal = f"import os; os.close(os.open({os.ttyname(program)!r}, os.O_RDWR))\n{BATCH}"
    result = subprocess.run([sys.executable, "-c", with_terminal], start_new_session=True, capture_output=True, check=True)
    assert result.stdout == b"False\n"
    os.close(terminal)
    os.close(program)
