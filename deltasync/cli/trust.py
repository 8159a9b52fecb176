"""`deltasync key`, `trust` and `known`: this installation's identity, and whom it trusts. Their words are few, so they do without click."""

from __future__ import annotations

from deltasync.cli.streams import print_text
from deltasync.errors import UsageError
from deltasync.fs.own_key import home, load, load_or_make, replace
from deltasync.fs.trust import Daemon, Peer, authorized_peers, known_daemons, parse_allow
from deltasync.tree.names import shown
from deltasync.wire.keys import KEY_CHARS, decode_public, encode

__all__ = ["key", "known", "trust"]

KEY_HELP = """\
Usage: deltasync key show
       deltasync key new [--force]

The key pair that this installation is known by over TCP. The private part stays in DELTASYNC_HOME; what is printed is the public one.

  show          print the key; make the pair if there is none
  new           make a pair; over an existing one only with --force: whoever trusts the old key must then be told the new one
"""

TRUST_HELP = """\
Usage: deltasync trust add KEY --allow NAME[:ro]... [--name TEXT]
       deltasync trust list
       deltasync trust remove KEY

Which clients may do what with the roots that deltasync listen shares here. A running listener follows within two seconds.

  add           let KEY use the roots; what it was allowed before is replaced
  --allow NAME  a root as it is shared; NAME:ro to fetch alone; '*' for all as they are shared. May be repeated
  --name TEXT   what the client is called in lists and logs
  list          print each key, its name and what it may use, with tabs between
  remove        let KEY do nothing more
"""

KNOWN_HELP = """\
Usage: deltasync known add HOST:PORT KEY
       deltasync known list
       deltasync known remove HOST:PORT

Which key the listener at an address must prove before push and pull tell it anything.

  add           expect KEY at HOST:PORT, written as in tcp://HOST:PORT/NAME; what was expected before is replaced
  list          print each key and its address, with a tab between
  remove        forget what is expected at HOST:PORT
"""


def key(words: list[str]) -> int:
    """Run `deltasync key`; return the exit code.

    Raises:
        DeltasyncError: Wrong usage, or the key can't be read or made.
    """
    if "--help" in words:
        print_text(KEY_HELP)
    elif words == ["show"]:
        print_text(f"{encode(load_or_make(home()).public)}\n")
    elif words == ["new", "--force"]:
        print_text(f"{encode(replace(home()).public)}\n")
    elif words == ["new"]:
        if load(home()) is not None:
            raise UsageError("there is a key already, and others may trust it: see deltasync key show; key new --force replaces it")
        print_text(f"{encode(load_or_make(home()).public)}\n")
    else:
        raise UsageError("key takes show, or new with or without --force; see deltasync key --help")
    return 0


def trust(words: list[str]) -> int:
    """Run `deltasync trust`; return the exit code.

    Raises:
        DeltasyncError: Wrong usage, or the list can't be read or written.
    """
    if "--help" in words:
        print_text(TRUST_HELP)
        return 0
    if words[:1] == ["add"]:
        peer = _peer(words[1:])
        authorized_peers(home()).add(peer)
    elif words == ["list"]:
        peers = authorized_peers(home()).entries()
        print_text("".join(f"{peer.handle}\t{shown(peer.name)}\t{peer.allow_text}\n" for peer in peers))
    elif words[:1] == ["remove"] and len(words) == 2:
        if not authorized_peers(home()).remove(words[1]):
            raise UsageError(f"{shown(words[1])} is not in the list: see deltasync trust list")
    else:
        raise UsageError("trust takes add KEY --allow NAME, list, or remove KEY; see deltasync trust --help")
    return 0


def known(words: list[str]) -> int:
    """Run `deltasync known`; return the exit code.

    Raises:
        DeltasyncError: Wrong usage, or the list can't be read or written.
    """
    if "--help" in words:
        print_text(KNOWN_HELP)
        return 0
    if words[:1] == ["add"] and len(words) == 3:
        from deltasync.cli.places import tcp_address

        address = str(tcp_address(words[1]))
        known_daemons(home()).add(Daemon(address, _public(words[2])))
    elif words == ["list"]:
        daemons = known_daemons(home()).entries()
        print_text("".join(f"{encode(daemon.key)}\t{shown(daemon.address)}\n" for daemon in daemons))
    elif words[:1] == ["remove"] and len(words) == 2:
        if not known_daemons(home()).remove(words[1]):
            raise UsageError(f"{shown(words[1])} is not in the list: see deltasync known list")
    else:
        raise UsageError("known takes add HOST:PORT KEY, list, or remove HOST:PORT; see deltasync known --help")
    return 0


def _public(text: str) -> bytes:
    try:
        return decode_public(text)
    except ValueError as error:
        raise UsageError(f"{shown(text) or repr('')} is no key: {error}; deltasync key show prints one") from error


def _peer(words: list[str]) -> Peer:
    """Return whom `trust add` is about; what follows `--allow` up to the next option are grants."""
    keys: list[str] = []
    grants: list[str] = []
    name = ""
    left = iter(words)
    into = keys
    for word in left:
        option, equals, value = word.partition("=")
        if option == "--name":
            name = value if equals else next(left, "")
            if not name or shown(name) != name or name != name.strip():
                raise UsageError("trust add: --name needs a text of one line")
        elif option == "--allow":
            into = grants
            if equals:
                grants += value.split(",")
        elif word.startswith("--") and len(word) != KEY_CHARS:
            raise UsageError(f"trust add: no such option: {shown(word)}; see deltasync trust --help")
        elif into is grants and grants and not keys:
            keys.append(word)
        else:
            into += word.split(",") if into is grants else [word]
    if len(keys) != 1:
        raise UsageError("trust add takes one KEY; see deltasync trust --help")
    try:
        return Peer(_public(keys[0]), parse_allow(grants), name)
    except ValueError as error:
        raise UsageError(f"trust add: --allow: {error}") from error
