"""The options of push and pull: what there is, in which group of the help it stands, and what click makes of a command line.

Where the order counts (`-a --no-p`, `--include` and `--exclude`), the words are kept in the order in which they were given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, get_args

import click

from deltasync.cli.filtering import FilterOptionName
from deltasync.cli.glance import environment_prefix
from deltasync.cli.streams import print_text
from deltasync.errors import UsageError
from deltasync.tree.names import shown

__all__ = ["ARCHIVE", "DELETE_WHEN", "FILTERS", "Given", "parse"]

ARCHIVE: Final[Mapping[str, tuple[str, ...]]] = {
    "recursive": ("recursive",),
    "links": ("links",),
    "perms": ("perms",),
    "times": ("times",),
    "group": ("group",),
    "owner": ("owner",),
    "devices-specials": ("devices", "specials"),
    "devices": ("devices",),
    "specials": ("specials",),
}
"""The options that `--archive` stands for: name here and the fields of `Settings`; the name with `no-` before it is the opposite."""

DELETE_WHEN: Final = ("before", "during", "delay", "after")
"""When rsync may be told to delete."""
FILTERS: Final[tuple[FilterOptionName, ...]] = get_args(FilterOptionName)

SELECTION, COMPARISON, FILES, DELETION, WATCHING, CONNECTION, OUTPUT = (
    "Which files",
    "When to send",
    "How to write",
    "Deleting",
    "Watching",
    "Connection",
    "Output",
)


class Given(NamedTuple):
    """A command line taken apart.

    Attributes:
        values: Each option's value by its name with underscores, the last one given; None or False if it was not.
        ordered: Every option as given, in order: its name with dashes, and the value (True for a flag).
        places: What are no options.
    """

    values: Mapping[str, Any]
    ordered: tuple[tuple[str, Any], ...]
    places: tuple[str, ...]


class _Option(click.Option):
    """An option in a group of the help."""

    group = OUTPUT

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return names and text, without the limits of the value that click adds."""
        record = super().get_help_record(ctx)
        return None if record is None else (record[0], self.help or "")


class _Command(click.Command):
    """A command that remembers the order of its options, and shows them in groups."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take a command line apart; what was given in which order goes into `ctx.meta`."""
        opts, _, order = self.make_parser(ctx).parse_args(list(args))
        taken = {name: iter(value) for name, value in opts.items() if isinstance(value, list)}
        ctx.meta["deltasync.ordered"] = tuple(
            (str(param.name).replace("_", "-"), next(taken[param.name]) if param.name in taken else opts[param.name])
            for param in order
            if isinstance(param, click.Option) and param.name is not None
        )
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                groups.setdefault(param.group if isinstance(param, _Option) else OUTPUT, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


def _flag(group: str, *names: str, text: str = "", hidden: bool = False) -> click.Option:
    option = _Option(names, is_flag=True, help=text, hidden=hidden)
    option.group = group
    return option


def _value(
    group: str, *names: str, metavar: str, text: str, kind: click.ParamType[Any] | None = None, multiple: bool = False
) -> click.Option:
    option = _Option(names, metavar=metavar, help=text, type=kind or click.STRING, multiple=multiple)
    option.group = group
    return option


def _help() -> click.Option:
    def show(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
        if wanted:
            print_text(f"{ctx.get_help()}\n")
            ctx.exit()

    return _Option(["--help"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="this text")


def _archive() -> list[click.Parameter]:
    """Return the options that `-a` stands for; one line of the help speaks for all."""
    letters = {"recursive": "r", "links": "l", "perms": "p", "times": "t", "group": "g", "owner": "o"}
    text = "-rlptgoD, and the default; take away with --no-r, --no-p, --no-owner, ...; of these the last one counts"
    options: list[click.Parameter] = [_flag(FILES, "-a", "--archive", text=text)]
    for name in ARCHIVE:
        if name == "devices-specials":
            options += [_flag(FILES, "-D", "devices_specials", hidden=True), _flag(FILES, "--no-D", "no_devices_specials", hidden=True)]
            continue
        short = letters.get(name)
        options.append(_flag(FILES, *([f"-{short}"] if short else []), f"--{name}", hidden=True))
        options.append(_flag(FILES, f"--no-{name}", *([f"--no-{short}"] if short else []), f"no_{name}", hidden=True))
    return options


def _selection() -> list[click.Parameter]:
    return [
        _value(SELECTION, "--exclude", metavar="PATTERN", multiple=True, text="leave out what matches; the first rule that matches counts"),
        _value(SELECTION, "--include", metavar="PATTERN", multiple=True, text="keep what matches"),
        _value(SELECTION, "--exclude-from", metavar="FILE", multiple=True, text="patterns from a file, one a line"),
        _value(SELECTION, "--include-from", metavar="FILE", multiple=True, text="the same, to keep"),
        _value(
            SELECTION,
            "-f",
            "--filter",
            metavar="RULE",
            multiple=True,
            text="a rule of any kind: + - P R H S . : !, with modifiers",
        ),
        _flag(SELECTION, "-F", "of_directories", text="rules in .rsync-filter files of the directories; -FF: leave these files out"),
        _flag(SELECTION, "-C", "--cvs-exclude", text="leave out what CVS ignores, and what .cvsignore files name"),
        _flag(SELECTION, "--gitignore", text="leave out what git ignores"),
        _value(
            SELECTION,
            "--files-from",
            metavar="FILE",
            text="what FILE names beneath SRC, with -R; what is in directories only with -r",
        ),
        _flag(SELECTION, "-0", "--from0", text="NUL bytes end what is in files of names and rules"),
        _flag(SELECTION, "-R", "--relative", text="keep the paths of SRC, from /./ on if that is in them"),
        _flag(SELECTION, "-d", "--dirs", text="with --no-r: directories, but not what is in them"),
        _flag(SELECTION, "--existing", text="only what is at the destination already"),
        _flag(SELECTION, "--ignore-existing", text="only what is not there yet"),
        _flag(SELECTION, "-u", "--update", text="not what is newer at the destination"),
        _value(SELECTION, "--max-size", metavar="SIZE", text="no files above SIZE: bytes, or 10K, 1.5M, 2GB"),
        _value(SELECTION, "--min-size", metavar="SIZE", text="none below it"),
        _flag(SELECTION, "-x", "--one-file-system", text="not what is mounted in a source; -xx: not even an empty directory for it"),
        _flag(SELECTION, "-m", "--prune-empty-dirs", text="no directories without files"),
        _flag(COMPARISON, "-c", "--checksum", text="compare content, not size and mtime"),
        _flag(COMPARISON, "-I", "--ignore-times", text="send even if size and mtime are equal"),
        _flag(COMPARISON, "--size-only", text="compare the size alone"),
        _flag(COMPARISON, "-n", "--dry-run", text="write nothing; with -i, say what would be done"),
    ]


def _writing() -> list[click.Parameter]:
    modes = click.Choice(["auto", "clone", "stage", "inplace"])
    return [
        *_archive(),
        _flag(FILES, "--safe-links", text="no symlinks that lead out of the tree"),
        _flag(FILES, "-E", "--executability", text="without -p: may be executed or not, as in the source"),
        _value(FILES, "--chmod", metavar="CHANGES", multiple=True, text="change permissions on the way: Fu+w,Dg+s,o-rwx,D755"),
        _value(FILES, "--chown", metavar="OWNER", text="USER:GROUP, USER or :GROUP: whose everything becomes"),
        _value(FILES, "--usermap", metavar="PAIRS", text="FROM:TO,...: what is FROM's there is TO's here; implies -o"),
        _value(FILES, "--groupmap", metavar="PAIRS", text="the same for groups; implies -g"),
        _flag(FILES, "-H", "--hard-links", text="keep hard links"),
        _flag(FILES, "-S", "--sparse", text="make holes of zeros"),
        _flag(FILES, "-O", "--omit-dir-times", text="leave the times of directories"),
        _flag(FILES, "-J", "--omit-link-times", text="and those of symlinks"),
        _flag(FILES, "--numeric-ids", text="owner and group by number, not by name"),
        _flag(FILES, "--mkpath", text="make missing parents of DEST"),
        _value(FILES, "--update-mode", metavar="HOW", kind=modes, text="auto, clone, stage or inplace: how files change that are there"),
        _flag(FILES, "--inplace", text="the same as --update-mode inplace, behind a journal"),
        _flag(FILES, "--fsync", text="call done only what survives a power cut"),
        _flag(FILES, "-W", "--whole-file", text="send changed files whole, without a delta"),
        _flag(FILES, "-b", "--backup", text="keep what is replaced or deleted, as NAME~"),
        _value(FILES, "--backup-dir", metavar="DIR", text="keep it in DIR instead, which is taken from DEST on; implies --backup"),
        _value(FILES, "--suffix", metavar="TEXT", text="what is put behind the names of backups: ~, or nothing with --backup-dir"),
        _flag(FILES, "-y", "--fuzzy", hidden=True),
        _flag(FILES, "--partial", text="always on: what is left of a file above 1 MiB is kept for the next run"),
        _flag(DELETION, "--delete", text="delete what the source does not have"),
        _flag(DELETION, "--delete-excluded", text="delete what the rules leave out, too; implies --delete"),
        _value(
            DELETION,
            "--max-delete",
            metavar="N",
            kind=click.IntRange(0, (1 << 63) - 1),
            text="delete N entries at most (exit 25 if there are more)",
        ),
        *[_flag(DELETION, f"--delete-{when}", hidden=True) for when in DELETE_WHEN],
        _flag(DELETION, "--del", hidden=True),
        _flag(DELETION, "--ignore-errors", text="delete though parts of the source can't be read"),
        _flag(DELETION, "--force-empty", text="let an empty source delete everything"),
    ]


def _watching() -> list[click.Parameter]:
    return [
        _flag(WATCHING, "--watch", text="after the first sync go on with what changes, until interrupted"),
        _value(WATCHING, "--settle", metavar="MS", kind=click.IntRange(0, 3_600_000), text="wait so long for the next change of a file"),
        _value(WATCHING, "--poll-interval", metavar="S", kind=click.FloatRange(0.01, 86_400), text="list all again and again"),
        _value(WATCHING, "--rescan-interval", metavar="S", kind=click.FloatRange(0.01, 31_536_000), text="look at the whole tree so often"),
        _value(WATCHING, "--also", metavar="DEST", multiple=True, text="to this DEST, too; may be repeated"),
        _flag(WATCHING, "--no-delete", text="keep at DEST what is deleted or renamed"),
    ]


def _connection() -> list[click.Parameter]:
    count, engines = click.IntRange(1, 1024), click.Choice(["auto", "native", "numpy", "python", "pyrsync2"])
    ssh, port, seconds = click.Choice(["auto", "openssh", "paramiko"]), click.IntRange(1, 65535), click.FloatRange(min=0)
    return [
        _value(CONNECTION, "-e", "--rsh", metavar="CMD", text="the remote shell instead of ssh"),
        _value(CONNECTION, "--port", metavar="N", kind=port, text="the port of SSH, or of tcp:// (8730)"),
        _value(CONNECTION, "--ssh", metavar="WHICH", kind=ssh, text="auto, openssh or paramiko"),
        _value(CONNECTION, "--ssh-config", metavar="FILE", text="instead of ~/.ssh/config"),
        _value(CONNECTION, "--identity", metavar="FILE", text="the private key"),
        _value(CONNECTION, "--remote-path", metavar="CMD", text="deltasync at the far end"),
        _value(CONNECTION, "--e2e", metavar="KEY", text="over SSH: only with the deltasync that holds KEY"),
        _value(CONNECTION, "--data", metavar="HOW", text="ssh; or tcp, tcp:PORTS, tcp:HOST[:PORTS]: beside SSH"),
        _flag(CONNECTION, "-z", "--compress", text="always compress; by default where it pays"),
        _flag(CONNECTION, "--no-compress", "--no-z", "no_compress", text="never compress"),
        _value(CONNECTION, "--bwlimit", metavar="RATE", text="KiB/s at most; suffixes K, M, G, KB, ..."),
        _value(CONNECTION, "--timeout", metavar="S", kind=seconds, text="longest silence in seconds; 0 for any"),
        _value(CONNECTION, "--retries", metavar="N", kind=click.IntRange(min=0), text="how often a lost connection is made again (5)"),
        _value(CONNECTION, "--threads", metavar="N", kind=count, text="threads to work with; by default one a core"),
        _value(CONNECTION, "--engine", metavar="WHICH", kind=engines, text="auto, native, numpy, python or pyrsync2"),
        _value(CONNECTION, "--block-size", metavar="N", text="blocks of N bytes for deltas, in one round"),
    ]


def _output() -> list[click.Parameter]:
    return [
        _flag(OUTPUT, "-i", "--itemize-changes", text="one line for each change, in rsync's letters"),
        _flag(OUTPUT, "-v", "--verbose", text="name what is sent, and sum up"),
        _flag(OUTPUT, "-q", "--quiet", text="nothing but errors"),
        _flag(OUTPUT, "--progress", text="show progress; the default on a terminal"),
        _flag(OUTPUT, "--no-progress", text="show none"),
        _flag(OUTPUT, "-P", "progress_partial", text="--partial --progress"),
        _flag(OUTPUT, "--stats", text="figures at the end"),
        _flag(OUTPUT, "--json", text="JSON objects on stdout, one a line"),
        _value(OUTPUT, "--log-file", metavar="FILE", text="append what is done to a file"),
        _help(),
    ]


def _command(name: str) -> click.Command:
    text = {
        "push": "Send local files to DEST: PATH, [USER@]HOST:PATH, ssh://[USER@]HOST[:PORT]/PATH or tcp://HOST[:PORT]/NAME[/PATH].",
        "pull": "Fetch files of a host to a local DEST; SRC is [USER@]HOST:PATH, ssh://[USER@]HOST[:PORT]/PATH "
        "or tcp://HOST[:PORT]/NAME[/PATH].",
    }[name]
    places = click.Argument(["places"], nargs=-1, metavar="SRC... DEST")
    return _Command(
        name,
        params=[places, *_selection(), *_writing(), *(_watching() if name == "push" else ()), *_connection(), *_output()],
        help=f"{text} A trailing slash on SRC means its contents.",
        context_settings={"max_content_width": 110},
        add_help_option=False,
    )


def parse(name: str, words: list[str]) -> Given | None:
    """Take the command line of `push` or `pull` apart; None if it asked for help, which was given.

    What the environment says of an option (`DELTASYNC_PUSH_BWLIMIT`) counts as if it stood in front of all others.

    Raises:
        UsageError: An option is unknown, lacks its value, or has a wrong one.
        LocalFileError: The help can't be written.
    """
    try:
        with _command(name).make_context(f"deltasync {name}", list(words), auto_envvar_prefix=environment_prefix(name)) as context:
            values = dict(context.params)
            places = tuple(values.pop("places"))
            return Given(values, (*_of_environment(context), *context.meta["deltasync.ordered"]), places)
    except click.exceptions.Exit:
        return None
    except click.ClickException as error:
        raise UsageError(f"{' '.join(shown(error.format_message()).split())} (see deltasync {name} --help)") from error


def _of_environment(context: click.Context) -> Iterator[tuple[str, Any]]:
    """Yield the options that the environment gives, as in `Given.ordered`."""
    for name, value in context.params.items():
        if value and context.get_parameter_source(name) is click.core.ParameterSource.ENVIRONMENT:
            for one in value if isinstance(value, tuple) else (value,):
                yield name.replace("_", "-"), one
