"""`python -m tests.fuzz.run [TARGET...]`: fuzz targets with atheris, and keep in the corpus what reaches something new.

Each target has DELTASYNC_FUZZ_S seconds (10 unless set). An input on which something breaks that must hold is printed in hexadecimal, as a
line to be added to the corpus of its target; the exit code is 1 then. Source: libFuzzer's options, https://llvm.org/docs/LibFuzzer.html.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tests.fuzz.corpus import read_corpus, write_corpus

__all__ = ["main"]

MAX_INPUT_BYTES = 600
_CHILD = "--child"
_OPTIONS = ("-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-reduce_inputs=1")


def main(words: Sequence[str]) -> int:
    """Fuzz the targets named, or all; return the exit code."""
    if words[:1] == [_CHILD]:
        return _fuzz(words[1], words[2:])
    from tests.fuzz.targets import TARGETS

    broken = [target for target in words or TARGETS if not _fuzzed(target, os.environ.get("DELTASYNC_FUZZ_S", "10"))]
    return 1 if broken else 0


def _fuzz(target: str, options: Sequence[str]) -> int:
    """Fuzz one target; in a process of its own, since libFuzzer ends the one it runs in."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["deltasync"]):
        targets = import_module("tests.fuzz.targets")
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[target])
    atheris.Fuzz()
    return 0


def _fuzzed(target: str, seconds: str) -> bool:
    """Fuzz one target and renew its corpus; False if something broke."""
    with tempfile.TemporaryDirectory(prefix="deltasync-fuzz-") as name:
        found = Path(name, "found")
        found.mkdir()
        for number, one in enumerate(read_corpus(target)):
            (found / str(number)).write_bytes(one)
        options = [f"-artifact_prefix={name}/broken-", f"-max_len={MAX_INPUT_BYTES}", f"-max_total_time={seconds}", *_OPTIONS]
        child = [sys.executable, "-m", "tests.fuzz.run", _CHILD, target]
        done = subprocess.run([*child, *options, str(found)], capture_output=True, text=True, check=False)
        if done.returncode:
            for path in Path(name).glob("broken-*"):
                print(f"{target}: broken by {path.read_bytes().hex()}")
            print(done.stdout + done.stderr)
            return False
        runs = next((line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line), "0")
        kept = [path.read_bytes() for path in found.iterdir()]
        write_corpus(target, kept)
        print(f"{target}: {runs} inputs, {len(kept)} kept", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
