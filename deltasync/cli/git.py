"""What this user has git leave out everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess

from deltasync.cli.failures import LocalFileError
from deltasync.tree.names import shown
from deltasync.wire.settings import MAX_GIT_EXCLUDES_BYTES

__all__ = ["git_excludes"]


def git_excludes() -> bytes:
    """Return the content of the file that git's `core.excludesFile` names, or of the one that git has without it; nothing if there is none.

    Raises:
        LocalFileError: It can't be read, or is too long.
    """
    path = _configured() or os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "git", "ignore")
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_GIT_EXCLUDES_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise LocalFileError(f"{shown(path)}: what git leaves out everywhere can't be read: {error.strerror}") from error
    if len(content) > MAX_GIT_EXCLUDES_BYTES:
        raise LocalFileError(f"{shown(path)}: what git leaves out everywhere has more than {MAX_GIT_EXCLUDES_BYTES} bytes")
    return content


def _configured() -> str:
    """Return the file that git's configuration names; empty for none, and where there is no git to ask."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run([git, "config", "--type=path", "--get", "core.excludesFile"], capture_output=True, check=False)
    return os.fsdecode(done.stdout.removesuffix(b"\n")) if done.returncode == 0 else ""
