"""The corpus: inputs that each reach something in a target that no other does, kept as lines of hexadecimal, one file a target."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["read_corpus", "write_corpus"]

_PLACE = Path(__file__).with_name("corpus")


def read_corpus(target: str) -> list[bytes]:
    """Return the inputs of a target; none if it has none yet."""
    path = _PLACE / f"{target}.hex"
    return [bytes.fromhex(line) for line in path.read_text(encoding="ascii").splitlines()] if path.exists() else []


def write_corpus(target: str, inputs: Iterable[bytes]) -> None:
    """Keep these inputs, shortest first."""
    lines = [one.hex() for one in sorted(set(inputs), key=lambda one: (len(one), one))]
    (_PLACE / f"{target}.hex").write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
