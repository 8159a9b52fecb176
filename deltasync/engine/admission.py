"""Who may do what at a listener: its roots, the list of trusted clients as it stands now, and a pairing that works once."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from deltasync.errors import StateError
from deltasync.fs.line_file import Stamp
from deltasync.fs.trust import ALL, Listed, Peer, parse_allow
from deltasync.tree.names import shown
from deltasync.wire.keys import KEY_BYTES

__all__ = ["PAIRING_S", "Admission", "Grant", "Pairing", "SharedRoot"]

PAIRING_S = 600.0
"""How long a token is good for."""

MAX_NAME_CHARS = 64
_TICK_NS = 50_000_000
"""A file changed within this time of being read may change again without looking changed; it is read again."""


@dataclass(frozen=True, slots=True)
class SharedRoot:
    """A root of a listener.

    Attributes:
        name: What clients call it.
        path: Where it is, for logs.
        fd: It, held open.
        read_only: Whether it is shared to be fetched from alone.
    """

    name: str
    path: bytes
    fd: int
    read_only: bool


class Grant(NamedTuple):
    """What a client may do: which root, whether only read, and what the client is called in logs."""

    root: SharedRoot
    read_only: bool
    client: str


@dataclass(slots=True)
class Pairing:
    """A token that lets one unknown client in, once, within ten minutes.

    Attributes:
        token: 32 bytes, the pre-shared key of the handshake.
        until: When it ends, by the monotonic clock.
    """

    token: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    until: float = field(default_factory=lambda: monotonic() + PAIRING_S)


class Admission:
    """What a listener decides by.

    Args:
        roots: The roots by name.
        peers: The list of trusted clients.
        pairing: The pairing that is open; None if none is.

    Attributes:
        trouble: What is wrong with the list, one line; None while all is well. Nobody is let in by what can't be read.
    """

    def __init__(self, roots: Mapping[str, SharedRoot], peers: Listed[Peer], pairing: Pairing | None = None) -> None:
        self._roots = roots
        self._list = peers
        self._pairing = pairing
        self._peers: dict[bytes, Peer] = {}
        self._stamp: Stamp | None = None
        self._settled = False
        self.trouble: str | None = None

    def refresh(self) -> bool:
        """Read the list again if it has changed; tell whether it was read."""
        stamp = self._list.stamp()
        if self._settled and stamp == self._stamp:
            return False
        self._stamp = stamp
        self._settled = stamp is None or time.time_ns() - max(stamp.mtime_ns, stamp.ctime_ns) > _TICK_NS
        try:
            peers, bad = self._list.read()
        except StateError as error:
            peers, bad, self.trouble = [], [], str(error)
        else:
            self.trouble = f"{shown(self._list.path)}, line {bad[0]}: this is no entry and grants nothing" if bad else None
        self._peers = {peer.key: peer for peer in peers}
        return True

    def grant(self, key: bytes, request: bytes) -> Grant | None:
        """Return what a client may do with a root that it asks for; None if nothing, whether there is such a root or not."""
        root = self._roots.get(request.decode("ascii", "replace"))
        peer = self._peers.get(key)
        access = peer.access(root.name) if peer is not None and root is not None else None
        if peer is None or root is None or access is None:
            return None
        return Grant(root, root.read_only or access, peer.name)

    @property
    def token(self) -> bytes | None:
        """The token of the pairing that is open; None if none is."""
        if self._pairing is not None and monotonic() >= self._pairing.until:
            self._pairing = None
        return None if self._pairing is None else self._pairing.token

    def pair(self, key: bytes, name: bytes) -> Peer:
        """Trust a client that has proven the token, which is of no use from now on, whatever happens here.

        Raises:
            StateError: The list can't be written.
        """
        self._pairing = None
        text = " ".join(shown(name).split())[:MAX_NAME_CHARS]
        peer = Peer(key, parse_allow([ALL]), text)
        self._list.add(peer)
        return peer
