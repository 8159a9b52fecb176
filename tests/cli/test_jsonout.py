"""JSON lines: every key of the contract, and paths of any bytes."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltasync.cli.jsonout import item_event, path_fields, summary_event
from deltasync.engine.job import Summary
from deltasync.errors import ExitCode, Problem


@pytest.mark.parametrize(
    ("code", "path", "event"),
    [
        (">f+++++++++", b"a", {"path": "a"}),
        ("*deleting", b"d/", {"path": "d"}),
        ("cd+++++++++", b".", {"path": "."}),
        (">f+++++++++", b"a\xff\xc3\xa9", {"path": "a\\xff\u00e9", "path_b64": "Yf/DqQ=="}),
        (">f+++++++++", b"\x1b\n\\xff", {"path": "\x1b\n\\xff"}),
    ],
)
def test_an_item_has_code_and_path(code: str, path: bytes, event: dict[str, str]) -> None:
    """A path is plain text where it can be, and has no slash at its end."""
    assert json.loads(item_event(code, path)) == {"event": "item", "code": code, **event}


@given(st.binary())
def test_a_path_can_always_be_had_back(path: bytes) -> None:
    """From `path_b64`, or else from `path`; the line is ASCII without a line break."""
    fields = path_fields(path)
    assert (b64decode(fields["path_b64"]) if "path_b64" in fields else fields["path"].encode()) == path
    line = item_event("cd+++++++++", path)
    assert line.isascii()
    assert "\n" not in line


def test_the_summary_has_the_keys_of_the_contract() -> None:
    """All of them, with the exit code as a number and problems as objects."""
    summary = Summary(
        files_total=1, files_sent=2, entries_changed=3, files_deleted=4, bytes_total=5, bytes_sent=6, bytes_received=7, literal_bytes=8,
        matched_bytes=9, resent_whole=10, problems=(Problem(b"a", "no"), Problem(b"\xff", "no")), elapsed_s=1.5, channel="ssh",
        cipher="AES-256-GCM", exit_code=ExitCode.PARTIAL,
    )  # fmt: skip
    assert json.loads(summary_event(summary)) == {
        "event": "summary",
        "files_total": 1,
        "files_sent": 2,
        "entries_changed": 3,
        "files_deleted": 4,
        "bytes_total": 5,
        "bytes_sent": 6,
        "bytes_received": 7,
        "literal_bytes": 8,
        "matched_bytes": 9,
        "resent_whole": 10,
        "update_modes": {"clone": 0, "stage": 0, "inplace": 0},
        "problems": [{"path": "a", "error": "no"}, {"path": "\\xff", "path_b64": "/w==", "error": "no"}],
        "elapsed_s": 1.5,
        "channel": "ssh",
        "cipher": "AES-256-GCM",
        "engine": "python",
        "exit_code": 23,
    }
