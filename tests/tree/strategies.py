"""Generated patterns, rules, names and trees, small enough in what they are made of that matches are frequent."""

from __future__ import annotations

from typing import TypeAlias

from hypothesis import strategies as st

__all__ = ["Case", "cases", "names", "paths", "patterns", "trees"]

LETTERS = [b"a", b"b", b"c", b"ab", b"-", b"*", b"?", b"[", b"]", b"\\", b"!", b":", b" ", b".", b"#", b"\xc3\xa4", b"\xff", b"\n", b"1"]
PIECES = [
    *(b"a", b"b", b"c", b"ab", b".", b" ", b"1", b"-", b"!", b":", b"\xc3\xa4", b"\xff"),
    *(b"*", b"*", b"**", b"***", b"?", b"/", b"/", b"/", b"**/", b"*/", b"/**", b"/***"),
    *(b"[ab]", b"[!a]", b"[^b/]", b"[a-c]", b"[[:alpha:]]", b"[^[:digit:]]", b"[]a]", b"[a/b]", b"[\\]-a]", b"[[:x]", b"[[:nix:]]"),
    *(b"[", b"]", b"\\", b"\\*", b"\\\\", b"\\/", b"[!]", b"[:", b"a-"),
]

names = st.lists(st.sampled_from(LETTERS), min_size=1, max_size=3).map(b"".join).filter(lambda name: name not in (b".", b".."))
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)


def _derived(path: bytes) -> st.SearchStrategy[bytes]:
    """Patterns made of a path: some bytes of it become wildcards, and the ends may be what the grammar knows of ends."""
    kept = [st.sampled_from([bytes([byte])] * 9 + [b"*", b"?", b"**", b"\\%c" % byte, b"[!x]", b""]) for byte in path]
    ends = st.sampled_from([b"", b"", b"", b"", b"/", b"/*", b"/**", b"/***", b"*"])
    begins = st.sampled_from([b"", b"", b"", b"/", b"**", b"**/", b"*/", b"*"])
    return st.tuples(begins, *kept, ends).map(b"".join)


_invented = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map(b"".join)
patterns = (_invented | paths.flatmap(_derived)).filter(bool)
trees = st.lists(st.tuples(paths, st.booleans()), min_size=1, max_size=14)
"""Paths, each with whether it is a directory; what clashes with one before it is left out."""

_odd = st.sampled_from([b"", b"!", b"- ", b"+ ", b"-", b"! ", b"!a", b"- !", b"#a", b"; a", b" a"])
_odd_lines = st.sampled_from([b"", b"", b"#", b";a", b"# a", b"a\rb"])


def _options(patterns: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    signs = st.sampled_from([b"", b"", b"- ", b"+ "])
    written = st.tuples(signs, patterns).map(b"".join)
    return st.integers(0, 19).flatmap(lambda chance: written if chance else _odd)


def _lines(options: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    ends = st.sampled_from([b"\n", b"\r\n", b"\n\n"])
    return st.tuples(ends, st.lists(options | _odd_lines, max_size=4)).map(lambda drawn: drawn[0].join(drawn[1]))


Case: TypeAlias = tuple[list[tuple[bytes, bool]], list[tuple[str, bytes]], list[tuple[int, bytes, bytes]]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a tree, and for it options (name without hyphens, text, which for `-from` is what the file holds) and merge files.

    Of a merge file the number of its directory, its name and its content are drawn.
    """
    entries = draw(trees)
    names_of = [path.split(b"/") for path, _ in entries]
    ends_of_paths = st.sampled_from([b"/".join(parts[begin:]) for parts in names_of for begin in range(len(parts))])
    options = _options((_invented | ends_of_paths.flatmap(_derived) | ends_of_paths.flatmap(_derived)).filter(bool))
    one = st.tuples(st.sampled_from(["exclude", "exclude", "include"]), options)
    many = st.tuples(st.sampled_from(["exclude-from", "exclude-from", "include-from"]), _lines(options))
    of_any_kind = st.tuples(st.just("filter"), _filters(ends_of_paths.flatmap(_derived) | patterns))
    merged = st.tuples(st.sampled_from(MERGED), _filters(ends_of_paths.flatmap(_derived)).map(lambda rule: rule.replace(b"\n", b"")))
    options_of = st.lists(one | one | many | of_any_kind | of_any_kind | merged, min_size=1, max_size=5)
    if draw(st.booleans()):
        return entries, draw(options_of), []
    dir_merges = st.tuples(st.just("filter"), st.sampled_from(DIR_MERGES))
    lines = st.lists(
        _filters(ends_of_paths.flatmap(_derived)) | ends_of_paths.flatmap(_derived).map(b"- ".__add__) | st.sampled_from(NESTED), max_size=4
    )
    content = lines.map(lambda drawn: b"\n".join(line.replace(b"\n", b"") for line in drawn))
    files = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([b".f", b".f", b".g"]), content), min_size=1, max_size=5)
    drawn = draw(st.tuples(st.lists(of_any_kind, max_size=2), dir_merges, st.lists(dir_merges | of_any_kind, max_size=2)))
    return entries, [*drawn[0], drawn[1], *drawn[2]], draw(files)


DIR_MERGES = [
    b": .f",
    b": .f",
    b":- .f",
    b":n .f",
    b":e .f",
    b":+ .f",
    b":w .f",
    b":s .f",
    b":r- .f",
    b":p- .f",
    b"dir-merge .g",
    b":-w .g",
]
DIR_MERGES += [b":-w .g", b":C .f", b": /.f", b":- /.f", b":n- /.f", b":/- .f", b":,- ../.g", b"+ a", b"- a/"]
NESTED = [b"!", b": .g", b":- .g", b". .g", b".- .g", b": .f", b"-C", b"# x", b"/a", b"- /a", b"- a/b", b"+ /b/", b"-/ a", b":n- /.g"]


MERGED = [f"filter={head} " for head in (".", ".", "merge", ".s", ".r", ".p", ".-", ".+", ".w", ".e", ".C", ".,sp", ".x", ".!")]
"""Filter rules that take a file, in front of its name."""
_KINDS = [b"+", b"-", b"-", b"-", b"P", b"R", b"H", b"S", b"exclude", b"include", b"hide", b"show", b"protect", b"risk"]
_MODIFIERS = [b"", b"", b"", b"p", b"s", b"r", b"sr", b"!", b"!p", b",p", b",", b",!r", b"x", b"w", b"/", b"/p"]


def _filters(patterns: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Rules of `--filter`, few of which are none."""
    spaces = st.sampled_from([b" ", b" ", b" ", b"_", b""])
    odd = st.sampled_from([b"!", b"clear", b"!x", b"- ", b"clear,", b"C", b"-C", b"+C", b"-sC", b"#", b"; a", b"P", b"exclude"])
    fine = st.tuples(st.sampled_from(_KINDS), st.sampled_from(_MODIFIERS), spaces, patterns).map(b"".join)
    return st.integers(0, 19).flatmap(lambda chance: fine if chance else odd)
