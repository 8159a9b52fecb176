"""Building a native module with sanitizers, and running the tests of it once more in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.sources import PROJECT

__all__ = ["run_sanitized"]

SANITIZED = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location(sys.argv[3], sys.argv[1])
kernel = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = kernel
spec.loader.exec_module(kernel)
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", sys.argv[2], "-k", "not sanitizers"]))
"""


def run_sanitized(name: str, tests: str, tmp_path: Path, *options: str) -> None:
    """Run a file of tests, but for those named after sanitizers, with `_native/NAME.c` built to watch its addresses and its arithmetic."""
    library = tmp_path / f"{name}.so"
    headers = sysconfig.get_paths()["include"]
    if not Path(headers, "Python.h").exists():
        pytest.skip("needs Python.h")
    compiler = shutil.which("gcc") or "gcc"
    watch = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    source = str(PROJECT / "deltasync" / "_native" / f"{name}.c")
    subprocess.run([compiler, *watch, *options, "-shared", "-fPIC", f"-I{headers}", source, "-o", str(library)], check=True)
    runtime = subprocess.run([compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True).stdout.strip()
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0",
        "HYPOTHESIS_EXAMPLES": os.environ.get("HYPOTHESIS_EXAMPLES", "30"),
    }
    words = [sys.executable, "-c", SANITIZED, str(library), tests, f"deltasync._native.{name}"]
    done = subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
