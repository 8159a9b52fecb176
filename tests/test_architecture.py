"""The rules of the house, held by a machine: who may import whom, who may print, start threads or touch the world, and how large is large.

Each rule is a function from a module to the lines that break it, so that the rules are themselves tested, on small samples.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.sources import PROJECT, Module, package_modules

FLOORS: Final = (("cli",), ("engine",), ("detect", "channel", "patch"), ("fs",), ("wire", "delta", "tree"), ("_native", "errors"), ("",))
"""The rooms from the top of the house down; a room may import those on lower floors only. `""` is the package itself: its version."""

PURE_ROOMS: Final = {"wire", "delta", "tree"}
IO_MODULES: Final = {
    "asyncio", "concurrent", "ctypes", "fcntl", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "random", "secrets", "select",
    "selectors", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time",
}  # fmt: skip
"""What reaches outside of a computation: files, processes, threads, the clock, chance."""

THREAD_STARTERS: Final = {"threading.Thread", "threading.Timer", "_thread.start_new_thread", "asyncio", "multiprocessing"} | {
    f"concurrent.futures{module}.{pool}" for module in ("", ".thread", ".process") for pool in ("ThreadPoolExecutor", "ProcessPoolExecutor")
}
STANDARD_STREAMS: Final = {f"sys.{name}" for name in ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")}

HEAVY: Final = {"numpy", "paramiko", "rich", "watchdog"}
"""Libraries that cost 30 to 150 ms to import (docs/design.md): no command pays for them that does not use them."""
DEDICATED: Final = {
    "deltasync._native.numpy_kernel": "numpy",
    "deltasync.channel.paramiko_ssh": "paramiko",
    "deltasync.cli.progress": "rich",
    "deltasync.detect.inotify": "watchdog",
}
"""Modules that may import a heavy library when loaded, and which; nobody imports these modules but inside a function."""

FILE_LINES: Final = 400
FUNCTION_LINES: Final = 50
LARGE: Final[dict[str, str]] = {}
"""Files (`deltasync/room/module.py`) and functions (`deltasync/room/module.py:name`) over the limit, with the reason."""

Rule = Callable[[Module], Iterator[str]]


def room_of(name: str) -> str:
    """Tell the room of a dotted name beneath `deltasync`; `""` for what is no room, as `deltasync.__version__`."""
    room = name.split(".")[1] if "." in name else ""
    return room if any(room in floor for floor in FLOORS) else ""


def floor_of(room: str) -> int:
    """Count the floors above the room; 0 for `cli`."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def used_names(module: Module) -> Iterator[tuple[str, int]]:
    """Find what the module uses of others, as full dotted names with their lines: imported names, and attributes of imported modules."""
    names = {
        alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
        for node in ast.walk(module.tree())
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    yield from ((found.name, found.line) for found in module.imports())
    for node in ast.walk(module.tree()):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first in names:
                yield f"{names[first]}.{rest}", node.lineno


def called_builtins(module: Module, *wanted: str) -> Iterator[str]:
    """Find where the module uses a builtin function of the given names, called or handed on."""
    for node in ast.walk(module.tree()):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in wanted:
            yield f"line {node.lineno} uses {node.id}()"


def imports_upwards(module: Module) -> Iterator[str]:
    """A room imports only itself and the floors below."""
    for found in module.imports():
        if found.name.split(".")[0] == "deltasync":
            room = room_of(found.name)
            if room != module.room and floor_of(room) <= floor_of(module.room):
                yield f"line {found.line} imports {found.name}: {module.room or 'the package'} stands beside or beneath {room}"


def touches_the_world(module: Module) -> Iterator[str]:
    """The pure rooms compute: no files, sockets, threads, clocks or chance."""
    if module.room in PURE_ROOMS:
        for found in module.imports():
            if found.name.split(".")[0] in IO_MODULES:
                yield f"line {found.line} imports {found.name}"
        yield from called_builtins(module, "open", "input", "exec", "eval")


def prints_elsewhere(module: Module) -> Iterator[str]:
    """Only `cli` speaks to the terminal."""
    if module.room != "cli":
        yield from called_builtins(module, "print", "input")
        for name, line in used_names(module):
            if name in STANDARD_STREAMS or name.split(".")[0] in {"click", "rich"}:
                yield f"line {line} uses {name}"


def starts_threads_elsewhere(module: Module) -> Iterator[str]:
    """Only `engine` starts threads, so that one place knows what must be joined."""
    if module.room != "engine":
        for name, line in used_names(module):
            if name in THREAD_STARTERS or name.split(".")[0] in THREAD_STARTERS:
                yield f"line {line} uses {name}"


def loads_heavy_libraries(module: Module) -> Iterator[str]:
    """A heavy library, or the module dedicated to it, is imported inside the function that needs it."""
    for found in module.imports():
        library = found.name.split(".")[0]
        if found.at_load and library in HEAVY and DEDICATED.get(module.name) != library:
            yield f"line {found.line} imports {library} when loaded"
        dedicated = {found.name, found.name.rpartition(".")[0]} & set(DEDICATED)
        if found.at_load and dedicated and module.name not in dedicated:
            yield f"line {found.line} imports {found.name}, and with it {DEDICATED[dedicated.pop()]}, when loaded"


def hides_what_it_offers(module: Module) -> Iterator[str]:
    """Each module says what it is for in a docstring, and what it offers in a sorted `__all__` of names that exist."""
    tree = module.tree()
    if not ast.get_docstring(tree):
        yield "has no docstring"
    body = [node for node in tree.body if not isinstance(node, ast.Expr)]
    offered = [ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    if not offered and body:
        yield "has no __all__"
    defined = {name for node in ast.walk(tree) for name in _names_bound_by(node)}
    for name in offered[0] if offered else ():
        if name not in defined:
            yield f"offers {name}, which it does not define"


def _names_bound_by(node: ast.AST) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Name(ctx=ast.Store()):
            return [node.id]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
        case _:
            return []


def is_large(module: Module) -> Iterator[str]:
    """A file of more than 400 lines, or a function of more than 50 (its docstring aside), has a reason in `LARGE`."""
    lines = module.text.count("\n")
    if lines > FILE_LINES and module.path not in LARGE:
        yield f"has {lines} lines"
    for node in ast.walk(module.tree()):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = _lines_of(node)
            if length > FUNCTION_LINES and f"{module.path}:{node.name}" not in LARGE:
                yield f"line {node.lineno}: {node.name} has {length} lines"


def _lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


RULES: Final[tuple[Rule, ...]] = (
    imports_upwards,
    touches_the_world,
    prints_elsewhere,
    starts_threads_elsewhere,
    loads_heavy_libraries,
    hides_what_it_offers,
    is_large,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Rule) -> None:
    """No module of the package breaks a rule of the house."""
    broken = [f"{module.path}: {line}" for module in package_modules() for line in rule(module)]
    assert broken == []


def test_the_rooms_are_those_of_the_design() -> None:
    """No module stands outside of the rooms: a new room is first given its floor."""
    known = {room for floor in FLOORS for room in floor}
    assert {module.path for module in package_modules() if module.room not in known} == set()
    assert {module.room for module in package_modules()} == known


def test_what_is_excused_still_needs_its_excuse() -> None:
    """An exemption for a file, function or module that is gone, or has become small, is taken off the list."""
    modules = {module.name: module for module in package_modules()}
    assert {name for name in DEDICATED if name not in modules} == set()
    large = {module.path for module in modules.values() if module.text.count("\n") > FILE_LINES} | {
        f"{module.path}:{node.name}"
        for module in modules.values()
        for node in ast.walk(module.tree())
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _lines_of(node) > FUNCTION_LINES
    }
    assert set(LARGE) == large


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (imports_upwards, "tree/a.py", "import deltasync.fs.walk"),
        (imports_upwards, "tree/a.py", "from deltasync.wire.messages import Fin"),
        (imports_upwards, "fs/a.py", "from ..patch import staging"),
        (imports_upwards, "fs/a.py", "def late():\n    from deltasync import engine"),
        (imports_upwards, "fs/a.py", "if TYPE_CHECKING:\n    from deltasync.cli.main import main"),
        (imports_upwards, "fs/a.py", "import importlib\nimportlib.import_module('deltasync.engine.run')"),
        (imports_upwards, "errors.py", "from deltasync._native import engine_name"),
        (imports_upwards, "__init__.py", "from deltasync.errors import ExitCode"),
        (touches_the_world, "wire/a.py", "import os"),
        (touches_the_world, "delta/a.py", "def late():\n    from os.path import join"),
        (touches_the_world, "tree/a.py", "open('x')"),
        (prints_elsewhere, "engine/a.py", "print('x')"),
        (prints_elsewhere, "engine/a.py", "callback(print)"),
        (prints_elsewhere, "engine/a.py", "import sys\nsys.stdout.write('x')"),
        (prints_elsewhere, "engine/a.py", "import sys as s\ns.stderr"),
        (prints_elsewhere, "channel/a.py", "from sys import stdout"),
        (prints_elsewhere, "channel/a.py", "import click"),
        (starts_threads_elsewhere, "channel/a.py", "import threading\nthreading.Thread()"),
        (starts_threads_elsewhere, "cli/a.py", "from threading import Thread"),
        (starts_threads_elsewhere, "patch/a.py", "from concurrent.futures import ThreadPoolExecutor"),
        (starts_threads_elsewhere, "patch/a.py", "import concurrent.futures as f\nf.ThreadPoolExecutor()"),
        (starts_threads_elsewhere, "patch/a.py", "import multiprocessing.pool"),
        (loads_heavy_libraries, "channel/a.py", "import paramiko"),
        (loads_heavy_libraries, "channel/a.py", "class A:\n    from rich.text import Text"),
        (loads_heavy_libraries, "cli/a.py", "from deltasync.cli.progress import Bars"),
        (loads_heavy_libraries, "cli/a.py", "from deltasync.cli import progress"),
        (hides_what_it_offers, "fs/a.py", "__all__ = []"),
        (hides_what_it_offers, "fs/a.py", "'''A docstring.'''\ndef public(): pass"),
        (hides_what_it_offers, "fs/a.py", "'''A docstring.'''\n__all__ = ['gone']"),
        (is_large, "fs/a.py", "\n" * 401),
        (is_large, "fs/a.py", "def long():\n    'Doc.'\n" + "    call()\n" * 51),
    ],
)
def test_a_rule_sees_what_breaks_it(rule: Rule, path: str, text: str) -> None:
    """Each way to break a rule that it promises to see is seen."""
    assert list(rule(Module(f"deltasync/{path}", text))) != []


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (imports_upwards, "cli/a.py", "from deltasync import __version__"),
        (
            imports_upwards,
            "patch/a.py",
            "from deltasync.fs.walk import walk\nfrom .staging import stage\nfrom deltasync.errors import Problem",
        ),
        (imports_upwards, "__main__.py", "from deltasync.cli.main import main"),
        (touches_the_world, "wire/a.py", "import stat, struct\nimport msgspec"),
        (touches_the_world, "fs/a.py", "import os\nopen('x')"),
        (prints_elsewhere, "cli/a.py", "import sys\nprint(sys.stdout)"),
        (prints_elsewhere, "fs/a.py", "import sys\nsys.platform"),
        (starts_threads_elsewhere, "engine/a.py", "from threading import Thread"),
        (starts_threads_elsewhere, "channel/a.py", "import threading\nthreading.Lock()"),
        (loads_heavy_libraries, "channel/a.py", "def late():\n    import paramiko"),
        (loads_heavy_libraries, "channel/a.py", "if TYPE_CHECKING:\n    import paramiko"),
        (loads_heavy_libraries, "cli/progress.py", "import rich.progress"),
        (hides_what_it_offers, "fs/__init__.py", "'''A docstring.'''"),
        (hides_what_it_offers, "fs/a.py", "'''A docstring.'''\n__all__ = ['A', 'b']\nclass A: pass\nb = 1"),
        (is_large, "fs/a.py", "def long():\n    '''Doc." + "\n" * 60 + "'''\n    call()"),
    ],
)
def test_a_rule_lets_pass_what_it_allows(rule: Rule, path: str, text: str) -> None:
    """A rule forbids no more than it says."""
    assert list(rule(Module(f"deltasync/{path}", text))) == []


def test_starting_the_command_loads_no_heavy_library() -> None:
    """Importing the command line, and the far end with it, leaves the heavy libraries alone: also indirectly."""
    code = f"import deltasync.cli.main, sys; print(sorted(set(sys.modules) & {HEAVY!r}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    assert result.stdout.strip() == "[]"
