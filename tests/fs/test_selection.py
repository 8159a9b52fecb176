"""The rules of a side over a tree with merge files in it: against rsync itself on generated trees, rules and files, and by example."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, cast

import hypothesis
import pytest
from hypothesis import given

from deltasync.cli.filtering import FilterOption, FilterOptionName, wire_rules
from deltasync.errors import UsageError
from deltasync.fs.merge_file import RulesError
from deltasync.fs.root import Root
from deltasync.fs.selection import Place, Selection
from deltasync.tree.names import join, split
from deltasync.tree.rules import Side
from tests.tree import strategies


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for many small trees."""
    return tmp_path_factory.mktemp("trees")


def build(root: bytes, entries: Sequence[tuple[bytes, bool]]) -> list[bytes]:
    """Make a tree of empty files and directories; return all its paths, directories with a slash behind them."""
    kinds: dict[bytes, bool] = {}
    for path, is_dir in entries:
        parts = path.split(b"/")
        above = [b"/".join(parts[:count]) for count in range(1, len(parts))]
        if all(kinds.get(parent, True) for parent in above) and path not in kinds:
            kinds.update(dict.fromkeys(above, True))
            kinds[path] = is_dir
    for path, is_dir in sorted(kinds.items()):
        if is_dir:
            os.mkdir(os.path.join(root, path))
        else:
            os.close(os.open(os.path.join(root, path), os.O_CREAT | os.O_WRONLY))
    return [path + b"/" * is_dir for path, is_dir in kinds.items()]


def write_merge_files(source: bytes, paths: Sequence[bytes], merge_files: Sequence[tuple[int, bytes, bytes]]) -> list[bytes]:
    """Write files of rules into directories given by their numbers, the first one above the tree; return the paths of those in it."""
    directories = [b"../", b"", *sorted(path for path in paths if path.endswith(b"/"))]
    written = set()
    for number, name, content in merge_files:
        path = directories[number % len(directories)] + name
        Path(os.fsdecode(os.path.join(source, path))).write_bytes(content)
        written.add(path)
    return sorted(path for path in written if not path.startswith(b"../"))


class Outcome(NamedTuple):
    """What becomes of a tree, as paths; directories end with a slash."""

    sent: set[bytes]
    deleted: set[bytes]


def done_by_rsync(source: bytes, paths: Sequence[bytes], arguments: Sequence[bytes]) -> Outcome | None:
    """Return what rsync would transfer from a tree, and what it deletes of it if nothing is sent; None if it refuses the rules."""
    empty = source + b".empty/"
    os.mkdir(empty)
    shown = b""
    for words in ([b"-n", b"--out-format=%n", source + b"/", source + b".there/"], [b"--delete", empty, source + b"/"]):
        command = [b"rsync", b"-r", b"-8", *arguments, *words]
        result = subprocess.run(command, capture_output=True, check=False, timeout=30)
        if result.returncode == 1 or b"failed to open exclude file" in result.stderr:
            return None
        # What holds a protected entry can't be removed, which rsync tries.
        assert not result.returncode or b"cannot delete non-empty directory" in result.stdout, result.stderr
        shown = shown or result.stdout
    lines = [line for line in shown.split(b"\n") if line and not line.startswith(b"created directory ")]
    sent = {re.sub(rb"\\#(\d{3})", lambda match: bytes([int(match[1], 8)]), line) for line in lines}
    return Outcome(sent - {b"./"}, {path for path in paths if not os.path.lexists(os.path.join(source, path))})


def done_by_us(source: bytes, paths: Sequence[bytes], options: Sequence[FilterOption]) -> Outcome | None:
    """Return what our own rules would let be transferred and deleted; None if they are not accepted."""
    try:
        wire = wire_rules(options)
        with closing(Root.open(source)) as root:
            place = Place(root, source.strip(b"/"))
            sender, receiver = (Selection.from_wire(wire, side, place) for side in Side)
            return Outcome(_sent(sender, paths), _deleted(receiver, paths))
    except (UsageError, RulesError):
        return None


def _sent(selection: Selection, paths: Sequence[bytes]) -> set[bytes]:
    out: set[bytes] = set()
    for path in sorted(paths):
        parent = path.rstrip(b"/").rpartition(b"/")[0] + b"/"
        if parent in out or selection.excluded(path.rstrip(b"/"), path.endswith(b"/")):
            out.add(path)
    return set(paths) - out


def _deleted(selection: Selection, paths: Sequence[bytes]) -> set[bytes]:
    stays = {b"/"}
    for path in sorted(paths):
        directory, name = split(path.rstrip(b"/"))
        # What is in a protected directory is not looked at, and what holds something that stays does so too.
        within = bool(directory) and directory + b"//" in stays
        if within or selection.excluded(join(directory, name), path.endswith(b"/"), lasting=bool(directory)):
            stays.add(path + b"/" * path.endswith(b"/"))
            stays.add(path)
            while directory:
                stays.add(directory + b"/")
                directory = split(directory)[0]
    return set(paths) - stays


@pytest.mark.needs("rsync")
@hypothesis.settings(max_examples=hypothesis.settings().max_examples // 2)
@given(strategies.cases())
def test_rsync_does_the_same(workshop: Path, case: strategies.Case) -> None:
    """Of generated trees, under generated options, rule files and merge files, rsync and our rules transfer and delete the same entries."""
    entries, rules, merge_files = case
    with tempfile.TemporaryDirectory(dir=workshop) as room:
        source = os.fsencode(room) + b"/above/tree"
        os.makedirs(source)
        paths = build(source, entries)
        paths += write_merge_files(source, paths, merge_files)
        options: list[FilterOption] = []
        for number, (option, text) in enumerate(rules):
            name, _, head = option.partition("=")
            value = os.fsdecode(text)
            if option.endswith("from") or head:
                file = f"{room}/rules-{number}"
                Path(file).write_bytes(text)
                value = head + file
            options.append(FilterOption(cast("FilterOptionName", name), value))
        ours = done_by_us(source, paths, options)
        theirs = done_by_rsync(source, paths, [os.fsencode(f"--{name}={value}") for name, value in options])
        # A file of rules for the other side alone is not even read here; rsync refuses what is wrong in it.
        if theirs is not None or not any(re.match(r":\S*[sr]", value) for _, value in options):
            assert ours == theirs
