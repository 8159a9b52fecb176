"""The benchmarks measure what they say: each change is the one that its row is named after, and bytes are counted as they pass."""

from __future__ import annotations

import random
import socket
import threading
from pathlib import Path

import pytest

from benchmarks import deltas
from benchmarks.counting import counting_proxy
from benchmarks.data import large_file
from benchmarks.deltas import APPENDED_BYTES, EDIT_BYTES, NAME, delta_rows
from benchmarks.rows import rows

SIZE = 4 << 20


def test_the_rows_have_names_of_their_own() -> None:
    """A row is chosen by its name."""
    names = [row.name for row in rows()]
    assert len(set(names)) == len(names)
    assert len(names) > 10


@pytest.mark.parametrize("name", [row.name for row in delta_rows(SIZE)])
def test_a_delta_row_changes_what_its_name_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much of the base is left, and so long is the file; the destination begins with the base."""
    monkeypatch.setattr(deltas, "SETTLED_S", 0.0)
    row = next(row for row in delta_rows(SIZE) if row.name == name)
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    row.build(source)
    row.prepare(source, dest, 0)
    base = (dest / NAME).read_bytes()
    (target,) = source.iterdir()
    content = target.read_bytes()
    kept = sum(content[at : at + 4096] in base for at in range(0, SIZE, 4096)) / (SIZE // 4096)
    added = {"delta-inserted": 1, "delta-appended": APPENDED_BYTES}.get(name, 0)
    assert len(base) == SIZE
    assert len(content) == SIZE + added
    assert (target.name != NAME) is (name == "delta-renamed")
    assert (content == base) is (name == "delta-touched")
    assert kept == 0 if name == "delta-different" else kept > 0.8
    if name == "delta-moved":
        assert sorted(random.Random(1).sample(content, 100)) != sorted(random.Random(1).sample(base, 100))
        assert sorted(content) == sorted(base)
    assert EDIT_BYTES == 4096


def test_large_files_are_the_same_on_every_machine(tmp_path: Path) -> None:
    """They are made from a seed."""
    large_file(tmp_path / "one", 1 << 20)
    large_file(tmp_path / "two", 1 << 20)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_bytes_are_counted_in_both_directions() -> None:
    """What passes is counted, and passes unchanged, with the end of each direction."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            heard = b"".join(iter(lambda: connection.recv(65536), b""))
            connection.sendall(heard[:10])

    thread = threading.Thread(target=answer)
    thread.start()
    with counting_proxy(server.getsockname()[1]) as counter:
        with socket.create_connection(("127.0.0.1", counter.port)) as client:
            client.sendall(bytes(range(250)) * 40)
            client.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: client.recv(65536), b"")) == bytes(range(10))
        thread.join()
    server.close()
    assert (counter.up, counter.down) == (10_000, 10)
