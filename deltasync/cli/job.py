"""From a command line taken apart to the engine's job: every rule about which options go together stands here."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from deltasync.channel.address import TCP_PORT, Remote, TcpAddress, TcpRemote
from deltasync.cli.attributes import permissions_and_owners
from deltasync.cli.data import data_plan
from deltasync.cli.files_from import check_fits, named_sources
from deltasync.cli.filtering import FilterOption, wire_rules
from deltasync.cli.git import git_excludes
from deltasync.cli.options import ARCHIVE, DELETE_WHEN, FILTERS, Given
from deltasync.cli.places import Host, Route, parse_place, route
from deltasync.cli.rates import parse_rate, parse_size, size
from deltasync.cli.remote import remote_of
from deltasync.cli.report import OutputOptions
from deltasync.cli.systemd import watchdog_s
from deltasync.engine.job import Direction, Job
from deltasync.engine.live import RESCAN_S, WatchOptions
from deltasync.errors import UsageError
from deltasync.tree.names import MAX_NAME_BYTES
from deltasync.wire.content import MAX_BLOCK_BYTES, MIN_BLOCK_BYTES
from deltasync.wire.settings import Settings

__all__ = ["filter_options", "live_settings", "make_job", "make_jobs", "output_options", "route_of", "settings_of"]

DEFAULT_RETRIES = 5
MAX_PLACE_BYTES = 4095
MAX_SIZE_BYTES = 1 << 62
LIVE_TIMEOUT_S = 45.0
"""Longest silence of the peer of a watch, unless `--timeout` says another: it gives a sign of life every 15 s."""


def output_options(given: Given) -> OutputOptions:
    """Return what is to be said.

    Raises:
        UsageError: The name of the log is empty.
    """
    values = given.values
    if values["log_file"] == "":
        raise UsageError("--log-file: the name is empty")
    return OutputOptions(
        itemize=values["itemize_changes"],
        verbose=values["verbose"],
        quiet=values["quiet"],
        json=values["json"],
        stats=values["stats"],
        dry_run=values["dry_run"],
        progress=_last(given, {"progress": True, "progress-partial": True, "no-progress": False}),
        log_file=None if values["log_file"] is None else os.fsencode(values["log_file"]),
    )


def route_of(direction: Direction, given: Given) -> Route:
    """Return from where to where.

    Raises:
        UsageError: There are fewer than two places, or they don't fit.
    """
    if len(given.places) < 2:
        what = "SRC and DEST are" if not given.places else "DEST is"
        raise UsageError(f"{what} missing (see deltasync {direction} --help)")
    *sources, dest = map(parse_place, given.places)
    return route(direction, sources, dest)


def settings_of(given: Given, output: OutputOptions) -> Settings:
    """Return what both sides must agree on, but for the filter rules.

    Raises:
        UsageError: A value is wrong, or options don't go together.
    """
    values = given.values
    archive = _archive(given)
    named = values["files_from"] is not None
    if named:
        # The names say what is wanted: what is in the directories among them only by a word of its own.
        archive["recursive"] = archive["recursive"] and any(name == "recursive" for name, _ in given.ordered)
    dirs = named or values["dirs"]
    if _deletes(values) and not (archive["recursive"] or dirs):
        raise UsageError("--delete does not work without --recursive or --dirs")
    if not math.isfinite(values["timeout"] or 0.0):
        raise UsageError("--timeout: a number of seconds; 0 is no limit")
    max_bytes, min_bytes = (_size(values, name) for name in ("max_size", "min_size"))
    try:
        bwlimit_bytes_s = parse_rate(values["bwlimit"]) if values["bwlimit"] is not None else 0
    except ValueError as error:
        raise UsageError(f"--bwlimit: {error}") from error
    try:
        block_bytes = parse_size(values["block_size"]) if values["block_size"] is not None else 0
    except ValueError as error:
        raise UsageError(f"--block-size: {error}") from error
    if block_bytes and not MIN_BLOCK_BYTES <= block_bytes <= MAX_BLOCK_BYTES:
        raise UsageError(f"--block-size: from {MIN_BLOCK_BYTES} bytes to {size(MAX_BLOCK_BYTES)}")
    names = (
        "hard_links", "sparse", "numeric_ids", "mkpath", "checksum", "ignore_times", "size_only", "update", "existing",
        "ignore_existing", "max_delete", "force_empty", "ignore_errors", "dry_run", "fsync", "omit_dir_times", "omit_link_times",
        "executability",
        "prune_empty_dirs", "safe_links",
    )  # fmt: skip
    chosen: dict[str, Any] = archive | {name: values[name] for name in names} | permissions_and_owners(values)
    return Settings(
        **chosen,
        delete=_deletes(values),
        dirs=dirs,
        relative=named or values["relative"],
        one_file_system=min(sum(name == "one-file-system" for name, _ in given.ordered), 2),
        max_bytes=max_bytes,
        min_bytes=min_bytes or 0,
        itemize=output.wants_items,
        compress=_last(given, {"compress": "always", "no-compress": "never"}) or "auto",
        bwlimit_bytes_s=bwlimit_bytes_s,
        block_bytes=block_bytes,
        update_mode=_update_mode(values),
        **_backups(values),
        whole_file=values["whole_file"],
        timeout_s=values["timeout"] or 0.0,
    )


def _deletes(values: Mapping[str, Any]) -> bool:
    """Tell whether anything is deleted; when rsync would do it makes no difference: here it always comes last."""
    return any(values[name] for name in ("delete", "del", "delete_excluded", *(f"delete_{when}" for when in DELETE_WHEN)))


def _size(values: Mapping[str, Any], name: str) -> int | None:
    """Return the value of an option that is a size; None if it is not given."""
    if values[name] is None:
        return None
    option = f"--{name.replace('_', '-')}"
    try:
        amount = parse_size(values[name])
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
    if not 0 <= amount <= MAX_SIZE_BYTES:
        raise UsageError(f"{option}: {values[name]!r} is too {'small' if amount < 0 else 'large'}")
    return amount


def _backups(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what becomes of what is replaced, by rsync's rules."""
    suffix: str | None = values["suffix"]
    directory = values["backup_dir"]
    if suffix is not None and ("/" in suffix or "\0" in suffix or len(os.fsencode(suffix)) > MAX_NAME_BYTES):
        raise UsageError(f"--suffix: at most {MAX_NAME_BYTES} bytes, none of them a slash")
    if directory is None:
        if values["backup"] and suffix == "":
            raise UsageError("--suffix: it can't be empty without --backup-dir")
        return {"backup": values["backup"], "backup_suffix": b"~" if suffix is None else os.fsencode(suffix)}
    if len(os.fsencode(directory)) > MAX_PLACE_BYTES:
        raise UsageError(f"--backup-dir: at most {MAX_PLACE_BYTES} bytes")
    if not suffix and os.path.normpath(directory or ".") == ".":
        raise UsageError("--backup-dir: it is the destination itself; name another directory, or give a --suffix")
    return {"backup": True, "backup_dir": os.fsencode(directory or "."), "backup_suffix": os.fsencode(suffix or "")}


def live_settings(given: Given, settings: Settings) -> tuple[Settings, WatchOptions] | None:
    """Return the settings of a watch and how it watches; None if `--watch` is not given.

    Raises:
        UsageError: An option does not go together with it, or is for a watch alone.
    """
    values = given.values
    if not values.get("watch"):
        for name in ("settle", "poll_interval", "rescan_interval", "no_delete", "also"):
            if values.get(name):
                raise UsageError(f"--{name.replace('_', '-')} is for --watch")
        return None
    for name in ("dry_run", "existing", "ignore_existing", "prune_empty_dirs", "files_from", "relative", "dirs"):
        if values[name]:
            raise UsageError(f"--watch and --{name.replace('_', '-')} exclude each other")
    if not settings.recursive:
        raise UsageError("--watch does not work without --recursive")
    if settings.delete and values["no_delete"]:
        raise UsageError("--delete and --no-delete contradict each other")
    # A peer that is away must be missed some time, though nothing is to be sent: sleeping laptops say no goodbye.
    timeout_s = LIVE_TIMEOUT_S if values["timeout"] is None else settings.timeout_s
    settle_s = None if values["settle"] is None else values["settle"] / 1000
    rescan_s = RESCAN_S if values["rescan_interval"] is None else values["rescan_interval"]
    options = WatchOptions(settle_s, values["poll_interval"], rescan_s, deletes=not values["no_delete"], alive_s=watchdog_s())
    return msgspec.structs.replace(settings, timeout_s=timeout_s), options


def _update_mode(values: Mapping[str, Any]) -> str:
    mode: str | None = values["update_mode"]
    if values["inplace"] and mode not in (None, "inplace"):
        raise UsageError(f"--inplace and --update-mode {mode} contradict each other")
    return "inplace" if values["inplace"] else mode or "auto"


def make_job(given: Given, way: Route, settings: Settings) -> Job:
    """Return the job, with the filter rules; reads the files that these name.

    Raises:
        UsageError: A value is wrong, or options don't go together.
        LocalFileError: A file of rules can't be read.
    """
    values = given.values
    remote = None if way.host is None else _there(values, way.host)
    over_ssh = isinstance(remote, Remote)
    rules = wire_rules(filter_options(given), delete_excluded=values["delete_excluded"], nul=values["from0"])
    excludes = git_excludes() if values["gitignore"] else b""
    return Job(
        direction="push" if way.sends else "pull",
        sources=_sources(given, way),
        dest=way.dest,
        settings=msgspec.structs.replace(settings, rules=rules, git_excludes=excludes),
        remote=remote,
        threads=values["threads"],
        retries=DEFAULT_RETRIES if values["retries"] is None else values["retries"],
        engine=values["engine"] or "auto",
        data=data_plan(values["data"], over_ssh=over_ssh),
        e2e=_pinned(values["e2e"], over_ssh=over_ssh),
    )


def _sources(given: Given, way: Route) -> tuple[bytes, ...]:
    """Return the sources: those that are named, or with `--files-from` what that says of the only one."""
    file = given.values["files_from"]
    if file is None:
        return way.sources
    if len(way.sources) > 1:
        raise UsageError("--files-from takes one SRC, which its names are beneath")
    sources = named_sources(way.sources[0], file, nul=given.values["from0"])
    if not way.sends:
        check_fits(sources)
    return sources


def filter_options(given: Given) -> Iterator[FilterOption]:
    """Yield the filter options of a command line, in order, and those that others stand for."""
    of_directories = iter((": /.rsync-filter", "- .rsync-filter"))
    for given_name, value in given.ordered:
        if given_name == "of-directories":
            rule = next(of_directories, None)
            if rule is not None:
                yield FilterOption("filter", rule)
        for name in FILTERS:
            if name == given_name:
                yield FilterOption(name, "" if name == "gitignore" else value)
    if given.values["cvs_exclude"]:
        yield FilterOption("filter", ":C")
        yield FilterOption("filter", "-C")


def make_jobs(given: Given, way: Route, settings: Settings) -> list[Job]:
    """Return the job of a watch, and the same for each `--also`.

    Raises:
        UsageError: A value is wrong, options don't go together, or a destination is named twice.
        LocalFileError: A file of rules can't be read.
    """
    jobs = [make_job(given, way, settings)]
    *sources, _ = map(parse_place, given.places)
    values = given.values
    if len({given.places[-1], *values["also"]}) <= len(values["also"]):
        raise UsageError("--also: a destination is named twice")
    for place in values["also"]:
        other = route("push", sources, parse_place(place))
        remote = None if other.host is None else _there(values, other.host)
        over_ssh = isinstance(remote, Remote)
        data, e2e = data_plan(values["data"], over_ssh=over_ssh), _pinned(values["e2e"], over_ssh=over_ssh)
        jobs.append(replace(jobs[0], dest=other.dest, remote=remote, data=data, e2e=e2e))
    return jobs


def _pinned(key: str | None, *, over_ssh: bool) -> bytes | None:
    """Return the key that the far end must prove.

    Raises:
        UsageError: It is no key, or the way is not over SSH.
    """
    if key is None:
        return None
    if not over_ssh:
        raise UsageError("--e2e is for SSH: the key of a listener is known by deltasync known, and a local push has no far end")
    # Few need it, and it loads much.
    from deltasync.wire.keys import decode_public

    try:
        return decode_public(key)
    except ValueError as error:
        raise UsageError("--e2e: this is no key; deltasync key show prints it at the far end") from error


def _archive(given: Given) -> dict[str, bool]:
    fields = dict.fromkeys((field for part in ARCHIVE.values() for field in part), True)
    for name, _ in given.ordered:
        if name == "archive":
            fields = dict.fromkeys(fields, True)
        elif name in ARCHIVE:
            fields.update(dict.fromkeys(ARCHIVE[name], True))
        elif name.removeprefix("no-") in ARCHIVE:
            fields.update(dict.fromkeys(ARCHIVE[name.removeprefix("no-")], False))
    return fields


def _last(given: Given, meanings: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the options mean.
    """Return the meaning of that of the options which was given last, or None."""
    return next((meanings[name] for name, _ in reversed(given.ordered) if name in meanings), None)


def _there(values: Mapping[str, Any], host: Host) -> Remote | TcpRemote:
    """Return where a place leads, over SSH or over TCP."""
    if host.root is None:
        return remote_of(values, host)
    for name in ("rsh", "ssh", "ssh_config", "identity", "remote_path"):
        if values[name] is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for SSH, and tcp:// goes without")
    return TcpRemote(TcpAddress(host.name, host.port or values["port"] or TCP_PORT), host.root)
