"""The project's own modules, parsed: what the tests of the architecture and of the house look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["PROJECT", "Import", "Module", "package_modules"]

PROJECT = Path(__file__).resolve().parent.parent
"""The top of the clone."""

_LOADERS = {"import_module", "__import__"}
"""Calls that import what their first argument names."""


class Import(NamedTuple):
    """One module that another imports.

    Attributes:
        name: Its full dotted name; for `from a import b` this is `a.b`, which may be a module or a name within one.
        line: Where the import stands.
        at_load: Whether it happens when the importing module is loaded: not inside a function, and not for type checkers alone.
    """

    name: str
    line: int
    at_load: bool


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the package.

    Attributes:
        path: Its file, relative to the top of the clone, as `deltasync/tree/entry.py`.
        text: Its source.
    """

    path: str
    text: str

    @property
    def name(self) -> str:
        """The dotted name, as `deltasync.tree.entry`."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def room(self) -> str:
        """The part of the package that it belongs to: `tree`, `errors`, ...; `""` for the package itself, `cli` for `__main__`."""
        parts = self.name.split(".")
        room = parts[1] if len(parts) > 1 else ""
        return "cli" if room == "__main__" else room

    @property
    def is_package(self) -> bool:
        """Whether the file is an `__init__.py`."""
        return self.path.endswith("/__init__.py")

    def tree(self) -> ast.Module:
        """Parse the source."""
        return ast.parse(self.text, self.path)

    def imports(self) -> Iterator[Import]:
        """Find every import, wherever in the module it stands, in the order of the source."""
        return self._imports_in(self.tree(), at_load=True)

    def _imports_in(self, node: ast.AST, *, at_load: bool) -> Iterator[Import]:
        for name in self._imported_by(node):
            yield Import(name, getattr(node, "lineno", 0), at_load)
        never_run = node.body if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") else []
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from self._imports_in(child, at_load=at_load and not inside and child not in never_run)

    def _imported_by(self, node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            origin = self._origin(node)
            return [f"{origin}.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Call) and node.args and isinstance(named := node.args[0], ast.Constant) and isinstance(named.value, str):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            return [named.value] if called in _LOADERS else []
        return []

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        package = package[: len(package) - (node.level - 1)]
        return ".".join([*package, node.module] if node.module else package)


def package_modules() -> list[Module]:
    """Read every module of the package, in the order of their paths."""
    files = sorted((PROJECT / "deltasync").rglob("*.py"))
    return [Module(str(file.relative_to(PROJECT)), file.read_text(encoding="utf-8")) for file in files]
