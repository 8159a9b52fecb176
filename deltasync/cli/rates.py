"""Amounts as people write and read them: `--bwlimit` in rsync's syntax, sizes and durations on a terminal. Pure."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["duration", "parse_rate", "parse_size", "size"]

_RATE = re.compile(r"(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)(?:(?P<unit>[bkmgtp])(?P<base>b|ib)?)?(?P<step>[+-]1)?", re.IGNORECASE)
_POWERS = "bkmgtp"
MIN_RATE_BYTES_S = 512
MAX_RATE_BYTES_S = (1 << 62) - 1


def parse_rate(text: str) -> int:
    """Return the bytes a second of a RATE as rsync takes it: KiB without a suffix, `K` and `KiB` by 1024, `KB` by 1000, `B` bytes.

    A limit is rounded to KiB, as rsync does; 0 is none.

    Raises:
        ValueError: It is not written so, or is neither 0 nor 512 bytes a second and more.
    """
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a rate; examples: 500 (KiB/s), 1.5m, 2MB, 0 (no limit)")
    base = 1000 if (found["base"] or "").lower() == "b" else 1024
    power = _POWERS.index((found["unit"] or "k").lower())
    rate = int(Fraction(found["number"].rstrip(".")) * base**power) + int(found["step"] or 0)
    if rate == 0:
        return 0
    if not MIN_RATE_BYTES_S <= rate <= MAX_RATE_BYTES_S:
        raise ValueError(
            f"{text!r} is too {'small' if rate < MIN_RATE_BYTES_S else 'large'}; the least is 512 bytes a second, 0 is no limit"
        )
    return (rate + 512) // 1024 * 1024


def parse_size(text: str) -> int:
    """Return the bytes of a SIZE as rsync takes it: bytes without a suffix, `K` and `KiB` by 1024, `KB` by 1000.

    Raises:
        ValueError: It is not written so.
    """
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a size; examples: 2048, 4K, 1MiB")
    base = 1000 if (found["base"] or "").lower() == "b" else 1024
    return int(Fraction(found["number"].rstrip(".")) * base ** _POWERS.index((found["unit"] or "b").lower())) + int(found["step"] or 0)


def size(amount: float) -> str:
    """Return a number of bytes with three digits and a binary unit, as `1.21 MiB`."""
    if amount < 1000:
        return f"{amount:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1000:
            return f"{amount:.{2 if amount < 10 else 1 if amount < 100 else 0}f} {unit}"
    return f"{amount / 1024:,.1f} PiB"


def duration(seconds: float) -> str:
    """Return a duration as `h:mm:ss`, rounded up: what is left never takes no time."""
    whole = -int(-seconds // 1)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
