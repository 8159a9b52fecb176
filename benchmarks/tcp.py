"""The rows without SSH: `tcp://`, and `--data tcp` beside SSH; beside rsync over SSH, and beside its daemon, which encrypts nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.contest import Contestant, FarEnd, Place, Row, deltasync, rsync
from benchmarks.data import one_large_file, small_files
from benchmarks.server import Server
from benchmarks.trees import TINY_BYTES, equal, from_nothing
from benchmarks.usage import Running

__all__ = ["tcp_rows"]

START_TIMEOUT_S = 10.0
_LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def tcp_rows(large_bytes: int) -> list[Row]:
    """Return the rows; the large file has so many bytes."""
    tiny = partial(small_files, least_bytes=TINY_BYTES[0], most_bytes=TINY_BYTES[1])
    return [
        Row("tcp-large-1g-first", partial(one_large_file, large_bytes), from_nothing, _without_ssh),
        Row("tcp-small-20k-first", partial(small_files, count=20_000), from_nothing, _without_ssh),
        Row("tcp-unchanged-100k", partial(tiny, count=100_000), equal, _without_ssh),
    ]


def _without_ssh(place: Place) -> list[Contestant]:
    port = place.server.counted_port if place.host == "counted" else place.server.tcp_port
    command = str(Path(sys.executable).parent / "deltasync")
    return [
        Contestant(
            "deltasync tcp://",
            lambda source, dest: [command, "push", "--delete", f"{source}/", f"tcp://127.0.0.1:{port}/bench/{dest.name}"],
            ours=True,
            far=_listener(command, place.server, port),
        ),
        replace(deltasync(place, "--data", "tcp"), name="deltasync --data tcp", counted=False),
        rsync(place),
        Contestant(
            "rsync daemon",
            lambda source, dest: ["rsync", "-a", "--delete", f"{source}/", f"rsync://127.0.0.1:{port}/bench/{dest.name}/"],
            aside=True,
            far=_daemon(place.server),
        ),
    ]


def _listener(command: str, server: Server, port: int) -> FarEnd:
    """Return `deltasync listen`, and let both sides know each other."""

    def say(home: Path, *words: str) -> str:
        environment = {**os.environ, "DELTASYNC_HOME": str(home)}
        return subprocess.run([command, *words], env=environment, capture_output=True, text=True, check=True).stdout.strip()

    @contextmanager
    def run(dest: Path) -> Iterator[list[Running]]:
        near, far = (say(home, "key", "show") for home in (server.near_home, server.far_home))
        say(server.far_home, "trust", "add", near, "--allow", "bench")
        say(server.near_home, "known", "add", f"127.0.0.1:{port}", far)
        words = [command, "listen", "--root", f"bench={dest.parent}", "--bind", f"127.0.0.1:{server.tcp_port}", "--once"]
        running = Running(words, {"DELTASYNC_HOME": str(server.far_home)})
        try:
            _wait_for(server.tcp_port)
            yield [running]
        except BaseException:
            running.stop()
            raise

    return run


def _daemon(server: Server) -> FarEnd:
    """Return rsync as a daemon for one connection, as inetd starts it."""

    @contextmanager
    def run(dest: Path) -> Iterator[list[Running]]:
        with tempfile.TemporaryDirectory() as place, socket.create_server(("127.0.0.1", server.tcp_port)) as listening:
            config = Path(place) / "rsyncd.conf"
            config.write_text(
                f"use chroot = no\nuid = {os.geteuid()}\ngid = {os.getegid()}\n[bench]\npath = {dest.parent}\nread only = no\n"
            )
            started: list[Running] = []

            def serve() -> None:
                with suppress(OSError), listening.accept()[0] as connection:
                    started.append(Running(["rsync", "--daemon", f"--config={config}"], {}, connection))

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                yield started
            finally:
                # Shutting it down wakes whoever accepts; closing alone does not.
                listening.shutdown(socket.SHUT_RDWR)
                thread.join()

    return run


def _wait_for(port: int) -> None:
    """Wait until something listens, without a connection that would be its first."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        if any(int(line[1].partition(":")[2], 16) == port and line[3] == _LISTENING for line in lines):
            return
        time.sleep(0.02)
    raise RuntimeError("deltasync listen does not answer")
