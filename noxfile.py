"""What is done to the project besides writing it: `nox -l` lists the sessions, `nox -s NAME` runs one, `nox` what a change must pass."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import nox

nox.needs_version = ">=2026.4"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "tests", "build"]

SOURCES = ("deltasync", "tests", "benchmarks", "noxfile.py")


def install_project(session: nox.Session) -> None:
    """Install deltasync from the work tree, as it stands, with all that its tests need."""
    session.install("-e", ".[dev]")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments behind `--` go to pytest."""
    install_project(session)
    session.run("pytest", "-n", "2", "--dist", "worksteal", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format; `nox -s lint -- --fix` mends what can be mended."""
    requirements = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["dev"]
    session.install(*(requirement for requirement in requirements if requirement.startswith("ruff")))
    mend = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if mend else []), *SOURCES)
    session.run("ruff", "format", *([] if mend else ["--check"]), *SOURCES)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of package, tests, benchmarks and this file, strictly."""
    install_project(session)
    session.run("mypy")


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel; install each into an environment of its own and push with it."""
    session.install("build")
    out = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "build", "--outdir", str(out / "dist"))
    archives = sorted((out / "dist").iterdir())
    sdist = next(archive for archive in archives if archive.suffix == ".gz")
    # Without a compiler the install must succeed too: `false` stands for one that compiles nothing.
    for name, archive, environ in (*((archive.suffix.strip("."), archive, {}) for archive in archives), ("plain", sdist, {"CC": "false"})):
        environment = out / f"venv-{name}"
        session.run(sys.executable, "-m", "venv", "--clear", str(environment), external=True)
        session.run(str(environment / "bin" / "pip"), "install", "-q", str(archive), external=True, env=environ)
        command = str(environment / "bin" / "deltasync")
        # Run where no source lies about, so that only what was installed can answer.
        with session.chdir(out):
            version = session.run(command, "--version", external=True, silent=True)
            if name == "plain" and "engine: python" not in str(version):
                session.error(f"without a compiler the engine is not plain Python: {version}")
            session.run(command, "push", "--stats", f"{environment}/lib/", str(out / f"pushed-{name}"), external=True)


@nox.session
def oracle(session: nox.Session) -> None:
    """Compare the engines with pyrsync2, whose wheel only an old setuptools builds; the wheel stays in `.nox/oracle/tmp/wheels`."""
    install_project(session)
    session.install("-U", "pip>=25.3")
    place = Path(session.create_tmp()).resolve()
    (place / "constraint.txt").write_text("setuptools==56.1.0\n", encoding="utf-8")
    wheel = ("pip", "wheel", "-q", "--no-deps", "--build-constraint", str(place / "constraint.txt"), "--wheel-dir", str(place / "wheels"))
    session.run(*wheel, "pyrsync2")
    session.install("--force-reinstall", *map(str, (place / "wheels").glob("pyrsync2-*.whl")))
    session.run("pytest", "tests/delta", "tests/_native", *session.posargs)


@nox.session
def sanitize(session: nox.Session) -> None:
    """Run the native engine's tests for long under the address and undefined-behaviour sanitizers: HYPOTHESIS_EXAMPLES, else 2,000."""
    install_project(session)
    examples = os.environ.get("HYPOTHESIS_EXAMPLES", "2000")
    session.run("pytest", "tests/_native", "-k", "sanitizers", "--timeout=0", *session.posargs, env={"HYPOTHESIS_EXAMPLES": examples})


@nox.session
def docs(session: nox.Session) -> None:
    """Run every example of README and docs, and follow every link between the pages."""
    install_project(session)
    session.run("pytest", "tests/test_docs.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against rsync on this machine; arguments behind `--` choose rows."""
    install_project(session)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run every property test for long: HYPOTHESIS_EXAMPLES examples each, 20,000 unless set."""
    install_project(session)
    examples = os.environ.get("HYPOTHESIS_EXAMPLES", "20000")
    session.run("pytest", "-m", "hypothesis", "--timeout=0", *session.posargs, env={"HYPOTHESIS_EXAMPLES": examples})


@nox.session
def cuts(session: nox.Session) -> None:
    """Break connections at 500 random places, or DELTASYNC_CUTS, and at every record; DELTASYNC_CUTS_SEED varies them; half an hour."""
    install_project(session)
    places = {"DELTASYNC_CUTS": os.environ.get("DELTASYNC_CUTS", "500")}
    session.run("pytest", "tests/test_cut_connections.py", "--timeout=0", "--log-cli-level=INFO", *session.posargs, env=places)


@nox.session
def crash(session: nox.Session) -> None:
    """Look at DELTASYNC_CRASH_STATES states, 100,000 unless set, of a simulated disk after power cuts; some ten minutes."""
    install_project(session)
    states = os.environ.get("DELTASYNC_CRASH_STATES", "100000")
    session.run("pytest", "tests/patch/test_crashes.py", "--timeout=0", *session.posargs, env={"DELTASYNC_CRASH_STATES": states})


@nox.session
def kills(session: nox.Session) -> None:
    """Kill pushes at each system call, and at DELTASYNC_KILLS moments, 300 unless set, beside `rsync --inplace`; half an hour."""
    install_project(session)
    kills = os.environ.get("DELTASYNC_KILLS", "300")
    files = ("tests/engine/test_killing.py", "tests/test_kills.py")
    session.run("pytest", *files, "-s", "--timeout=0", *session.posargs, env={"DELTASYNC_KILL_EVERY": "1", "DELTASYNC_KILLS": kills})


@nox.session
def soak(session: nox.Session) -> None:
    """Work at random under a watch for ten minutes, or DELTASYNC_WATCH_MINUTES, from the seed DELTASYNC_WATCH_SEEDS on."""
    install_project(session)
    asked = {
        "DELTASYNC_WATCH_MINUTES": os.environ.get("DELTASYNC_WATCH_MINUTES", "10"),
        "DELTASYNC_WATCH_STEPS": os.environ.get("DELTASYNC_WATCH_STEPS", "150"),
        "DELTASYNC_WATCH_SEEDS": os.environ.get("DELTASYNC_WATCH_SEEDS", str(time.time_ns() >> 20)),
    }
    session.run("pytest", "tests/engine/test_watch_soak.py", "--timeout=0", "--log-cli-level=INFO", *session.posargs, env=asked)


@nox.session
def power(session: nox.Session) -> None:
    """Cut the power of ext4 and XFS mounted from files 200 times each, or DELTASYNC_POWER_CUTS; needs root; a quarter of an hour."""
    install_project(session)
    times = os.environ.get("DELTASYNC_POWER_CUTS", "200")
    session.run("pytest", "tests/test_power_cut.py", "--timeout=0", *session.posargs, env={"DELTASYNC_POWER_CUTS": times})


@nox.session
def parsers(session: nox.Session) -> None:
    """Fuzz what parses a stranger's and a peer's bytes with atheris, DELTASYNC_FUZZ_S seconds each (300 unless set); keeps its corpus."""
    install_project(session)
    session.install("atheris")
    seconds = os.environ.get("DELTASYNC_FUZZ_S", "300")
    session.run("python", "-m", "tests.fuzz.run", *session.posargs, env={"DELTASYNC_FUZZ_S": seconds})


@nox.session
def hostile(session: nox.Session) -> None:
    """Spoil 10,000 sessions of a listener, one record each, flip symlinks under it, and repeat what strangers do; about an hour."""
    install_project(session)
    spoiled = os.environ.get("DELTASYNC_SPOILED_SESSIONS", "10000")
    environment = {"DELTASYNC_SPOILED_SESSIONS": spoiled, "DELTASYNC_FLIPS_S": os.environ.get("DELTASYNC_FLIPS_S", "300")}
    files = ("tests/test_listen_hostile.py", "tests/test_listen_flips.py")
    session.run("pytest", *files, "--timeout=0", *session.posargs, env=environment)
