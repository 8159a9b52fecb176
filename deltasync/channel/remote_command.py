r"""The command line that starts deltasync at the far end.

It is constant: no path of the sync and nothing else of the user's ever stands in it, so no shell can misread it. The login shell, be it
bash, dash, zsh, fish or tcsh, sees only an `exec` of `sh` with one word in single quotes, which holds none of the characters that one of
them reads specially there (`'`, `\`, `!`, a line break); everything else is done by that `sh`.
"""

from __future__ import annotations

__all__ = ["NOT_FOUND_CODE", "NOT_FOUND_LINE", "SERVE", "remote_words"]

SERVE = ("serve", "--stdio")
"""What deltasync is told to do there."""

NOT_FOUND_LINE = "deltasync: not found on the PATH, in ~/.local/bin or in ~/.deltasync/bin"
"""What the far end says on standard error when it has no deltasync."""

NOT_FOUND_CODE = 127
"""What the far end exits with then; a login shell's own code for a command that is not there."""

_PLACES = '"$(command -v deltasync)" "$HOME/.local/bin/deltasync" "$HOME/.deltasync/bin/deltasync"'
_SCRIPT = (
    f'for found in {_PLACES}; do test -f "$found" && test -x "$found" && exec "$found" {" ".join(SERVE)}; done; '
    f'echo "{NOT_FOUND_LINE}" >&2; exit {NOT_FOUND_CODE}'
)
_LINE = f"exec sh -c '{_SCRIPT}'"


def remote_words(remote_path: str | None) -> list[str]:
    """Return the words that follow the host on the line of ssh, which joins them with spaces.

    Args:
        remote_path: What starts deltasync there, in the words of the far end's shell; None to look for it.
    """
    return [_LINE] if remote_path is None else [remote_path, *SERVE]
