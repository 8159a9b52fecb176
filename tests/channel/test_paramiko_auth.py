"""Logging in over paramiko: keys first, then what only the user knows, as often as the server may want."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest

from deltasync.channel.paramiko_auth import log_in
from deltasync.channel.paramiko_config import Route
from deltasync.channel.terminal import Asker
from deltasync.errors import AuthenticationError
from tests.sshd import make_key

pytestmark = pytest.mark.needs("ssh")


class User(Asker):
    """Somebody at the terminal, or nobody.

    Attributes:
        prompts: What was asked.
    """

    def __init__(self, *answers: str, there: bool = True) -> None:
        self._answers = list(answers)
        self._there = there
        self.prompts: list[str] = []

    @property
    def present(self) -> bool:
        """See `Asker.present`."""
        return self._there

    def ask(self, prompt: str, *, echo: bool = False) -> str | None:
        """Give the next answer."""
        if not self._there:
            return None
        self.prompts.append(prompt)
        return self._answers.pop(0)


class Server:
    """A transport to a server that wants several factors, one after the other.

    Args:
        steps: For each factor, the methods and what each accepts: a key's public part, a password, or the answers.
    """

    def __init__(self, *steps: dict[str, Any]) -> None:
        self._steps = list(steps)
        self.tried: list[object] = []

    def is_active(self) -> bool:
        """Tell whether the connection stands."""
        return True

    def is_authenticated(self) -> bool:
        """Tell whether the user is in."""
        return not self._steps

    def auth_none(self, user: str) -> list[str]:
        """Ask for the methods."""
        assert user == "me"
        if not self._steps:
            return []
        raise paramiko.BadAuthenticationType("", list(self._steps[0]))

    def _try(self, method: str, given: object) -> list[str]:
        self.tried.append(given)
        if self._steps[0].get(method) != given:
            raise paramiko.AuthenticationException("Authentication failed.")
        del self._steps[0]
        return list(self._steps[0]) if self._steps else []

    def auth_publickey(self, user: str, key: paramiko.PKey) -> list[str]:
        """Offer a key."""
        return self._try("publickey", key.get_base64())

    def auth_password(self, user: str, password: str, fallback: bool = True) -> list[str]:
        """Offer a password."""
        return self._try("password", password)

    def auth_interactive(self, user: str, handler: Callable[[str, str, list[tuple[str, bool]]], list[str]]) -> list[str]:
        """Ask two questions."""
        return self._try("keyboard-interactive", handler("Title", "Do\x1b this", [("Password: ", False), ("Code: ", True)]))


def route(*identities: Path) -> Route:
    """Return a route with these keys, and no agent."""
    return Route("host", 22, "me", None, (), tuple(map(str, identities)), identities_only=True, proxy=None)


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own agent is left alone."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def key_at(path: Path, passphrase: str = "") -> str:
    """Make a key, and return its public part."""
    make_key(path)
    if passphrase:
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, "-f", str(path)], check=True, capture_output=True)
    return path.with_name(f"{path.name}.pub").read_text().split()[1]


def test_keys_are_offered_one_after_the_other(tmp_path: Path) -> None:
    """Files that are none are passed over; those with a passphrase come last, and only as long as none has fitted."""
    keys = [key_at(tmp_path / "locked", "secret"), key_at(tmp_path / "one"), key_at(tmp_path / "two")]
    (tmp_path / "garbage").write_text("no key")
    server, user = Server({"publickey": keys[2]}), User()
    log_in(server, route(*(tmp_path / name for name in ("missing", "garbage", "locked", "one", "two"))), "HOST", user)
    assert server.tried == keys[1:]
    assert user.prompts == []


def test_a_passphrase_is_asked_for(tmp_path: Path) -> None:
    """Again if it was wrong."""
    key = key_at(tmp_path / "locked", "secret")
    user = User("wrong", "secret")
    log_in(Server({"publickey": key}), route(tmp_path / "locked"), "HOST", user)
    assert user.prompts == [f"Passphrase for the key {tmp_path}/locked: "] * 2


def test_a_password_is_asked_for_three_times() -> None:
    """The third may be right."""
    user = User("one", "two", "three")
    log_in(Server({"password": "three"}), route(), "HOST", user)
    assert user.prompts == ["HOST's password: "] * 3
    with pytest.raises(AuthenticationError):
        log_in(Server({"password": "four"}), route(), "HOST", User("one", "two", "three"))


def test_second_factors_are_asked_for(tmp_path: Path) -> None:
    """A key, then the server's own questions, made safe for the terminal."""
    key = key_at(tmp_path / "one")
    user = User("pass", "123")
    log_in(Server({"publickey": key}, {"keyboard-interactive": ["pass", "123"]}), route(tmp_path / "one"), "HOST", user)
    assert user.prompts == ["Title\r\nDo\\x1b this\r\nPassword: ", "Code: "]


def test_where_nobody_is_nobody_is_asked(tmp_path: Path) -> None:
    """What the server would have accepted is told."""
    key_at(tmp_path / "locked", "secret")
    server = Server({"publickey": "other", "password": "x"})
    with pytest.raises(AuthenticationError, match=r"HOST does not let us in: Permission denied \(publickey,password\)"):
        log_in(server, route(tmp_path / "locked"), "HOST", User(there=False))
    assert server.tried == []


def test_a_server_that_wants_nothing_gets_nothing() -> None:
    """It lets everybody in."""
    log_in(Server(), route(), "HOST", User(there=False))


def test_an_answer_may_take_its_time() -> None:
    """Paramiko's limit of 30 s for an answer of the server is none for an answer of the user."""
    server = Server({"keyboard-interactive": ["first", "second"]})
    log_in(server, route(), "me@host", User("first", "second"))
    assert getattr(server, "auth_timeout", 30) >= 120
