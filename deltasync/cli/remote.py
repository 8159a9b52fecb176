"""How the options of a connection become the place where it leads.

This module imports little: ssh is started before the rest is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from deltasync.channel.address import Remote
from deltasync.cli.places import Host
from deltasync.errors import UsageError
from deltasync.tree.names import shown

__all__ = ["remote_of"]


def remote_of(values: Mapping[str, Any], host: Host) -> Remote:
    """Return where the options lead, and how.

    Args:
        values: By name the values of `rsh`, `ssh`, `port`, `ssh_config`, `identity` and `remote_path`; None for one that was not given.
        host: What the place names.

    Raises:
        UsageError: A value is wrong, or options don't go together.
    """
    rsh: tuple[str, ...] | None = None
    if values["rsh"] is not None:
        # Few need it.
        import shlex

        try:
            rsh = tuple(shlex.split(values["rsh"]))
        except ValueError as error:
            raise UsageError(f"--rsh: {error}") from error
        if not rsh:
            raise UsageError("--rsh: the command is empty")
        if values["ssh"] == "paramiko":
            raise UsageError("--rsh and --ssh paramiko exclude each other")
    for name in ("ssh_config", "identity", "remote_path"):
        value = values[name]
        if value is not None and not value.strip():
            raise UsageError(f"--{name.replace('_', '-')}: the value is empty")
    return Remote(
        host=host.name,
        user=host.user,
        port=host.port or values["port"],
        ssh=values["ssh"] or "auto",
        rsh=rsh,
        ssh_config=_file("--ssh-config", values["ssh_config"]),
        identity=_file("--identity", values["identity"], ".pub"),
        remote_path=values["remote_path"],
    )


def _file(option: str, value: str | None, *endings: str) -> str | None:
    """Return the path of a file for ssh, which would name a missing one late or not at all.

    Args:
        option: What names it.
        value: The path as given, or None; `~` is the home directory, also where the shell did not replace it (`--identity=~/key`).
        endings: What may stand behind the path instead: of a key that an agent holds, the public part is enough.

    Raises:
        UsageError: There is no such file.
    """
    if value is None:
        return None
    path = os.path.expanduser(value)
    if not any(os.path.exists(path + ending) for ending in ("", *endings)):
        raise UsageError(f"{option} {shown(value)}: there is no such file")
    return path
