"""From words to the engine's job: each row of the contract's table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deltasync.channel.address import TcpAddress, TcpRemote
from deltasync.cli.main import main
from deltasync.engine.job import Job, Remote
from tests.cli.commands import FakeEngine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """An engine that keeps the jobs."""
    return FakeEngine().put_in_place(monkeypatch)


def _job(engine: FakeEngine, *words: str, command: str = "push") -> Job:
    engine.jobs.clear()
    assert main([command, *words]) == 0
    return engine.job


ALL = dict.fromkeys(("recursive", "links", "perms", "times", "group", "owner", "devices", "specials"), True)


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("", ALL | {"compress": "auto", "itemize": False, "bwlimit_bytes_s": 0, "timeout_s": 0.0, "max_delete": None, "rules": ()}),
        ("-a", ALL),
        ("-r -l -p -t -g -o -D", ALL),
        ("-rlptgoD --recursive --links --perms --times --group --owner --devices --specials --archive", ALL),
        ("--no-r", ALL | {"recursive": False}),
        ("--no-recursive --no-links --no-perms --no-times", ALL | {"recursive": False, "links": False, "perms": False, "times": False}),
        ("--no-l --no-p --no-t", ALL | {"links": False, "perms": False, "times": False}),
        ("--no-group --no-o", ALL | {"group": False, "owner": False}),
        ("--no-g --no-owner", ALL | {"group": False, "owner": False}),
        ("--no-D", ALL | {"devices": False, "specials": False}),
        ("--no-D --specials", ALL | {"devices": False}),
        ("--no-devices", ALL | {"devices": False}),
        ("--no-specials", ALL | {"specials": False}),
        ("--no-t -a", ALL),
        ("-a --no-t", ALL | {"times": False}),
        ("--no-t -t --no-p", ALL | {"perms": False}),
        ("-t --no-t", ALL | {"times": False}),
        ("-n", {"dry_run": True, "itemize": False}),
        ("--fsync", {"fsync": True}),
        ("-b", {"backup": True, "backup_dir": None, "backup_suffix": b"~"}),
        ("--suffix=.x", {"backup": False}),
        ("--backup --suffix=.x", {"backup": True, "backup_dir": None, "backup_suffix": b".x"}),
        ("--backup-dir ../x", {"backup": True, "backup_dir": b"../x", "backup_suffix": b""}),
        ("--backup-dir=. --suffix=.x", {"backup": True, "backup_dir": b".", "backup_suffix": b".x"}),
        ("--dry-run -i", {"dry_run": True, "itemize": True}),
        ("--itemize-changes", {"itemize": True}),
        ("-v", {"itemize": True}),
        ("-vv --verbose", {"itemize": True}),
        ("-q -i", {"itemize": False}),
        ("--quiet -v", {"itemize": False}),
        ("--json", {"itemize": False}),
        ("--json -v", {"itemize": False}),
        ("--json -n", {"itemize": True}),
        ("--json -q -i", {"itemize": True}),
        ("--delete", {"delete": True, "max_delete": None, "force_empty": False}),
        ("--delete --max-delete 0 --force-empty", {"delete": True, "max_delete": 0, "force_empty": True}),
        ("--max-delete=7", {"max_delete": 7}),
        ("-c", {"checksum": True}),
        ("--checksum", {"checksum": True}),
        ("-I", {"ignore_times": True}),
        ("--ignore-times --size-only", {"ignore_times": True, "size_only": True}),
        ("-u", {"update": True}),
        ("--update --existing --ignore-existing", {"update": True, "existing": True, "ignore_existing": True}),
        ("-H -S --numeric-ids --mkpath", {"hard_links": True, "sparse": True, "numeric_ids": True, "mkpath": True}),
        ("--hard-links --sparse", {"hard_links": True, "sparse": True}),
        ("-avzn", ALL | {"compress": "always", "dry_run": True}),
        ("-z", {"compress": "always"}),
        ("--compress --no-compress", {"compress": "never"}),
        ("--no-z --compress", {"compress": "always"}),
        ("--bwlimit 10", {"bwlimit_bytes_s": 10_240}),
        ("--bwlimit=1.5m", {"bwlimit_bytes_s": 1_572_864}),
        ("--bwlimit 0", {"bwlimit_bytes_s": 0}),
        ("--timeout 1.5", {"timeout_s": 1.5}),
        ("--timeout=0", {"timeout_s": 0.0}),
        ("--partial -P --stats --progress --no-progress --engine auto", {}),
        ("--engine python", {}),
        ("--block-size 4K", {"block_bytes": 4096}),
        ("--block-size 700", {"block_bytes": 700}),
        ("--block-size 1MB", {"block_bytes": 1_000_000}),
        ("--exclude a --include b --exclude c", {"rules": (b"- a", b"+ b", b"- c")}),
        ("-f -_a --filter=P,p_b -f !,", {"rules": ()}),
        ("-f -_a --filter=P,p_b --exclude=c", {"rules": (b"- a", b"-pr b", b"- c")}),
        ("-FF -F -f :nse-_x --exclude=c", {"rules": (b": /.rsync-filter", b"- .rsync-filter", b"- x", b":-ns x", b"- c")}),
        ("-f -,/p_a -f :_f -f :p-_f", {"rules": (b"-/p a", b": f")}),
        ("-R -d", {"relative": True, "dirs": True, "recursive": True}),
        ("--relative --dirs --no-r --delete", {"relative": True, "dirs": True, "recursive": False, "delete": True}),
        ("-F --delete-excluded", {"rules": (b":h /.rsync-filter",), "delete": True}),
        ("-f -_a -f H_b -f -sr_c --delete-excluded", {"rules": (b"-s a", b"-s b", b"-sr c"), "delete": True}),
        ("--include=*/ --exclude=*", {"rules": (b"+ */", b"- *")}),
        ("--exclude -x --exclude= --exclude --", {"rules": (b"- -x", b"- --")}),
    ],
)
def test_an_option_means_what_the_contract_says(words: str, settings: dict[str, Any], engine: FakeEngine) -> None:
    """Each row of the table, in its short and its long form."""
    job = _job(engine, *words.split(), "a", "b")
    assert {name: getattr(job.settings, name) for name in settings} == settings


def test_options_may_stand_anywhere(engine: FakeEngine) -> None:
    """As with rsync, also behind the places; two dashes end them."""
    job = _job(engine, "a", "-c", "b", "c/", "--", "-d")
    assert (job.sources, job.dest, job.settings.checksum) == ((b"a", b"b", b"c/"), b"-d", True)


def test_rules_of_files_and_options_keep_their_order(engine: FakeEngine, tmp_path: Any) -> None:
    """Whatever mixture of options they come from."""
    file = tmp_path / "rules"
    file.write_bytes(b"two\nthree\n")
    job = _job(engine, "--exclude", "one", "--include-from", str(file), "--exclude", "four", "--exclude-from", str(file), "a", "b")
    assert job.settings.rules == (b"- one", b"+ two", b"+ three", b"- four", b"- two", b"- three")


def test_a_push_goes_to_a_host(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything that says how to get there."""
    monkeypatch.chdir(tmp_path)
    for name in ("c", "i"):
        (tmp_path / name).touch()
    job = _job(engine, "a", "me@h:")
    assert (job.direction, job.sources, job.dest, job.remote) == ("push", (b"a",), b"", Remote("h", "me"))
    assert (job.threads, job.retries) == (None, 5)
    words = ["--port", "2222", "--ssh", "openssh", "--ssh-config", "c", "--identity", "i", "--remote-path", "nice deltasync"]
    job = _job(engine, *words, "--threads", "3", "--retries", "0", "a", "h:p")
    assert job.remote == Remote("h", None, 2222, "openssh", None, "c", "i", "nice deltasync")
    assert (job.threads, job.retries) == (3, 0)


@pytest.mark.parametrize("option", ["--ssh-config", "--identity"])
@pytest.mark.parametrize("command", ["push", "pull"])
def test_a_file_for_ssh_must_be_there(option: str, command: str, engine: FakeEngine, capfd: pytest.CaptureFixture[str]) -> None:
    """A missing one is a usage error that names it, whichever SSH there is, and nothing is connected."""
    places = ["a", "h:p"] if command == "push" else ["h:p", "a"]
    assert main([command, option, "nowhere/\x1bfile", *places]) == 2
    assert capfd.readouterr() == ("", f"deltasync: {option} nowhere/\\x1bfile: there is no such file\n")
    assert engine.jobs == []


def test_files_for_ssh_are_found_at_home(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the shell leaves the tilde; of a key that an agent holds, the public part is enough."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("config", "key.pub"):
        (tmp_path / name).touch()
    remote = _job(engine, "--ssh-config=~/config", "--identity=~/key", "a", "h:p").remote
    assert isinstance(remote, Remote)
    assert (remote.ssh_config, remote.identity) == (f"{tmp_path}/config", f"{tmp_path}/key")


def test_the_port_of_the_place_counts(engine: FakeEngine) -> None:
    """It is the nearer one."""
    remote = _job(engine, "--port", "1", "a", "ssh://h:2/p").remote
    assert isinstance(remote, Remote)
    assert remote.port == 2


@pytest.mark.parametrize("words", [["-e", "ssh -p '2 2'"], ["-essh -p '2 2'"], ["--rsh=ssh -p '2 2'"]])
def test_a_remote_shell_is_split_into_words(words: list[str], engine: FakeEngine) -> None:
    """As a shell would, but without one."""
    remote = _job(engine, *words, "a", "h:p").remote
    assert isinstance(remote, Remote)
    assert remote.rsh == ("ssh", "-p", "2 2")


def test_a_pull_fetches_from_a_host(engine: FakeEngine) -> None:
    """Sources there, destination here."""
    job = _job(engine, "[::1]:a", "ssh://[::1]/~/b/", "d", command="pull")
    assert (job.direction, job.sources, job.dest, job.remote) == ("pull", (b"a", b"b/"), b"d", Remote("::1"))


def test_a_listener_is_reached_by_tcp(engine: FakeEngine) -> None:
    """The port of the place counts, then `--port`, then the listener's own; paths begin at the root."""
    assert _job(engine, "a", "tcp://h/m/p").remote == TcpRemote(TcpAddress("h", 8730), "m")
    assert _job(engine, "--port", "1", "a", "tcp://h/m/p").remote == TcpRemote(TcpAddress("h", 1), "m")
    job = _job(engine, "--port", "1", "tcp://h:2/m/p", "tcp://h:2/m/q/", "d", command="pull")
    assert (job.remote, job.sources) == (TcpRemote(TcpAddress("h", 2), "m"), (b"p", b"q/"))


@pytest.mark.parametrize("option", ["--rsh=x", "--ssh=openssh", "--ssh-config=x", "--identity=x", "--remote-path=x"])
def test_options_of_ssh_are_not_for_tcp(option: str, engine: FakeEngine, capfd: pytest.CaptureFixture[str]) -> None:
    """An option is never ignored."""
    assert main(["push", option, "a", "tcp://h/m"]) == 2
    assert "is for SSH" in capfd.readouterr().err
    assert engine.jobs == []


def test_a_pull_of_local_sources_is_a_push(engine: FakeEngine) -> None:
    """Both ends are here, so that the direction does not matter."""
    job = _job(engine, "a", "b", command="pull")
    assert (job.direction, job.remote) == ("push", None)


@pytest.mark.parametrize(
    "words",
    [
        "", "a", "a b --delete --no-r", "--no-recursive --delete a b", "--max-delete -1 a b", "--max-delete x a b", "--max-delete 1e99 a b",
        "--max-delete 99999999999999999999 a b", "--bwlimit x a b", "--bwlimit 0.1 a b", "--timeout -1 a b", "--timeout nan a b",
        "--timeout inf a b", "--retries -1 a b", "--threads 0 a b", "--threads x a b", "--port 0 a h:b", "--port 65536 a h:b",
        "--ssh rsh a h:b", "--engine x a b", "--block-size 255 a b", "--block-size 65M a b", "--block-size x a b", "h:a b", "a tcp://h",
        "a -h:b", "--rsh= a h:b", "--rsh ' a h:b", "-e ssh --ssh paramiko a h:b", "--identity= a h:b", "--remote-path= a h:b",
        "--ssh-config= a h:b", "--log-file= a b", "--exclude", "a b --port", "-b --suffix= a b", "--suffix=a/b a b",
        "--chmod x a b", "--chmod u+w, a b", "--chown a:b:c a b", "--chown a --usermap b:c a b", "--usermap b a b", "--groupmap 9-1:b a b",
        "--suffix a/b --backup-dir x a b", "--max-size x a b", "--min-size -1 a b", "--max-size 0-1 a b", "--max-size 9999999999T a b",

        "--files-from=/dev/null a b", "--files-from x a b c", "--files-from x --watch a b", "-R --watch a b",
        "--backup-dir= a b", "--backup-dir ./ a b", "--backup-dir x/.. --suffix= a b",
    ],
)  # fmt: skip
def test_what_can_not_be_is_a_usage_error(words: str, engine: FakeEngine, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit 2, one line on stderr, nothing on stdout, nothing done; with `--json` too."""
    assert main(["push", *words.split(" ")] if words else ["push"]) == 2
    assert main(["push", "--json", *words.split(" ")] if words else ["push", "--json"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n"), engine.jobs) == ("", 2, [])
    assert all(line.startswith("deltasync: ") for line in err.splitlines())


@pytest.mark.parametrize(
    "option",
    [
        "--filter=x", "-f", "-X", "-A",
        "-L", "-k", "-K", "--copy-unsafe-links",
        "--remove-source-files", "--link-dest=x", "--compare-dest=x", "--copy-dest=x", "--data=tcp",
        "--e2e=K",
        "--poll-interval=1", "--rescan-interval=1", "--also=x", "--block-size=1", "--bogus", "-p22",
        "--no-a", "--dry", "-h",
    ],
)  # fmt: skip
def test_an_option_that_is_not_there_is_never_ignored(option: str, engine: FakeEngine, capfd: pytest.CaptureFixture[str]) -> None:
    """Those of later issues, and those that never were."""
    assert main(["push", option, "a", "b"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n"), engine.jobs) == ("", 1, [])


@pytest.mark.parametrize("word", ["--del", "--delete-before", "--delete-during", "--delete-delay", "--delete-after"])
def test_whenever_rsync_would_delete_it_comes_last(word: str, engine: FakeEngine) -> None:
    """The words are taken, as `--delete`."""
    assert main(["push", word, "--fuzzy", "a", "b"]) == 0
    assert engine.jobs[0].settings.delete


def test_sizes_are_written_as_for_rsync(engine: FakeEngine) -> None:
    """With its units, and one more or less."""
    assert main(["push", "--max-size=1.5K-1", "--min-size", "2KB", "-OJ", "a", "b"]) == 0
    settings = engine.jobs[0].settings
    assert (settings.max_bytes, settings.min_bytes) == (1535, 2000)
    assert settings.omit_dir_times
    assert settings.omit_link_times


def test_permissions_and_owners_travel_as_they_are_written(engine: FakeEngine) -> None:
    """Several changes are one list; `--chown` is two maps, and implies what these need."""
    assert main(["push", "--no-o", "--no-g", "-E", "--chmod=Du+w", "--chmod", "o=", "--chown=me:us", "a", "b"]) == 0
    settings = engine.jobs[0].settings
    assert (settings.chmod, settings.usermap, settings.groupmap) == (b"Du+w,o=", b"*:me", b"*:us")
    assert settings.owner
    assert settings.group
    assert settings.executability
    assert main(["push", "--no-o", "--no-g", "--chown=:us", "a", "b"]) == 0
    settings = engine.jobs[1].settings
    assert (settings.usermap, settings.groupmap, settings.owner, settings.group) == (b"", b"*:us", False, True)


def test_the_environment_gives_options_that_the_command_line_overrides(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names of command and option; those that may be repeated are parted by white space."""
    for name, value in {"BWLIMIT": "2M", "EXCLUDE": "*.o *.a", "DELETE": "1", "NO_OWNER": "1", "CHECKSUM": "0", "CHMOD": "go-w"}.items():
        monkeypatch.setenv(f"DELTASYNC_PUSH_{name}", value)
    assert main(["push", "--exclude=b", "--bwlimit=1M", "a", "b"]) == 0
    settings = engine.jobs[0].settings
    assert (settings.bwlimit_bytes_s, settings.rules, settings.chmod) == (1 << 20, (b"- b",), b"go-w")
    assert (settings.delete, settings.owner, settings.checksum) == (True, False, False)
    monkeypatch.setenv("DELTASYNC_PULL_BWLIMIT", "3M")
    assert main(["push", "a", "b"]) == 0
    settings = engine.jobs[1].settings
    assert (settings.bwlimit_bytes_s, settings.rules) == (2 << 20, (b"- *.o", b"- *.a"))


def test_what_the_environment_says_wrongly_is_named(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, as on the command line."""
    monkeypatch.setenv("DELTASYNC_PUSH_THREADS", "many")
    assert main(["push", "a", "b"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n"), engine.jobs) == ("", 1, [])
    assert "--threads" in err
