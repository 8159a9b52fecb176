"""Deltas of contents in memory, as tests make them: signature, match in segments, patch."""

from __future__ import annotations

from deltasync._native import Kernel
from deltasync._native.columns import packed
from deltasync.delta.blocks import Layout
from deltasync.delta.match import Copy, at_own_offsets, search, uncovered
from deltasync.delta.patch import Patch
from deltasync.delta.signature import Signature, block_digests, weak_sums
from deltasync.delta.spans import Span, Spans, complement

__all__ = ["match", "patched", "signature"]


def signature(kernel: Kernel, base: bytes, block_bytes: int, strong_bytes: int = 8, ranges: list[Span] | None = None) -> Signature:
    """The complete and indexed signature of a base, or of ranges of it."""
    ranges = [Span(0, len(base))] if ranges is None else ranges
    made = Signature(Layout(block_bytes, ranges if base else []), strong_bytes)
    for start, end in ranges:
        part = base[start:end]
        digests = block_digests(part, block_bytes)
        made.extend(made.count, packed("I", weak_sums(kernel, part, block_bytes)), b"".join(digest[:strong_bytes] for digest in digests))
    assert made.complete
    made.index(kernel)
    return made


def match(kernel: Kernel, base: bytes, target: bytes, block_bytes: int, segment_bytes: int, fine_bytes: int = 0) -> list[Copy]:
    """The ranges of the base in the target, found in one round, or two if `fine_bytes` is not 0, by segments of the target."""
    covered = Spans()
    first = signature(kernel, base, block_bytes)
    digests = block_digests(target, block_bytes)
    last_bytes = len(target) - (len(digests) - 1) * block_bytes
    copies = uncovered(at_own_offsets(first, 0, digests, last_bytes), covered, len(target)) if digests and base else []
    copies += _searched(kernel, first, target, covered, segment_bytes)
    if fine_bytes:
        free = complement((Span(copy.base_at, copy.base_at + copy.length) for copy in copies), len(base))
        copies += _searched(kernel, signature(kernel, base, fine_bytes, ranges=free), target, covered, segment_bytes)
    return copies


def _searched(kernel: Kernel, made: Signature, target: bytes, covered: Spans, segment_bytes: int) -> list[Copy]:
    copies: list[Copy] = []
    reach = made.layout.block_bytes - 1
    for start, end in covered.missing(0, len(target)):
        for at in range(start, end, segment_bytes):
            stop = min(at + segment_bytes, end)
            part = memoryview(target)[at : min(stop + reach, len(target))]
            copies += uncovered(search(kernel, made, part, at, Span(at, stop), made.layout.at(at)), covered, len(target))
    return copies


def patched(base: bytes, target_bytes: int, copies: list[Copy], literals: bytes) -> bytes:
    """The target, from the base, the ranges of it, and the literals."""
    patch = Patch(len(base), target_bytes)
    made = bytearray(target_bytes)
    for copy in copies:
        patch.copy(copy)
        made[copy.target_at : copy.target_at + copy.length] = base[copy.base_at : copy.base_at + copy.length]
    at = 0
    for start, end in patch.fill(len(literals)):
        made[start:end] = literals[at : at + end - start]
        at += end - start
    assert patch.complete
    assert patch.literal_bytes == len(literals)
    return bytes(made)
