"""What a script reads: one JSON object a line, as the contract of `--json` says. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from deltasync.engine.job import Summary
from deltasync.tree.itemize import DELETING

__all__ = ["event", "item_event", "path_fields", "summary_event"]


NOTHING: Mapping[str, object] = MappingProxyType({})


def event(name: str, **fields: object) -> str:
    """Return the line of any other event."""
    return json.dumps({"event": name, **fields})


def path_fields(path: bytes) -> dict[str, str]:
    r"""Return `path`, and `path_b64` as well where the path is not valid UTF-8: its bytes that are none become `\xff`."""
    try:
        return {"path": path.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"path": path.decode("utf-8", "backslashreplace"), "path_b64": b64encode(path).decode()}


def item_event(code: str, path: bytes) -> str:
    """Return the line of an item of the engine."""
    plain = path.rstrip(b"/") if code == DELETING else path
    return json.dumps({"event": "item", "code": code, **path_fields(plain)})


def summary_event(summary: Summary, more: Mapping[str, object] = NOTHING) -> str:
    """Return the last line; `more` are fields beside those of every run."""
    return json.dumps(
        {
            "event": "summary",
            "files_total": summary.files_total,
            "files_sent": summary.files_sent,
            "entries_changed": summary.entries_changed,
            "files_deleted": summary.files_deleted,
            "bytes_total": summary.bytes_total,
            "bytes_sent": summary.bytes_sent,
            "bytes_received": summary.bytes_received,
            "literal_bytes": summary.literal_bytes,
            "matched_bytes": summary.matched_bytes,
            "resent_whole": summary.resent_whole,
            "update_modes": summary.update_modes,
            "problems": [{**path_fields(problem.path), "error": problem.error} for problem in summary.problems],
            "elapsed_s": summary.elapsed_s,
            "channel": summary.channel,
            "cipher": summary.cipher,
            "engine": summary.engine,
            "exit_code": int(summary.exit_code),
            **more,
        }
    )
