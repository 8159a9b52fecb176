"""Other synchronisers, where they are installed and do the job: shown beside rsync, and not what is compared with."""

from __future__ import annotations

import getpass
import shutil

from benchmarks.contest import Contestant, Place
from benchmarks.server import CIPHER

__all__ = ["rclone", "unison"]

SFTP_SERVER = "/usr/lib/openssh/sftp-server"


def unison(place: Place) -> list[Contestant]:
    """Return Unison, which must be installed at both ends, as it is here; nothing where it is not."""
    program = shutil.which("unison")
    if program is None:
        return []
    # Its archives are what it remembers of a pair; without them it compares both sides anew, and the source's is what is wanted.
    words = ["-batch", "-silent", "-times", "-ignorearchives", "-servercmd", program]
    ssh = ["-sshargs", f"-F {place.server.ssh_config} -c {CIPHER}"]
    return [
        Contestant(
            "unison",
            lambda source, dest: [program, str(source), f"ssh://{place.host}/{dest}", "-force", str(source), *words, *ssh],
            aside=True,
        )
    ]


def rclone(place: Place) -> list[Contestant]:
    """Return rclone over SFTP, by its own SSH; nothing where it is not installed. It takes some 65 ms for a small file, so it gets few."""
    program = shutil.which("rclone")
    if program is None:
        return []
    port = place.server.counted_port if place.host == "counted" else place.server.port
    where = f":sftp,host=127.0.0.1,port={port},user={getpass.getuser()},key_file={place.server.key},server_command={SFTP_SERVER}"
    words = [program, "sync", "--config", "/dev/null"]
    return [Contestant("rclone", lambda source, dest: [*words, str(source), f"{where}:{dest}"], aside=True)]
