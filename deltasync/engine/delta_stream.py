"""A file on its way in as a delta: ranges of the base are copied on the pool, literals fill the rest, all is proven leaf by leaf."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from deltasync._native import Kernel
from deltasync.delta.match import Copy
from deltasync.delta.order import NoOrder
from deltasync.delta.patch import Patch
from deltasync.delta.spans import Span, extents
from deltasync.engine.base import Base
from deltasync.engine.copying import Copying
from deltasync.engine.errands import Errand
from deltasync.engine.leaves import Leaf, Leaves
from deltasync.engine.pool import SEGMENT_BYTES, Pool
from deltasync.engine.streams import Expected
from deltasync.errors import RemoteProtocolError
from deltasync.fs.index import Remembered
from deltasync.patch.inplace import InPlace
from deltasync.patch.kept import Kept
from deltasync.patch.staging import Staged
from deltasync.tree.entry import Entry
from deltasync.wire.messages import FileCopy

__all__ = ["DeltaStream", "Places"]

MAX_WAITING_RANGES = 1 << 18
"""Most ranges that may wait to be copied; a sender needs no more than one for two blocks of a signature."""
MAX_AT_THE_END_BYTES = 1 << 30
"""So much is still copied when a run breaks off, that what has come need not come again: about a second."""


class Places(NamedTuple):
    """Where a file that comes as a delta may go; which of them, is decided when it shows what of the base it keeps.

    All but the first are None where they may not be, and their result is None where they turn out not to be possible.

    Attributes:
        stage: Stages a new file.
        keep: The base stays and takes attributes only, since it is the file already.
        adopt: The base is renamed and patched, since all that is kept of it keeps its offset.
        clone: A new file is staged that shares the base's content.
        in_place: The base itself is patched.
        only: Nothing but the user's choice will do: it is not weighed against staging.
        save: Makes a backup of the base before it is patched in place; raises OSError.
    """

    stage: Callable[[], Staged]
    keep: Callable[[], Kept | None] | None
    adopt: Callable[[], Staged | None] | None
    clone: Callable[[], Staged | None] | None
    in_place: Callable[[], InPlace | None] | None
    only: bool = False
    save: Callable[[], None] | None = None


class DeltaStream:
    """A file that comes as a delta.

    Args:
        expected: What was asked for.
        entry: What it is now, by the sender's word.
        base: What the sender knows the checksums of; it stays its owner's.
        pool: What copies and hashes.
        kernel: The engine.
        places: Where the file may go.

    Attributes:
        expected, entry: As given; `expected.credited` grows.
        staged: Where it goes, or None where that could not be made and what comes is passed over, or is not settled yet.
        error: What went wrong with the destination, once something did.
        matched_bytes: How many bytes came from the base.
    """

    def __init__(
        self,
        expected: Expected,
        entry: Entry,
        base: Base,
        pool: Pool,
        kernel: Kernel,
        places: Places,
    ) -> None:
        self.expected = expected
        self.entry = entry
        self.staged: Staged | Kept | InPlace | None = None
        self.error: OSError | None = None
        self._base = base
        self._pool = pool
        self._patch = Patch(base.size, entry.size)
        self._leaves = Leaves(entry.size, base, kernel)
        self._places = places
        self._undecided = True
        self._over_base = self._adopted = self._named = False
        self._held: list[Copy] = []
        self._held_end = 0
        self._own_bytes = self._moved_bytes = 0
        self._copying = Copying(base, self._leaves, pool)
        self._digest: bytes | None = None
        self.proven = False

    @property
    def taken(self) -> int:
        """How many bytes have come, from the base or as literals."""
        return self._patch.matched_bytes + self._patch.literal_bytes

    @property
    def matched_bytes(self) -> int:
        """How many bytes came from the base."""
        return self._patch.matched_bytes

    # What comes ---------------------------------------------------------------------------------------------------------------------

    def copy(self, message: FileCopy) -> None:
        """Take ranges of the base.

        Raises:
            RemoteProtocolError: They reach beyond their files or overlap.
        """
        try:
            for copy in map(Copy, message.target_at, message.base_at, message.lengths):
                self._patch.copy(copy)
                if self._undecided:
                    self._hold(copy)
                else:
                    self._take(copy)
        except ValueError as error:
            raise RemoteProtocolError(f"the peer sent a malformed delta: {error}") from error
        if len(self._copying.ranges) + len(self._held) > MAX_WAITING_RANGES:
            raise RemoteProtocolError("the peer sent a delta of too many ranges")

    def _hold(self, copy: Copy) -> None:
        """Take a range while it is open where the file goes; that is decided as soon as it can be."""
        goes_on = copy.target_at == copy.base_at == self._held_end
        self._held.append(copy)
        self._held_end = copy.target_at + copy.length
        if copy.target_at == copy.base_at:
            self._own_bytes += copy.length
        else:
            self._moved_bytes += copy.length
        places = self._places
        if goes_on or (places.adopt is not None and not self._moved_bytes):
            return
        if self._own_bytes and places.clone is not None:
            if self._goes_to(places.clone):
                return
            # A file may come in thousands of ranges, and a filesystem that can't share content for one can't for any.
            self._places = places._replace(clone=None)
        if places.in_place is None or (self._moved_bytes > self._own_bytes and not places.only):
            self._go_on_beside()

    def _take(self, copy: Copy) -> None:
        """Take a range, now that it is known where the file goes: what is there already need not be copied."""
        if not self._over_base:
            self._copying.ranges.append(copy)
        elif copy.target_at == copy.base_at:
            self._leaves.note(dict(self._leaves.of_base(copy.target_at, copy.length)))
        elif isinstance(self.staged, InPlace):
            self.staged.move(copy)
        else:
            self._copying.ranges.append(copy)

    def data(self, content: bytes | bytearray | memoryview) -> None:
        """Take the next literals.

        Raises:
            RemoteProtocolError: There is no room for so many.
            OSError: They can't be written.
        """
        self._settle_place()
        self._settle_name()
        view = memoryview(content)
        at = 0
        for start, end in self._filled(len(view)):
            piece = view[at : at + end - start]
            at += end - start
            if isinstance(self.staged, (Staged, InPlace)):
                self.staged.put(start, piece)
                self._leaves.note(dict(self._leaves.of_content(start, piece)))

    def zeros(self, count: int) -> None:
        """Take a run of zeros among the literals; raises as `data`."""
        self._settle_place()
        for start, end in self._filled(count):
            if isinstance(self.staged, (Staged, InPlace)):
                self.staged.clear(start, end - start)

    def _settle_name(self) -> None:
        """Let a later run find what is staged, should this process be killed, once literals come and all else is in its place."""
        if not self._named and self._copying.idle and (staged := self._beside) is not None and not self._adopted:
            self._become_partial(staged)

    def _filled(self, count: int) -> list[Span]:
        try:
            return self._patch.fill(count)
        except ValueError as error:
            raise RemoteProtocolError(f"the peer sent a malformed delta: {error}") from error

    @property
    def complete(self) -> bool:
        """Whether every byte has come."""
        return self._patch.complete

    def end(self, digest: bytes) -> None:
        """Take note that all has come, and what its digest is; `steps` goes on to prove it."""
        if self._undecided and self._own_bytes == self.entry.size == self._base.size and self._base.unchanged:
            self._goes_to(self._places.keep)
        self._settle_place()
        self._digest = digest

    def _settle_place(self) -> None:
        """Now that all ranges are known, decide where the file goes, if that is still open."""
        if not self._undecided:
            return
        places, mostly = self._places, 2 * self._own_bytes >= self.entry.size
        settled = self._base.unchanged and (
            (not self._moved_bytes and self._goes_to(places.adopt))
            or ((bool(self._own_bytes) or places.only) and self._goes_to(places.clone))
            or ((mostly or places.only) and self._goes_to(places.in_place))
        )
        if not settled:
            self._go_on_beside()

    def _goes_to(self, make: Callable[[], Staged | Kept | InPlace | None] | None) -> bool:
        """Have the file go where the base's content is already, if that can be; then what the base vouches for is known."""
        place = make() if make is not None else None
        if place is None:
            return False
        self.staged, self._undecided, self._over_base = place, False, True
        self._adopted = make is self._places.adopt
        for copy in self._held:
            self._take(copy)
        self._held.clear()
        return True

    def _go_on_beside(self) -> None:
        """Copy from the base, which stays what it is."""
        self._undecided = False
        self._copying.ranges.extend(self._held)
        self._held.clear()
        self._stage()

    def _stage(self) -> None:
        try:
            self.staged = self._places.stage()
        except OSError as error:
            # What still comes is passed over; the end tells.
            self.error = error

    # What is done -------------------------------------------------------------------------------------------------------------------

    def steps(self) -> Errand:
        """Copy what is to be copied until all has come, then prove it: `proven` says how that went."""
        try:
            while self._digest is None or not self._copying.idle:
                self._copying.advance(self._beside if self.error is None else None)
                yield self._may_go_on
            self.error = self.error or self._copying.error
            if self.error is None and self.staged is not None:
                self.staged.complete()
                yield from self._hash_the_rest(self.staged)
                self.proven = self._leaves.prove(self._digest) and (self._adopted or self._base.unchanged)
                if self.proven and isinstance(self.staged, InPlace):
                    yield from self._seal(self.staged, self._digest)
        except OSError as error:
            self.error, self.proven = error, False
        finally:
            self._copying.stop()

    def _may_go_on(self) -> bool:
        return self._copying.ready or (self._digest is not None and self._copying.idle)

    @property
    def checksums(self) -> Remembered | None:
        """The checksums of the proven file; None if there are none worth remembering."""
        return self._leaves.checksums

    def _seal(self, place: InPlace, digest: bytes) -> Errand:
        """Give a file that is patched in place its content; where that can't be, as long as it is untouched, stage a new one after all."""
        error: OSError | None = None
        for sealed in self._pool.in_order(iter([(self._sealed, (place, digest))])):
            yield sealed.done
            error = sealed.result()
        if error is None:
            return
        if place.decided or self._places.only:
            raise error
        self._stage()
        try:
            if not isinstance(self.staged, Staged):
                raise self.error or error
            for filled in self._pool.in_order((self._fill, (place, self.staged, at)) for at in range(0, self.entry.size, SEGMENT_BYTES)):
                yield filled.done
                filled.result()
            self.staged.complete()
            self.proven = self._base.unchanged
        finally:
            place.abandon(keep=False)

    def _sealed(self, place: InPlace, digest: bytes) -> OSError | None:
        """Seal; runs on the pool."""
        try:
            if self._places.save is not None:
                self._places.save()
            place.seal(digest, forced=self._places.only)
        except NoOrder as error:
            return OSError(errno.ENOSPC, str(error))
        except OSError as error:
            return error
        return None

    def _fill(self, place: InPlace, staged: Staged, at: int) -> None:
        """Copy a segment of what was to be patched in place; runs on the pool."""
        view = self._pool.buffer(min(SEGMENT_BYTES, self.entry.size - at))
        place.read(at, view)
        staged.put(at, view)

    def _hash_the_rest(self, staged: Staged | Kept | InPlace) -> Errand:
        """Hash those leaves that are made of more than one piece."""
        missing = self._leaves.missing()
        step = max(SEGMENT_BYTES // self._leaves.leaf_bytes, 1)
        batches = (missing[at : at + step] for at in range(0, len(missing), step))
        for future in self._pool.in_order((self._hash, (staged, batch)) for batch in batches):
            yield future.done
            self._leaves.note(future.result())

    def _hash(self, staged: Staged | Kept | InPlace, indexes: list[int]) -> dict[int, Leaf]:
        """Hash some leaves of what is staged; runs on the pool."""
        leaves: dict[int, Leaf] = {}
        for extent in extents(map(self._leaves.span, indexes), 0, SEGMENT_BYTES):
            content = self._pool.buffer(extent.end - extent.start)
            staged.read(extent.start, content)
            leaves.update(self._leaves.of_content(extent.start, content))
        return leaves

    def abandon(self, *, keep: bool) -> None:
        """Give it up.

        Args:
            keep: Leave what has come for a later run: where that made a new file, with all that is kept of the base, so that it is a base
                itself. What has come of a file that is patched in place is not kept.
        """
        self._copying.stop()
        if self.staged is not None:
            self.staged.abandon(keep=keep and (self._adopted or self._is_base()))
            self.staged = None

    def _is_base(self) -> bool:
        """Tell whether what is staged has become a better base than the one that there was, and make it one that a later run finds."""
        staged = self._beside
        if staged is None or self.error is not None or not self._patch.literal_bytes:
            return False
        return self._copying.finish(staged, MAX_AT_THE_END_BYTES) and self._become_partial(staged)

    def _become_partial(self, staged: Staged) -> bool:
        was_sound = self._base.unchanged
        self._named = staged.becomes_partial()
        # The base may be what had that name.
        if self._named and was_sound:
            self._base.lost_its_name()
        return self._named

    @property
    def _beside(self) -> Staged | None:
        """The staged file, where there is one."""
        return self.staged if isinstance(self.staged, Staged) else None
