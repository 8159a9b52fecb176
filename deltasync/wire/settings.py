"""What a run is asked to do, in the form in which it travels to the peer. Pure.

One frozen value holds every option that both sides must agree on; options of this side alone (progress, how to connect) stay in
`engine.job`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["MAX_GIT_EXCLUDES_BYTES", "Settings"]

MAX_GIT_EXCLUDES_BYTES = 1 << 16
"""Longest file of what git leaves out everywhere."""

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The options of one run; names follow rsync's long options, and the defaults are those of `rsync -a`."""

    recursive: bool = True
    links: bool = True
    perms: bool = True
    times: bool = True
    group: bool = True
    owner: bool = True
    devices: bool = True
    specials: bool = True

    dirs: bool = False
    """Directories are transferred, and not entered unless `recursive`."""
    relative: bool = False
    """The sources keep their paths, with the directories on the way to them."""

    safe_links: bool = False
    """Symlinks that lead out of the transfer, or may, are passed over (see `tree.symlinks`)."""
    executability: bool = False
    """Without `perms`: files that exist may be executed if the sender's may."""
    chmod: Annotated[bytes, msgspec.Meta(max_length=4095)] = b""
    """Changes of the sender's permissions (see `tree.chmod`)."""
    usermap: Annotated[bytes, msgspec.Meta(max_length=65535)] = b""
    groupmap: Annotated[bytes, msgspec.Meta(max_length=65535)] = b""
    """Whose files become whose (see `tree.owner_map`)."""

    hard_links: bool = False
    sparse: bool = False
    numeric_ids: bool = False
    mkpath: bool = False

    checksum: bool = False
    ignore_times: bool = False
    size_only: bool = False
    update: bool = False
    existing: bool = False
    ignore_existing: bool = False
    max_bytes: Count | None = None
    """Longest regular file that is sent or touched; None for no limit."""
    min_bytes: Count = 0
    """Shortest one."""

    one_file_system: Annotated[int, msgspec.Meta(ge=0, le=2)] = 0
    """Directories on other filesystems are not entered (1), or left out (2); at the receiver nothing is deleted there."""
    prune_empty_dirs: bool = False
    """Directories are left out in which, and beneath which, there is nothing but directories."""

    omit_dir_times: bool = False
    omit_link_times: bool = False

    delete: bool = False
    max_delete: Count | None = None
    """At most this many deletions; 0 or more, None for no limit."""
    force_empty: bool = False
    ignore_errors: bool = False
    """Deletions are made though parts of the source could not be read, but for what is in directories that could not be."""

    fsync: bool = False
    """What the run calls done survives a power cut."""

    backup: bool = False
    """Keep what is replaced or deleted under another name."""
    backup_dir: Annotated[bytes, msgspec.Meta(min_length=1, max_length=4095)] | None = None
    """The tree that backups go into, as written; None for beside what they are of."""
    backup_suffix: Annotated[bytes, msgspec.Meta(max_length=255)] = b"~"
    """What is put behind the names of backups; not empty unless they go into a tree, and without a slash."""

    dry_run: bool = False
    itemize: bool = False
    """Send an item for each entry created, changed or deleted, with its 11-letter code."""

    block_bytes: Annotated[int, msgspec.Meta(ge=0, le=64 << 20)] = 0
    """Length of the blocks that a base is cut into; 0 for what suits its size."""

    update_mode: Annotated[str, msgspec.Meta(pattern=r"\A(auto|clone|stage|inplace)\Z")] = "auto"
    """How the receiver changes files that it has a base of."""
    whole_file: bool = False
    """Send files whole, without looking for what the receiver has of them."""

    rules: tuple[bytes, ...] = ()
    """Filter rules in the order given, each `b"+ PATTERN"` or `b"- PATTERN"` (see `tree.filters`); at most 65,536."""

    git_excludes: Annotated[bytes, msgspec.Meta(max_length=MAX_GIT_EXCLUDES_BYTES)] = b""
    """What git leaves out everywhere, as an ignore file of its has it; it counts where one of the rules names such files."""

    compress: Annotated[str, msgspec.Meta(pattern=r"\A(auto|always|never)\Z")] = "auto"
    """`auto` (where a sample shows that it pays), `always` or `never`."""
    bwlimit_bytes_s: Count = 0
    """Most content bytes a second that the sender may send; 0 for no limit."""
    timeout_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Longest silence of the peer that is accepted; 0 for no limit."""
