"""What can go wrong on the way to a host, in the same words whichever SSH carries the session."""

from __future__ import annotations

from deltasync.channel.remote_command import NOT_FOUND_CODE, NOT_FOUND_LINE
from deltasync.errors import (
    AuthenticationError,
    ConnectionLost,
    DeadlineExceeded,
    DeltasyncError,
    ExitCode,
    RemoteProtocolError,
    TransportError,
)
from deltasync.tree.names import shown

__all__ = [
    "Unproven",
    "changed_host_key",
    "denied",
    "ended",
    "last_line",
    "not_found",
    "revoked_host_key",
    "silent",
    "unknown_host_key",
    "unreachable",
]


class Unproven(AuthenticationError):
    """The far end's deltasync ended before it answered, since the keys are not those that they should be."""


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
    return AuthenticationError(f"{peer} does not let us in: {why}; see whether `ssh {peer}` does, and compare user and --identity")


def unreachable(peer: str, why: str, remedy: str = "compare its name and port, and see that SSH is let through") -> TransportError:
    """Say that there is no way to the host; `why` is SSH's or the system's own line."""
    return TransportError(f"can't connect to {peer}: {why}; {remedy}")


def not_found(peer: str, command: str | None) -> RemoteProtocolError:
    """Say that the host has no deltasync; `command` is what was asked for there, None if it was looked for."""
    if command is not None:
        return RemoteProtocolError(f"`{shown(command)}` (--remote-path) was not found on {peer}: name what starts deltasync there")
    return RemoteProtocolError(
        f"deltasync was not found on {peer}: install it there "
        "(in a clone of it: python3 -m venv ~/.deltasync && ~/.deltasync/bin/pip install .), or name it with --remote-path"
    )


def ended(error: ConnectionLost, peer: str, command: str | None, *, answered: bool, exit_code: int | None, said: bytes) -> DeltasyncError:
    """Explain a session whose far end is gone.

    Args:
        error: What the session met.
        peer: The host, for the text.
        command: As of `not_found`.
        answered: Whether anything had come from it.
        exit_code: What the remote command exited with; None when that is not known.
        said: What it wrote to standard error and nobody has passed on.
    """
    why = last_line(said)
    if answered:
        return ConnectionLost(f"{peer}: {error}: {why}" if why else f"{peer}: {error}")
    if exit_code == NOT_FOUND_CODE or NOT_FOUND_LINE.encode() in said:
        return not_found(peer, command)
    if exit_code is None or exit_code < 0:
        why = why or "nothing is known of the cause"
        return TransportError(f"{peer} closed the connection without an answer: {why}; see whether `ssh {peer} true` works")
    if exit_code == ExitCode.AUTHENTICATION:
        return Unproven(f"{peer}: {why or 'the far end took the keys for wrong ones'}")
    # SSH has brought us there and back: what was started is no deltasync, or can't run.
    remedy = "see that deltasync runs there, or name it with --remote-path" if command is None else "see that --remote-path names deltasync"
    return RemoteProtocolError(f"no deltasync answered on {peer}: {why or f'the command ended with exit code {exit_code}'}; {remedy}")


def silent(error: DeadlineExceeded, peer: str) -> DeadlineExceeded:
    """Say whose silence was too long."""
    return DeadlineExceeded(f"{peer}: {error}; allow more with --timeout, or look at that machine")


def last_line(said: bytes) -> str:
    """Return the last line that is more than white space, safe for a terminal; `""` when there is none."""
    lines = [line.strip() for line in said.splitlines()]
    return shown(next((line for line in reversed(lines) if line), b""))
