"""The host keys that the user trusts, read from known_hosts files as OpenSSH reads them (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").

paramiko has a reader of its own, which fails on files with markers and knows no patterns. Lines marked `@cert-authority` are left out: host
certificates are none of paramiko's abilities, so a host that has only such a line is not known.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

__all__ = ["KnownHosts", "Verdict", "names_of"]

SSH_PORT = 22

_HASHED = "|1|"


class Verdict(Enum):
    """What the files say about a host's key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


class _Entry(NamedTuple):
    revoked: bool
    patterns: tuple[str, ...]
    key_type: str
    key: bytes

    def matches(self, name: str) -> bool:
        """Tell whether the line is about the host of this name: one pattern fits, and none that is negated."""
        found = False
        for pattern in self.patterns:
            if _fits(pattern.removeprefix("!"), name):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


def names_of(host: str, port: int, alias: str | None = None) -> tuple[str, ...]:
    """Return the names that a host's line may have, the best first; an alias (HostKeyAlias) replaces them all."""
    if alias is not None:
        return (alias.lower(),)
    name = host.lower()
    # As OpenSSH does, a key known without a port is good for any.
    return (name,) if port == SSH_PORT else (f"[{name}]:{port}", name)


class KnownHosts:
    """The lines of some known_hosts files that say something.

    Args:
        lines: Their lines; what is malformed or of no known form is left out, as OpenSSH does.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._entries = [entry for line in lines if (entry := _parsed(line)) is not None]

    @classmethod
    def read(cls, paths: Iterable[str]) -> KnownHosts:
        """Read files; one that is not there or can't be read vouches for nobody."""
        lines: list[str] = []
        for path in paths:
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    lines += file
            except OSError:
                # Hosts that only this file knows are then unknown, and refused.
                continue
        return cls(lines)

    def key_types(self, names: Iterable[str]) -> list[str]:
        """Return the types of the keys known for a host, in the order of the files."""
        return list(dict.fromkeys(entry.key_type for name in names for entry in self._entries if entry.matches(name) and not entry.revoked))

    def verdict(self, names: Iterable[str], key_type: str, key: bytes) -> Verdict:
        """Say what is known of a host's key.

        Args:
            names: As `names_of` returns them.
            key_type: The type of the key, `ssh-ed25519` for example.
            key: The public key as it travels.
        """
        names = tuple(names)
        about = [[entry for entry in self._entries if entry.matches(name)] for name in names]
        if any(entry.revoked and entry.key == key for entries in about for entry in entries):
            return Verdict.REVOKED
        # The names behind the first one only stand in for it: they can't make good that its own key is another.
        first = [entry for entry in about[0] if not entry.revoked and entry.key_type == key_type]
        if first and all(entry.key != key for entry in first):
            return Verdict.CHANGED
        if any(not entry.revoked and entry.key == key for entries in about for entry in entries):
            return Verdict.KNOWN
        return Verdict.UNKNOWN


def _parsed(line: str) -> _Entry | None:
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#") or marker not in {"", "@revoked"}:
        return None
    try:
        key = base64.b64decode(words[2], validate=True)
    except ValueError:
        return None
    return _Entry(marker == "@revoked", tuple(words[0].split(",")), words[1], key)


def _fits(pattern: str, name: str) -> bool:
    if pattern.startswith(_HASHED):
        salt, _, digest = pattern.removeprefix(_HASHED).partition("|")
        try:
            expected = base64.b64decode(digest, validate=True)
            found = hmac.new(base64.b64decode(salt, validate=True), name.encode("utf-8", "surrogateescape"), hashlib.sha1).digest()
        except ValueError:
            return False
        return hmac.compare_digest(found, expected)
    wild = re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, name, re.DOTALL) is not None
