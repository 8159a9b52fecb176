"""Places: what is a host, what is a path, and what is refused."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.cli.places import Host, Place, Route, parse_place, route
from deltasync.errors import UsageError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a", Place(b"a")),
        ("a/", Place(b"a/")),
        ("/a:b", Place(b"/a:b")),
        ("./a:b", Place(b"./a:b")),
        ("d/a:b", Place(b"d/a:b")),
        ("me@d/a:b", Place(b"me@d/a:b")),
        ("[a]", Place(b"[a]")),
        ("~", Place(b"./~")),
        ("~x/y", Place(b"./~x/y")),
        ("h:", Place(b"", Host("h"))),
        ("h:p", Place(b"p", Host("h"))),
        ("h:/p:q/", Place(b"/p:q/", Host("h"))),
        ("h:~/p", Place(b"~/p", Host("h"))),
        ("me@h:p", Place(b"p", Host("h", "me"))),
        ("me@home@h:p", Place(b"p", Host("h", "me@home"))),
        ("[::1]:p", Place(b"p", Host("::1"))),
        ("me@[fe80::1%eth0]:/p", Place(b"/p", Host("fe80::1%eth0", "me"))),
        ("h:a\nb", Place(b"a\nb", Host("h"))),
        ("ssh://h", Place(b"", Host("h"))),
        ("ssh://h/", Place(b"/", Host("h"))),
        ("SSH://h/p", Place(b"/p", Host("h"))),
        ("ssh://me@h:22/p/q/", Place(b"/p/q/", Host("h", "me", 22))),
        ("ssh://[::1]:2222/p", Place(b"/p", Host("::1", None, 2222))),
        ("ssh://h/~", Place(b"", Host("h"))),
        ("ssh://h/~/p/", Place(b"p/", Host("h"))),
        ("ssh://h/~you/p", Place(b"~you/p", Host("h"))),
        ("ssh://h/p:q@r", Place(b"/p:q@r", Host("h"))),
        ("tcp://h/m", Place(b"", Host("h", root="m"))),
        ("tcp://h/m/", Place(b"", Host("h", root="m"))),
        ("tcp://h:8731/m/p/q/", Place(b"p/q/", Host("h", None, 8731, "m"))),
        ("TCP://[::1]:1/m//p", Place(b"p", Host("::1", None, 1, "m"))),
    ],
)
def test_a_place_is_a_path_or_a_path_at_a_host(text: str, place: Place) -> None:
    """Each form of the contract is understood."""
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "", ":p", "@h:p", "-h:p", "me@-h:p", "-oProxyCommand=x@h:p", "h h:p", "h\n:p", "[]:p", "[-x]:p", "[::1]", "[::1]p:q", "h::module",
        "rsync://h/m", "tcp://h", "tcp://h/", "tcp:///m", "tcp://me@h/m", "tcp://h:0/m", "tcp://h/../p", "tcp://h/a b",
        "tcp://::1/m", "ssh://", "ssh:///p", "ssh://-h/p", "ssh://-u@h/p", "ssh://h:0/p", "ssh://h:65536/p",
        "ssh://h:x/p", "ssh://@h/p", "ssh://::1/p",
    ],
)  # fmt: skip
def test_what_is_no_place_is_a_usage_error(text: str) -> None:
    """A place that could be misunderstood, by SSH above all, is refused with a line that can be shown."""
    with pytest.raises(UsageError) as caught:
        parse_place(text)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_survive() -> None:
    """An argument that is not UTF-8 is the same path in the end."""
    assert parse_place(os.fsdecode(b"h:a\xff")).path == b"a\xff"
    assert parse_place(os.fsdecode(b"a\xff")).path == b"a\xff"


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    """No argument ends in anything but a place or a usage error, and no host begins with a dash."""
    try:
        place = parse_place(text)
    except UsageError:
        return
    assert place.host is None or not place.host.name.startswith("-")


def test_a_route_knows_which_side_is_here() -> None:
    """Sources of a push are here; a pull of local sources is a push."""
    here, there = Place(b"a"), Place(b"p", Host("h"))
    assert route("push", [here], there) == Route((b"a",), b"p", Host("h"), sends=True)
    assert route("push", [here, here], here).host is None
    assert route("pull", [there, there], here) == Route((b"p", b"p"), b"a", Host("h"), sends=False)
    assert route("pull", [here], here) == Route((b"a",), b"a", None, sends=True)


@pytest.mark.parametrize(
    ("direction", "sources", "dest"),
    [
        ("push", [Place(b"p", Host("h"))], Place(b"a")),
        ("push", [Place(b"p", Host("h"))], Place(b"a", Host("h"))),
        ("push", [Place(b"a"), Place(b"p", Host("h"))], Place(b"a")),
        ("pull", [Place(b"p", Host("h"))], Place(b"a", Host("h"))),
        ("pull", [Place(b"a")], Place(b"a", Host("h"))),
        ("pull", [Place(b"p", Host("h")), Place(b"p", Host("g"))], Place(b"a")),
        ("pull", [Place(b"p", Host("h")), Place(b"p", Host("h", "me"))], Place(b"a")),
        ("pull", [Place(b"p", Host("h")), Place(b"b")], Place(b"a")),
        ("pull", [Place(b"p", Host("h", root="m")), Place(b"p", Host("h", root="n"))], Place(b"a")),
    ],
)
def test_places_that_do_not_fit_are_refused(direction: str, sources: list[Place], dest: Place) -> None:
    """A push does not fetch, a pull does not send, and one run speaks with one host."""
    with pytest.raises(UsageError):
        route(direction, sources, dest)
