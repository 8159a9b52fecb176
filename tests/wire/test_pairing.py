"""An invitation: read as it is printed, and never quoted with its token."""

from __future__ import annotations

import pytest

from deltasync.wire.keys import encode
from deltasync.wire.noise import public_key
from deltasync.wire.pairing import Invitation

KEY, TOKEN = public_key(b"\1" * 32), b"\2" * 32


@pytest.mark.parametrize("address", ["host:8730", "[::1]:1", "192.0.2.1:65535"])
def test_it_is_read_as_it_is_printed(address: str) -> None:
    """Address, key, token."""
    invitation = Invitation(address, KEY, TOKEN)
    assert str(invitation) == f"{address}/{encode(KEY)}#{encode(TOKEN)}"
    assert Invitation.parse(str(invitation)) == invitation


@pytest.mark.parametrize(
    "text",
    ["", "host:1", f"host:1/{encode(KEY)}", f"host:1#{encode(TOKEN)}", f"h:1/{encode(bytes(32))}#{encode(TOKEN)}", f"h:1/{encode(KEY)}#x"],
)
def test_anything_else_is_refused(text: str) -> None:
    """With words that hold no token."""
    with pytest.raises(ValueError, match=r".") as caught:
        Invitation.parse(text)
    assert encode(TOKEN) not in str(caught.value)
