"""The benchmarks measure what they say: each pair differs as its row is named, and a result that is wrong is no result."""

from __future__ import annotations

import gzip
import json
import random
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import pairs
from benchmarks.__main__ import main
from benchmarks.contest import Contestant, Place, Row, contest
from benchmarks.data import dated, edit_some, large_file, small_files
from benchmarks.deltas import APPENDED_BYTES, EDIT_BYTES, NAME, delta_rows
from benchmarks.real import BOTOCORE, DJANGO, NUMPY, real_rows
from benchmarks.rows import rows
from benchmarks.server import Server

SIZE = 4 << 20


@pytest.fixture(autouse=True)
def _unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at here need not be old."""
    monkeypatch.setattr(pairs, "SETTLED_S", 0.0)


def states(row: Row, place: Path) -> tuple[Path, Path]:
    """Build a row; return a destination as a run begins, and the source."""
    source, dest = place / "source", place / "dest"
    source.mkdir()
    row.build(source)
    for number in range(2):
        row.prepare(source, dest, number)
    return dest, source


def test_the_rows_have_names_of_their_own(tmp_path: Path) -> None:
    """A row is chosen by its name."""
    names = [row.name for row in rows(SIZE, tmp_path)]
    assert len(set(names)) == len(names)
    assert len(names) > 15


@pytest.mark.parametrize("name", [row.name for row in delta_rows(SIZE)])
def test_a_delta_row_changes_what_its_name_says(name: str, tmp_path: Path) -> None:
    """So much of the base is left, and so long is the file; the destination begins with the base."""
    dest, source = states(next(row for row in delta_rows(SIZE) if row.name == name), tmp_path)
    base = (dest / NAME).read_bytes()
    (target,) = source.iterdir()
    content = target.read_bytes()
    kept = sum(content[at : at + 4096] in base for at in range(0, SIZE, 4096)) / (SIZE // 4096)
    added = {"delta-inserted": 1, "delta-appended": APPENDED_BYTES}.get(name, 0)
    assert len(base) == SIZE
    assert len(content) == SIZE + added
    assert (target.name != NAME) is (name == "delta-renamed")
    assert (content == base) is (name == "delta-touched")
    assert target.stat().st_mtime > (dest / NAME).stat().st_mtime
    assert kept == 0 if name == "delta-different" else kept > 0.8
    if name == "delta-moved":
        assert sorted(random.Random(1).sample(content, 100)) != sorted(random.Random(1).sample(base, 100))
        assert sorted(content) == sorted(base)
    assert EDIT_BYTES == 4096


def real_row(name: str, cache: Path) -> Row:
    """Return one of the rows of real pairs."""
    return next(row for row in real_rows(1 << 20, cache) if row.name == name)


def test_a_database_is_updated_here_and_there(tmp_path: Path) -> None:
    """It stays as long as it is; few entries differ, all are there."""
    old, new = (place / "entries.sqlite" for place in states(real_row("real-sqlite-updated", tmp_path), tmp_path))
    contents = []
    for path in (old, new):
        with closing(sqlite3.connect(path)) as database:
            contents.append(dict(database.execute("SELECT id, content FROM entry")))
    differing = sum(contents[0][number] != contents[1][number] for number in contents[0])
    assert contents[0].keys() == contents[1].keys()
    assert differing == len(contents[0]) // 26
    assert old.stat().st_mtime < new.stat().st_mtime


def test_a_log_grows_at_its_end(tmp_path: Path) -> None:
    """What was there stays there."""
    old, new = ((place / "server.log").read_bytes() for place in states(real_row("real-log-grown", tmp_path), tmp_path))
    assert new.startswith(old)
    assert 1.05 < len(new) / len(old) < 1.08


@pytest.mark.parametrize(("name", "releases"), [("real-wheel-numpy", NUMPY), ("real-wheel-botocore", BOTOCORE)])
def test_wheels_are_taken_from_the_cache_and_unpacked(name: str, releases: tuple[str, str], tmp_path: Path) -> None:
    """What was downloaded once is not downloaded again; every file of the new release is newer."""
    for release in releases:
        with zipfile.ZipFile(tmp_path / f"{release}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("package/data.txt", f"this is {release}")
    old, new = (place / "package" / "data.txt" for place in states(real_row(name, tmp_path), tmp_path))
    assert (old.read_text(), new.read_text()) == (f"this is {releases[0]}", f"this is {releases[1]}")
    assert old.stat().st_mtime_ns < new.stat().st_mtime_ns


def test_source_releases_are_one_tar_file_of_one_name(tmp_path: Path) -> None:
    """The version is not in its name, so that one is the base of the other."""
    for release in DJANGO:
        (tmp_path / f"{release}.tar.gz").write_bytes(gzip.compress(release.encode()))
    old, new = (place / "django.tar" for place in states(real_row("real-tar-django", tmp_path), tmp_path))
    assert (old.read_text(), new.read_text()) == DJANGO


@pytest.mark.parametrize("make", [lambda path: large_file(path / "file", 1 << 20), lambda path: small_files(path, 150)])
def test_data_is_the_same_on_every_machine(make: Callable[[Path], None], tmp_path: Path) -> None:
    """It is made from a seed."""
    made = []
    for name in ("one", "two"):
        make(tmp_path / name)
        made.append({path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()})
    assert made[0] == made[1]
    assert made[0]


def test_a_share_of_the_files_is_edited(tmp_path: Path) -> None:
    """The others stay as they are."""
    small_files(tmp_path, 200)
    dated(tmp_path, 10**18)
    assert edit_some(tmp_path, 0.05, seed=1) == 10
    assert sum(path.stat().st_mtime_ns != 10**18 for path in tmp_path.rglob("*.dat")) == 10


def by_command(*words: str, name: str = "one") -> Callable[[Place], list[Contestant]]:
    """A contest of one command, which is told source and destination."""
    return lambda _place: [Contestant(name, lambda source, dest: [*words, f"{source}/.", str(dest)])]


@pytest.mark.needs("rsync")
@pytest.mark.parametrize(
    ("words", "error"),
    [(("true",), "is not equal to"), (("cp",), "cp ended with 1: .*omitting"), (("no-such-program",), "could not be run")],
)
def test_a_wrong_result_is_no_result(words: tuple[str, ...], error: str, tmp_path: Path) -> None:
    """Who leaves the destination different, fails or is not there ends the contest."""
    row = Row("row", lambda source: large_file(source / "file", 1 << 10), lambda _source, dest, _n: dest.mkdir(), by_command(*words))
    with pytest.raises(RuntimeError, match=error):
        contest(row, Place(tmp_path, Server("sshd", tmp_path)), 1)


@pytest.mark.needs("ssh", "sshd", "rsync")
def test_a_row_is_measured_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All contestants compete over SSH; the table and the file have their figures; nothing is left where they competed."""
    work, figures = tmp_path / "work", tmp_path / "figures.json"
    work.mkdir()
    main(["delta-inserted", "--large-mib", "2", "--rounds", "1", "--work", str(work), "--json", str(figures)])
    written = json.loads(figures.read_text())
    outcomes = {one["contestant"]: one for one in written["outcomes"]}
    lines = capsys.readouterr().out.splitlines()
    assert list(outcomes) == ["deltasync", "deltasync, warm", "rsync", "rsync --inplace"]
    assert [line.split(" | ")[2] for line in lines[2:]] == list(outcomes)
    assert {len(line.split(" | ")) for line in lines[2:]} == {10}
    assert all(len(one["wall_s"]) == 1 and one["far_cpu_s"] > 0 and one["far_peak_bytes"] > 1 << 20 for one in outcomes.values())
    # In place, rsync finds nothing of what moved to the right; all others send little, but for what SSH and checksums need.
    assert outcomes["rsync --inplace"]["up_bytes"] > 2 << 20
    assert all(5_000 < one["wire_bytes"] < 200_000 for name, one in outcomes.items() if name != "rsync --inplace")
    assert written["asked"] == {"large_mib": 2, "rounds": 1}
    assert list(work.iterdir()) == []


@pytest.mark.needs("ssh", "sshd", "rsync")
def test_a_row_without_ssh_is_measured_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each contestant with a far end of its own has one, which is measured and gone afterwards; what was not counted is not compared."""
    work, figures = tmp_path / "work", tmp_path / "figures.json"
    work.mkdir()
    main(["tcp-large-1g-first", "--large-mib", "2", "--rounds", "1", "--work", str(work), "--json", str(figures)])
    outcomes = {one["contestant"]: one for one in json.loads(figures.read_text())["outcomes"]}
    assert list(outcomes) == ["deltasync tcp://", "deltasync --data tcp", "rsync", "rsync daemon"]
    counted = {name: one for name, one in outcomes.items() if name != "deltasync --data tcp"}
    assert all(2 << 20 < one["up_bytes"] < 3 << 20 and one["far_cpu_s"] > 0 for one in counted.values())
    assert [line.split(" | ")[7] == "" for line in capsys.readouterr().out.splitlines()[2:]] == [False, True, True, True]
    assert list(work.iterdir()) == []


def test_an_unknown_row_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """So are those that there are; a part of a word is no beginning."""
    with pytest.raises(SystemExit):
        main(["delta", "delt"])
    error = capsys.readouterr().err
    assert "no such row: delt;" in error
    assert "kernel-scan" in error
