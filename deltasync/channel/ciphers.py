"""Which ciphers ssh is asked for: AES-GCM first, unless the user's configuration has a word about ciphers of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

__all__ = ["preferring_gcm"]

_CONFIG_TIMEOUT_S = 2.0
_DEEPEST_INCLUDE = 8
_SYSTEM_CONFIG = "/etc/ssh/ssh_config"

_DEFAULTS_REORDERED = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr"
"""What OpenSSH offers by itself since 6.7, in another order: AES-GCM is the fastest here and as safe as any."""

_WORD = re.compile(r"^\s*(ciphers|include)[\s=]+(.*)$", re.IGNORECASE | re.MULTILINE)


def preferring_gcm(words: Sequence[str], ssh_config: str | None) -> list[str]:
    """Return the options that put the AES-GCM ciphers first.

    Where the user's configuration says nothing of ciphers, which is read off its text, the answer is known. Otherwise ssh itself is
    asked what it would offer for this host, which costs about 40 ms, and only the order is changed: the user may have taken ciphers
    away, or added those of an old server.

    Args:
        words: The ssh command up to the host.
        ssh_config: The file that `-F` names; None for the user's and the system's own.
    """
    files = [ssh_config] if ssh_config is not None else [os.path.expanduser("~/.ssh/config"), _SYSTEM_CONFIG]
    if not any(_speaks_of_ciphers(file, _DEEPEST_INCLUDE) for file in files):
        return ["-o", f"Ciphers={_DEFAULTS_REORDERED}"]
    # Few need it, and loading it would hold up everybody's ssh.
    import subprocess

    try:
        result = subprocess.run(
            [words[0], "-G", *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=_CONFIG_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        # An old ssh, or a broken configuration: connecting will tell, and needs no preference.
        return []
    found = re.search(rb"^ciphers (\S+)$", result.stdout, re.MULTILINE)
    if found is None:
        return []
    ciphers = os.fsdecode(found[1]).split(",")
    return ["-o", "Ciphers=" + ",".join(sorted(ciphers, key=lambda cipher: "-gcm@" not in cipher))]


def _speaks_of_ciphers(file: str, depth: int) -> bool:
    """Tell whether a configuration, or one that it includes, has a line about ciphers; True too where that can't be found out."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:
            text = opened.read()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    import glob

    base = "/etc/ssh" if file.startswith("/etc/ssh/") else os.path.expanduser("~/.ssh")
    for word, value in _WORD.findall(text):
        if word.lower() == "ciphers" or not depth or '"' in value or "%" in value or "$" in value:
            return True
        for pattern in value.split():
            included = glob.glob(os.path.join(base, os.path.expanduser(pattern)))
            if any(_speaks_of_ciphers(name, depth - 1) for name in included):
                return True
    return False
