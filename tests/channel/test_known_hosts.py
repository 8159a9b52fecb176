"""Known hosts are read as OpenSSH reads them: patterns, hashes, markers, and whatever else stands in such files."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.channel.known_hosts import KnownHosts, Verdict, names_of

KEY, OTHER = b"one key", b"another key"
TYPE = "ssh-ed25519"


def line(patterns: str, key: bytes = KEY, *, kind: str = TYPE, marker: str = "") -> str:
    """Return one line of a file."""
    return f"{marker} {patterns} {kind} {base64.b64encode(key).decode()} a comment".lstrip()


def verdict(lines: list[str], host: str = "host.example", port: int = 22, alias: str | None = None, key: bytes = KEY) -> Verdict:
    """Return what the lines say about the key."""
    return KnownHosts(lines).verdict(names_of(host, port, alias), TYPE, key)


@pytest.mark.parametrize(
    ("patterns", "host", "port"),
    [
        ("host.example", "host.example", 22),
        ("HOST.Example", "host.EXAMPLE", 22),
        ("other,host.example,10.0.0.1", "10.0.0.1", 22),
        ("*.example", "host.example", 22),
        ("hos?.example", "host.example", 22),
        ("[host.example]:2222", "host.example", 2222),
        ("host.example", "host.example", 2222),
        ("[::1]:2222", "::1", 2222),
        ("[*]:2222", "host.example", 2222),
    ],
)
def test_a_host_is_found_by_its_patterns(patterns: str, host: str, port: int) -> None:
    """By name or address, whatever its case, with or without a port, with wildcards."""
    assert verdict([line(patterns)], host, port) is Verdict.KNOWN


@pytest.mark.parametrize(
    ("patterns", "host", "port"),
    [
        ("host", "host.example", 22),
        ("*.example,!host.example", "host.example", 22),
        ("!other.example", "host.example", 22),
        ("[host.example]:2222", "host.example", 22),
        ("[host.example]:2222", "host.example", 2223),
        ("hos[t].example", "host.example", 22),
        ("hostXexample", "host.example", 22),
    ],
)
def test_no_other_host_is(patterns: str, host: str, port: int) -> None:
    """A negated pattern takes back what another gave; brackets and dots stand for themselves."""
    assert verdict([line(patterns)], host, port) is Verdict.UNKNOWN


def test_an_alias_replaces_the_name() -> None:
    """HostKeyAlias stands without a port, and the host's own name is not looked for."""
    assert verdict([line("alias")], port=2222, alias="Alias") is Verdict.KNOWN
    assert verdict([line("host.example")], alias="alias") is Verdict.UNKNOWN


def test_another_key_of_the_same_type_is_a_change() -> None:
    """One of another type says nothing, and neither does one of another port."""
    assert verdict([line("host.example", OTHER)]) is Verdict.CHANGED
    assert verdict([line("host.example", OTHER, kind="ssh-rsa")]) is Verdict.UNKNOWN
    assert verdict([line("host.example", OTHER), line("host.example")]) is Verdict.KNOWN
    assert verdict([line("host.example", OTHER)], port=2222) is Verdict.UNKNOWN


def test_a_revoked_key_is_revoked_whatever_else_is_said() -> None:
    """In any order, by any of the host's names; for other hosts and other keys it says nothing."""
    revoked = line("*", marker="@revoked")
    assert verdict([line("host.example"), revoked]) is Verdict.REVOKED
    assert verdict([revoked, line("[host.example]:2222")], port=2222) is Verdict.REVOKED
    assert verdict([line("host.example", OTHER), revoked], key=OTHER) is Verdict.KNOWN
    assert verdict([line("host.example"), line("other.example", marker="@revoked")]) is Verdict.KNOWN
    assert verdict([line("host.example", OTHER, marker="@revoked")]) is Verdict.UNKNOWN


def test_an_authority_vouches_for_no_plain_key() -> None:
    """Nor does a line with a marker that is not known."""
    assert verdict([line("*", marker="@cert-authority"), line("*", marker="@else")]) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "\n",
        "# host.example",
        "host.example",
        "host.example ssh-ed25519",
        "host.example ssh-ed25519 %%%",
        "host.example ssh-ed25519 \x80",
        "@revoked",
        "|1|%%%|%%% ssh-ed25519 AAAA",
        "|1|AAAA ssh-ed25519 AAAA",
        "|1|\x80|\x80 ssh-ed25519 AAAA",
        "|1| ssh-ed25519 AAAA",
    ],
)
def test_a_bad_line_says_nothing(bad: str) -> None:
    """The others count as before."""
    assert verdict([bad, line("host.example")]) is Verdict.KNOWN


@given(st.lists(st.text()))
def test_no_line_is_too_strange(lines: list[str]) -> None:
    """Whatever a file holds, no host becomes known by it."""
    assert verdict(lines) is Verdict.UNKNOWN


@pytest.mark.needs("ssh")
def test_hashed_names_are_found(tmp_path: Path) -> None:
    """As ssh-keygen hashes them, with and without a port."""
    path = tmp_path / "known_hosts"
    key = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
    path.write_text(f"host.example {TYPE} {key}\n[host.example]:2222 {TYPE} {key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, capture_output=True)
    assert "host.example" not in path.read_text()
    known = KnownHosts.read([str(tmp_path / "missing"), str(path)])
    for host, port, found in (("Host.example", 22, True), ("host.example", 2222, True), ("other", 22, False)):
        assert (known.verdict(names_of(host, port), TYPE, base64.b64decode(key)) is Verdict.KNOWN) is found


def test_the_types_known_for_a_host_are_named() -> None:
    """Each once, in the order of the file; those that are revoked are not wanted."""
    lines = [
        line("host.example", kind="ssh-rsa"),
        line("*", OTHER, kind="x", marker="@revoked"),
        line("*"),
        line("*", OTHER, kind="ssh-rsa"),
    ]
    assert KnownHosts(lines).key_types(names_of("host.example", 22)) == ["ssh-rsa", TYPE]


def test_a_key_known_without_a_port_excuses_no_change() -> None:
    """It stands in where nothing is known with the port, as for ssh; a key of another type that is known there is no change."""
    plain, changed = line("host.example"), line("[host.example]:2222", OTHER)
    assert verdict([plain], port=2222) is Verdict.KNOWN
    assert verdict([plain, changed], port=2222) is Verdict.CHANGED
    assert verdict([plain, line("[host.example]:2222", OTHER, kind="ssh-rsa")], port=2222) is Verdict.KNOWN
    assert verdict([line("host.example", OTHER)], port=2222) is Verdict.UNKNOWN
