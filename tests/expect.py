"""Expecting an error of the system by its number."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["errno_of"]


@contextmanager
def errno_of(*numbers: int) -> Generator[None]:
    """Expect an OSError with one of these numbers; another one fails the test with its own trace."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise
    else:
        names = " or ".join(errno.errorcode[number] for number in numbers)
        raise AssertionError(f"no {names} was raised")
