"""Conversations that are legal from end to end, for others to spoil; what they say does not depend on what they hear."""

from __future__ import annotations

from tests.engine import hostile
from tests.engine.hostile import Await, Finish, Row, Step, folder, link, section

END: tuple[Step, ...] = (Await(hostile.RECEIVER_DONE), hostile.sender_done(), Finish())
"""How the side that sends takes its leave."""
STREAMED = hostile.digest_of(b"y" * 2000)
TWINS = section(b"sub", Row(b"i", group=1), Row(b"j", group=1))
PUSHED: list[bytes] = [
    hostile.hello(),
    hostile.setup(True, [b""], delete=True, itemize=True),
    hostile.tree(),
    hostile.control(hostile.OWNERS, [[54321, b"nobody-here"]], []),
    hostile.entries(section(b"", folder(b"d"), Row(b"f", size=3), link(b"l", b"/etc/passwd"), folder(b"out"), folder(b"sub"))),
    hostile.control(hostile.NOTE, "a note"),
    hostile.entries(
        section(b"d", Row(b"g", size=2000), Row(b"h")), section(b"out"), section(b"sub", Row(b"i", group=1), Row(b"j", group=1))
    ),
    hostile.entries_end(9),
    hostile.pack((1, b"abc"), (6, b""), (8, b"")),
    hostile.begin(5, 2000),
    hostile.data(5, b"y" * 500),
    hostile.abort(5, 1),
    hostile.begin(5, 2000),
    hostile.data(5, b"y" * 2000),
    hostile.end(5, STREAMED),
]
"""What a client says that pushes."""

PULLED: list[bytes] = [
    hostile.hello(),
    hostile.control(hostile.READY, "python"),
    hostile.tree(),
    hostile.entries(section(b"", folder(b"d"), Row(b"f", size=3), link(b"l", b"/etc/passwd"))),
    hostile.entries(section(b"d", Row(b"g", size=2000))),
    hostile.entries_end(4),
    hostile.pack((1, b"abc")),
    hostile.begin(3, 2000),
    hostile.data(3, b"y" * 2000),
    hostile.end(3, hostile.digest_of(b"y" * 2000)),
]
"""What a server says that is pulled from."""

WANTED: list[Step] = [
    Await(hostile.ENTRIES),
    hostile.want(0, 0, 1, deferred=[2]),
    hostile.want_deferred(2),
    hostile.control(hostile.TROUBLE, b"a", "text", 23),
    hostile.control(hostile.ITEMS, [[">f+++++++++", b"a", b""]]),
    Await(hostile.FILE_END),
    Await(hostile.PACK, 2),
    hostile.receiver_done(),
    Finish(),
]
"""What the receiver of an arena's source says after the greetings."""
