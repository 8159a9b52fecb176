"""What the command line asks of the engine, and what it hears while the job runs and at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from deltasync.channel.address import Remote
from deltasync.errors import ExitCode, Problem
from deltasync.wire.settings import Settings

__all__ = ["Direction", "Job", "Observer", "Progress", "Remote", "Summary"]

Direction = Literal["push", "pull"]


@dataclass(frozen=True, slots=True)
class Job:
    """One push or pull.

    Attributes:
        direction: `push` (sources are here) or `pull` (sources are at `remote`).
        sources: Paths as written, as bytes, at least one; a trailing slash means the directory's contents.
        dest: The destination path as written, as bytes; `b""` is the home directory of the far end.
        settings: What both sides must agree on.
        remote: The other end; None when it is this machine (both ends run in this process).
        threads: Size of the pool; None for the number of cores.
        retries: How often a lost connection is made again, once one has stood; 0 or more.
        engine: What computes checksums: `auto`, or one of `deltasync._native.ENGINES`.
    """

    direction: Direction
    sources: tuple[bytes, ...]
    dest: bytes
    settings: Settings
    remote: Remote | None = None
    threads: int | None = None
    retries: int = 5
    engine: str = "auto"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come; every number only grows.

    Attributes:
        files_total: Regular files seen by the scan so far.
        bytes_total: Their content bytes.
        files_done: Regular files that need no more work (unchanged, sent, or failed).
        bytes_done: Their content bytes, with what is sent of the file in hand.
        bytes_sent: Bytes of deltasync on the channel, both directions.
        total_known: Whether the scan is complete, so that the totals are final.
        current: The destination-relative path of the file in hand; `b""` for none.
    """

    files_total: int = 0
    bytes_total: int = 0
    files_done: int = 0
    bytes_done: int = 0
    bytes_sent: int = 0
    total_known: bool = False
    current: bytes = b""


class Observer(Protocol):
    """Whoever watches a run; called on the engine's control thread, so it must be quick and must not raise."""

    def item(self, code: str, path: bytes, link: bytes) -> None:
        """An entry was (or in a dry run would be) created, changed or deleted; `code` is rsync's 11 letters, or `*deleting`.

        `link` is what a symlink points to or a hard link is made from, `b""` for every other type.
        """

    def problem(self, problem: Problem) -> None:
        """A path failed; the run goes on."""

    def note(self, text: str) -> None:
        """Something that the user should know once, one line."""

    def progress(self, progress: Progress) -> None:
        """How far the run has come; called at most some twenty times a second."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run; the fields are those of `{"event": "summary"}` in the JSON contract."""

    files_total: int = 0
    files_sent: int = 0
    entries_changed: int = 0
    files_deleted: int = 0
    bytes_total: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    literal_bytes: int = 0
    matched_bytes: int = 0
    resent_whole: int = 0
    update_modes: dict[str, int] = field(default_factory=lambda: {"clone": 0, "stage": 0, "inplace": 0})
    problems: tuple[Problem, ...] = ()
    elapsed_s: float = 0.0
    channel: str = "local"
    cipher: str = "none"
    engine: str = "python"
    exit_code: ExitCode = ExitCode.OK
