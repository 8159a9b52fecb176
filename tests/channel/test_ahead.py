"""A session that is begun ahead is used once, by whom it suits, or ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deltasync.channel.address import Remote
from deltasync.channel.ahead import Ahead


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Lead to a child that says its number and stays."""
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\necho $$\nexec cat\n")
    shell.chmod(0o755)
    return Remote("host", rsh=(str(shell),))


def test_it_is_handed_over_once(remote: Remote) -> None:
    """Whoever takes it owns it; who leads elsewhere gets nothing."""
    with Ahead(remote) as ahead:
        assert ahead.take(Remote("other")) is None
        stream = ahead.take(remote)
        assert stream is not None
        assert ahead.take(remote) is None
    try:
        buffer = bytearray(20)
        assert int(buffer[: stream.recv_into(memoryview(buffer))]) > 0
    finally:
        stream.close()


def test_one_that_nobody_takes_is_ended(remote: Remote) -> None:
    """The child is gone when the block is left."""
    before = set(os.listdir("/proc/self/fd"))
    with Ahead(remote):
        pass
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_what_can_not_be_begun_is_left_to_the_run() -> None:
    """No error here: it is met again, and told, where the run connects."""
    with Ahead(Remote("host", rsh=("no-such-ssh",))) as ahead:
        assert ahead.take(Remote("host", rsh=("no-such-ssh",))) is None
    with Ahead(None) as ahead:
        assert ahead.take(Remote("host")) is None
