"""What the command line asks of the engine, and what it hears while the job runs and at its end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from deltasync.channel.address import DataPlan, Remote, TcpRemote
from deltasync.engine.progress import Progress
from deltasync.errors import ExitCode, Problem
from deltasync.wire.settings import Settings

__all__ = ["DataPlan", "Direction", "Job", "Observer", "Progress", "Remote", "Summary", "TcpRemote", "channel_of"]

Direction = Literal["push", "pull"]


def channel_of(remote: Remote | TcpRemote | None) -> str:
    """Return what the summary calls the way to the other end."""
    if remote is None:
        return "local"
    return "tcp" if isinstance(remote, TcpRemote) else "ssh"


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
        data: What the user says about a data connection beside SSH; None where none is wanted.
        e2e: The public key, 32 bytes, that a far end over SSH must prove to hold; None where SSH is enough.
        engine: What computes checksums: `auto`, or one of `deltasync._native.ENGINES`.
    """

    direction: Direction
    sources: tuple[bytes, ...]
    dest: bytes
    settings: Settings
    remote: Remote | TcpRemote | None = None
    threads: int | None = None
    retries: int = 5
    engine: str = "auto"
    data: DataPlan | None = None
    e2e: bytes | None = None


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

    def broken_off(self, reached: Summary) -> None:
        """The run ends early, by an error that is raised next; `reached` is what had been done until then. Called last, and at most once.

        Of a push only the far end knows all: what it had not told yet is missing, but that a file that was sent counts as changed.
        """


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

    def after(self, earlier: Summary) -> Summary:
        """Return the sum of a run, of which this is the last attempt: what was done adds up, and all else is the last one's.

        An attempt that considered nothing, since no connection was made any more, leaves the totals of those before.
        """
        return replace(
            self,
            files_total=self.files_total or earlier.files_total,
            files_sent=self.files_sent + earlier.files_sent,
            entries_changed=self.entries_changed + earlier.entries_changed,
            files_deleted=self.files_deleted + earlier.files_deleted,
            bytes_total=self.bytes_total or earlier.bytes_total,
            bytes_sent=self.bytes_sent + earlier.bytes_sent,
            bytes_received=self.bytes_received + earlier.bytes_received,
            literal_bytes=self.literal_bytes + earlier.literal_bytes,
            matched_bytes=self.matched_bytes + earlier.matched_bytes,
            resent_whole=self.resent_whole + earlier.resent_whole,
            update_modes={mode: count + earlier.update_modes[mode] for mode, count in self.update_modes.items()},
            cipher=earlier.cipher if self.cipher == "none" else self.cipher,
        )
