"""Which tests may skip: those that name what they need here, as the README lists it; in CI none but those that the README names. Pure."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["listed", "objection"]

NEEDS_HEADING: Final = "## What tests may need"
CI_HEADING: Final = "## What may skip in CI"


def listed(readme: str, heading: str) -> set[str]:
    """Collect what stands in backticks before the colon of the list items beneath a heading of the README.

    Raises:
        ValueError: The README has no such heading.
    """
    if f"{heading}\n" not in readme:
        raise ValueError(f"README.md has no heading {heading!r}")
    section = readme.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    return {name for item in re.findall(r"^- ((?:`[^`]+`(?:, )?)+):", section, re.MULTILINE) for name in re.findall(r"`([^`]+)`", item)}


def objection(readme: str, test: str, reason: str, *, in_ci: bool) -> str | None:
    """Say why a test may not skip, or None when it may.

    Args:
        readme: The text of README.md.
        test: The node id of the test, or of the module that skips as a whole.
        reason: What the skip says, as `needs rsync`.
        in_ci: Whether the environment has CI set.
    """
    if in_ci and not any(test.startswith(allowed) for allowed in listed(readme, CI_HEADING)):
        return f"skipped in CI ({reason}), and README.md does not list it under {CI_HEADING!r}"
    if not any(re.search(rf"needs {re.escape(need)}\b", reason) for need in listed(readme, NEEDS_HEADING)):
        return f"skipped ({reason}), and README.md does not list what it needs under {NEEDS_HEADING!r}"
    return None
