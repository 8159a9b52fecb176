"""What can go wrong on the way to a host, in the same words whichever SSH carries the session."""

from __future__ import annotations

from deltasync.channel.remote_command import NOT_FOUND_CODE, NOT_FOUND_LINE
from deltasync.errors import AuthenticationError, ConnectionLost, DeltasyncError, RemoteProtocolError, TransportError
from deltasync.tree.names import shown

__all__ = ["changed_host_key", "denied", "ended", "last_line", "not_found", "revoked_host_key", "unknown_host_key", "unreachable"]


def unknown_host_key(peer: str) -> AuthenticationError:
    """Say that nobody has vouched for the host's key."""
    return AuthenticationError(
        f"the host key of {peer} is not known, and was not trusted: "
        f"connect once with `ssh {peer}` and compare its fingerprint, or add it to known_hosts"
    )


def changed_host_key(peer: str) -> AuthenticationError:
    """Say that the host has another key than known."""
    return AuthenticationError(
        f"the host key of {peer} is not the one in known_hosts: somebody may be in between; "
        "if the key was changed on purpose, remove the old one with `ssh-keygen -R`"
    )


def revoked_host_key(peer: str) -> AuthenticationError:
    """Say that the host's key is one that nobody may trust any more."""
    return AuthenticationError(f"the host key of {peer} is marked @revoked in known_hosts: it must not be trusted")


def denied(peer: str, why: str) -> AuthenticationError:
    """Say that the host does not let us in; `why` is SSH's own line."""
    return AuthenticationError(f"{peer} does not let us in: {why}")


def unreachable(peer: str, why: str) -> TransportError:
    """Say that there is no way to the host; `why` is SSH's or the system's own line."""
    return TransportError(f"can't connect to {peer}: {why}")


def not_found(peer: str, command: str | None) -> RemoteProtocolError:
    """Say that the host has no deltasync; `command` is what was asked for there, None if it was looked for."""
    if command is not None:
        return RemoteProtocolError(f"`{shown(command)}` (--remote-path) was not found on {peer}")
    return RemoteProtocolError(
        f"deltasync was not found on {peer}: install it there "
        "(python3 -m venv ~/.deltasync && ~/.deltasync/bin/pip install deltasync), or name it with --remote-path"
    )


def ended(error: ConnectionLost, peer: str, command: str | None, *, answered: bool, exit_code: int | None, said: bytes) -> DeltasyncError:
    """Explain a session whose far end is gone.

    Args:
        error: What the session met.
        peer: The host, for the text.
        command: As of `not_found`.
        answered: Whether anything had come from it.
        exit_code: What the remote command exited with; None when that is not known.
        said: What it wrote to standard error.
    """
    why = last_line(said)
    if answered:
        return ConnectionLost(f"{error}: {why}") if why else error
    if exit_code == NOT_FOUND_CODE or NOT_FOUND_LINE.encode() in said:
        return not_found(peer, command)
    why = why or ("nothing is known of the cause" if exit_code is None else f"the command there ended with exit code {exit_code}")
    return TransportError(f"{peer} closed the connection without an answer: {why}")


def last_line(said: bytes) -> str:
    """Return the last line that is more than white space, safe for a terminal; `""` when there is none."""
    lines = [line.strip() for line in said.splitlines()]
    return shown(next((line for line in reversed(lines) if line), b""))
