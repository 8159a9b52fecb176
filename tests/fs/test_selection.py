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
from deltasync.tree.grammar import DirMerge, parse_filter
from deltasync.tree.merging import Slot, items_from_wire
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
    """Write files of rules into directories given by their numbers, the first one above the tree; return the paths of those in it.

    rsync takes the name of the directory of such a file for a part of the pattern, so that one with wildcards is something else to it.
    """
    directories = [b"../", b"", *sorted(path for path in paths if path.endswith(b"/") and not re.search(rb"[*?\[\\]", path))]
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


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with one in it, in a directory."""
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    return tmp_path / "tree"


def selected(tree: Path, *rules: bytes, side: Side = Side.SENDER, whole: bool = True, beneath: Root | None = None) -> Selection:
    """The selection by rules over a tree."""
    return Selection.from_wire(rules, side, Place(Root.open(os.fsencode(tree)), os.fsencode(tree).strip(b"/"), whole, beneath))


def test_what_stands_in_a_merge_file_counts_there_and_beneath(tree: Path) -> None:
    """An anchored pattern begins at its directory; those of the directory come before what is inherited, and `!` forgets that."""
    (tree / ".f").write_bytes(b"- a\n- /b\n")
    (tree / "sub" / ".f").write_bytes(b"+ a\n- /c\n")
    (tree / "sub" / "deep").mkdir()
    (tree / "sub" / "deep" / ".f").write_bytes(b"!\n- d\n")
    selection = selected(tree, b": .f")
    out = {
        path for path in (b"a", b"b", b"c", b"sub/a", b"sub/b", b"sub/c", b"sub/deep/a", b"sub/deep/d") if selection.excluded(path, False)
    }
    assert out == {b"a", b"b", b"sub/c", b"sub/deep/d"}


def test_files_above_the_tree_count_where_they_are_asked_for(tree: Path) -> None:
    """From the directory that is named down to the tree, but never above the only directory that may be read."""
    (tree.parent / ".f").write_bytes(b"- /tree/sub\n- a\n")
    assert not selected(tree, b": .f").excluded(b"a", is_dir=False)
    assert selected(tree, b": /.f").excluded(b"a", is_dir=False)
    assert selected(tree, b": /.f").excluded(b"sub", is_dir=True)
    with closing(Root.open(os.fsencode(tree))) as beneath:
        place = Place(beneath, b"", beneath=beneath)
        assert not Selection.from_wire([b": /.f"], Side.SENDER, place).excluded(b"a", is_dir=False)


def test_an_absolute_pattern_is_held_against_the_path_in_the_filesystem(tree: Path) -> None:
    """Wherever the tree is entered."""
    path = os.fsencode(tree)
    assert selected(tree, b"-/ " + path + b"/sub").excluded(b"sub", is_dir=True)
    assert selected(tree, b"-/ tree/sub").excluded(b"sub", is_dir=True)
    assert not selected(tree, b"- tree/sub").excluded(b"sub", is_dir=True)


@pytest.mark.parametrize("content", [b"x" * (64 << 10 | 1), b"nonsense", b"- a\n- \n", b". ../up", b". none", b"- a\n" * 9000])
def test_what_is_no_merge_file_makes_the_rules_unknown(tree: Path, content: bytes) -> None:
    """It is refused with its name and the line, and nothing of what is in it is said; a sound directory beside it is not touched."""
    (tree / "sub" / ".f").write_bytes(content)
    selection = selected(tree, b": .f")
    with pytest.raises(RulesError, match=r"sub/\.f|8192") as caught:
        selection.for_directory(b"sub")
    assert "nonsense" not in str(caught.value)
    assert selection.for_directory(b"") is None


def test_a_merge_file_that_is_a_symlink_is_not_followed(tree: Path) -> None:
    """Nor does one that is a pipe hold anything up."""
    (tree / ".f").symlink_to("/etc/passwd")
    with pytest.raises(RulesError, match="symlink"):
        selected(tree, b": .f").for_directory(b"")
    os.mkfifo(tree / ".g")
    assert selected(tree, b": .g").for_directory(b"") is None


def test_rules_of_a_file_that_is_gone_hold_in_its_directory(tree: Path) -> None:
    """While a directory is being emptied, what its file protected is protected, until all is read anew."""
    (tree / "sub" / ".f").write_bytes(b"- a\n")
    selection = selected(tree, b": .f", side=Side.RECEIVER)
    assert selection.excluded(b"sub/a", is_dir=False)
    (tree / "sub" / ".f").unlink()
    assert selection.excluded(b"sub/deep/a", is_dir=False)
    assert selection.excluded(b"sub/a", is_dir=False)
    selection.forget()
    assert not selection.excluded(b"sub/a", is_dir=False)


@pytest.mark.parametrize("text", [b":", b": ", b": d/", b": a\0", b":x a", b":pn a", b": .."])
def test_a_malformed_merge_rule_of_the_peer_is_refused(text: bytes) -> None:
    """Nothing but what our own side writes is taken."""
    with pytest.raises(ValueError, match="names no file"):
        items_from_wire([text], Side.SENDER)


def test_merge_rules_travel() -> None:
    """What is received is what was written."""
    for text in (": /.f", ":- f", ":+n f", ":C", ":n-w f", ":/prs f"):
        (merge,) = parse_filter(text.encode())
        assert isinstance(merge, DirMerge)
        sent = merge._replace(template=merge.template._replace(unsaid=Side.SENDER))
        (slot,) = items_from_wire([sent.wire], Side.SENDER)
        assert isinstance(slot, Slot)
        assert slot.merge == sent


def test_of_files_of_one_name_the_first_counts() -> None:
    """As with rsync; a `!` before it makes room."""
    assert wire_rules([FilterOption("filter", rule) for rule in (": f", ":- d/f", ":s g")]) == (b": f", b":s g")
    assert wire_rules([FilterOption("filter", rule) for rule in (": f", "!", ":- f")]) == (b":- f",)
    with pytest.raises(UsageError, match="merge files"):
        wire_rules([FilterOption("filter", f": f{number}") for number in range(33)])
