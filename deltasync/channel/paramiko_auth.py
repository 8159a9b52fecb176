"""Logging in over paramiko: the agent's keys, key files, and what only the user knows."""

from __future__ import annotations

import base64
from collections.abc import Generator, Iterator
from typing import Any

from deltasync.channel.paramiko_config import Route
from deltasync.channel.ssh_errors import denied
from deltasync.channel.terminal import Asker
from deltasync.tree.names import shown

__all__ = ["log_in"]

_TRIES = 3
"""How often the user may answer, as with OpenSSH."""

_ANSWER_S = 600.0
"""How long an answer may take. paramiko's 30 s count from the question, and a second factor may come by mail; servers have a limit too."""


def log_in(transport: Any, route: Route, peer: str, asker: Asker) -> None:  # noqa: ANN401 - paramiko has no types.
    """Log in by whatever the server accepts; several factors, one after the other, if it wants them.

    Args:
        transport: A paramiko transport whose host key has been verified.
        route: The login name, and the keys to offer.
        peer: The host, for errors and prompts.
        asker: Asks the user.

    Raises:
        AuthenticationError: The server accepts nothing that we have.
        ConnectionLost: `asker` was closed.
        SSHException: paramiko's own: the connection broke.
    """
    import paramiko

    try:
        methods = _Methods(transport.auth_none(route.user))
    except paramiko.BadAuthenticationType as error:
        methods = _Methods(error.allowed_types)
    try:
        methods.offer_keys(transport, route, asker)
        methods.ask(transport, route, peer, asker)
    except paramiko.AuthenticationException as error:
        raise denied(peer, shown(str(error))) from error
    if not transport.is_authenticated():
        raise denied(peer, f"Permission denied ({','.join(methods.offered)})")


class _Methods:
    """What the server still accepts, and what to do about it."""

    def __init__(self, offered: list[str]) -> None:
        self.offered = offered

    def offer_keys(self, transport: Any, route: Route, asker: Asker) -> None:  # noqa: ANN401
        """Try key after key."""
        import paramiko

        keys = _keys(route, asker)
        while "publickey" in self.offered and (key := next(keys, None)) is not None:
            try:
                self.offered = transport.auth_publickey(route.user, key)
            except paramiko.BadAuthenticationType as error:
                self.offered = error.allowed_types
            except paramiko.AuthenticationException:
                # This key is not wanted; when the server has had enough of them, it ends the connection.
                if not transport.is_active():
                    raise
        keys.close()

    def ask(self, transport: Any, route: Route, peer: str, asker: Asker) -> None:  # noqa: ANN401
        """Ask the user for passwords and second factors."""
        import paramiko

        tries = _TRIES
        transport.auth_timeout = _ANSWER_S
        while tries and asker.present:
            tries -= 1
            try:
                if "keyboard-interactive" in self.offered:
                    self.offered = transport.auth_interactive(route.user, lambda *what: _answers(asker, *what))
                elif "password" in self.offered:
                    password = asker.ask(f"{shown(peer)}'s password: ")
                    if password is None:
                        return
                    self.offered = transport.auth_password(route.user, password, fallback=False)
                else:
                    return
            except paramiko.BadAuthenticationType as error:
                self.offered = error.allowed_types
            except paramiko.AuthenticationException:
                if not tries or not transport.is_active():
                    raise


def _answers(asker: Asker, title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
    """Ask what the server wants to know; what it says is escaped."""
    told = "".join(f"{shown(text.strip())}\r\n" for text in (title, instructions) if text.strip())
    answers = []
    for number, (prompt, echo) in enumerate(prompts):
        answers.append(asker.ask(("" if number else told) + shown(prompt), echo=echo) or "")
    return answers


def _keys(route: Route, asker: Asker) -> Generator[Any, None, None]:
    """Give the keys one after the other: the agent's, the files, and at last those that want a passphrase."""
    import paramiko

    agent = paramiko.Agent()
    locked = []
    try:
        wanted = {blob for path in route.identities if (blob := _public_blob(path)) is not None}
        held = {key.asbytes(): key for key in agent.get_keys()}
        yield from (key for blob, key in held.items() if blob in wanted)
        for path in route.identities:
            try:
                key = paramiko.PKey.from_path(path)
            except (paramiko.PasswordRequiredException, TypeError):
                locked.append(path)
                continue
            except (OSError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType):
                # The default files need not be there, and one that is of a kind that paramiko can't use may lie beside another.
                continue
            yield key
        if not route.identities_only:
            yield from (key for blob, key in held.items() if blob not in wanted)
    finally:
        agent.close()
    for path in locked:
        if _public_blob(path) not in held:
            yield from _unlocked(path, asker)


def _unlocked(path: str, asker: Asker) -> Iterator[Any]:
    """Ask for the passphrase of a key file; gives nothing when there is no terminal or it is not known."""
    import paramiko

    for _ in range(_TRIES):
        passphrase = asker.ask(f"Passphrase for the key {shown(path)}: ")
        if not passphrase:
            return
        try:
            yield paramiko.PKey.from_path(path, passphrase.encode("utf-8", "surrogateescape"))
        except (ValueError, paramiko.SSHException):
            # It was not that one.
            continue
        return


def _public_blob(path: str) -> bytes | None:
    """Return the public key beside a private key file, as it travels; None when there is none."""
    try:
        with open(path if path.endswith(".pub") else f"{path}.pub", encoding="utf-8", errors="replace") as file:
            return base64.b64decode(file.read().split()[1], validate=True)
    except (OSError, IndexError, ValueError):
        return None
