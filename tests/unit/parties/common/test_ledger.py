"""The ledger of burned ids, in a file and in a database."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mpcvit.errors import ConfigError, LedgerRolledBack, LedgerUnavailable, SessionReplayed
from parties.common.audit import AuditEvent
from parties.common.ledger import Ledger
from tests.support.postgresql import PASSWORD, Server, postgresql

Open = Callable[[], Ledger]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL server, or the test is skipped."""
    with postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one and the same ledger, again and again; they are closed at the end."""
    url = None
    if request.param == "postgresql":
        url = request.getfixturevalue("server").url
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS sessions, own_mark, other_marks")
    opened = []

    def open_it() -> Ledger:
        opened.append(Ledger(tmp_path, url))
        return opened[-1]

    yield open_it
    for ledger in opened:
        ledger.close()


def test_an_id_is_burned_for_ever(open_ledger: Open) -> None:
    """Used ids stay used across restarts."""
    ledger = open_ledger()
    ledger.burn("one")
    ledger.burn("two")
    ledger.close_session("one", "done")
    with pytest.raises(SessionReplayed, match="session one again"):
        ledger.burn("one")
    ledger.close()
    ledger = open_ledger()
    assert (ledger.state("one"), ledger.state("three")) == ("done", None)
    assert [ledger.used(session) for session in ("one", "two", "three")] == [True, True, False]
    with pytest.raises(SessionReplayed):
        ledger.burn("two")


def test_looking_burns_nothing(open_ledger: Open) -> None:
    """A look-up refuses replays early, and leaves an id usable."""
    ledger = open_ledger()
    before = ledger.mark()
    assert not ledger.used("one")
    ledger.check()
    assert ledger.mark() == before
    ledger.burn("one")


def test_the_epoch_grows_with_burned_ids_alone(open_ledger: Open) -> None:
    """If starts counted, a ledger that was rolled back would catch up in a crash loop."""
    ledger = open_ledger()
    first = ledger.mark()
    ledger.burn("one")
    ledger.close_session("one", "done")
    with pytest.raises(SessionReplayed):
        ledger.burn("one")
    assert ledger.mark().epoch == first.epoch + 1
    ledger.close()
    again = open_ledger().mark()
    assert (again.ledger_id, again.epoch) == (first.ledger_id, first.epoch + 1)
    assert again.start_id != first.start_id
    assert (len(first.ledger_id), len(first.start_id)) == (16, 16)


def test_the_dealer_sees_how_much_material_is_used(open_ledger: Open) -> None:
    """It knows that already; how many sessions there were would tell it which of them needed another attempt."""
    ledger = open_ledger()
    ledger.burn("one")
    ledger.burn("material/one", AuditEvent.MATERIAL_USED, material="one", session="one")
    ledger.burn("two")
    assert (ledger.mark().epoch, ledger.mark(material=True).epoch) == (3, 1)


def test_what_a_crash_left_open_is_marked(tmp_path: Path) -> None:
    """It stays burned. Who only looks marks nothing."""
    Ledger(tmp_path).burn("one")
    looking = Ledger(tmp_path, start=False)
    assert looking.state("one") == "open"
    looking.close()
    ledger = Ledger(tmp_path)
    assert ledger.state("one") == "crashed"
    with pytest.raises(SessionReplayed):
        ledger.burn("one")


def test_a_ledger_of_before_marks_goes_on(tmp_path: Path) -> None:
    """Its ids stay used, and count."""
    with sqlite3.connect(tmp_path / "ledger.sqlite") as old:
        old.execute(
            "CREATE TABLE sessions (id TEXT PRIMARY KEY, state TEXT NOT NULL, opened REAL NOT NULL, closed REAL)"
        )
        old.execute("INSERT INTO sessions VALUES ('one', 'done', 1.0, 2.0)")
    old.close()
    ledger = Ledger(tmp_path)
    assert ledger.mark().epoch == 1
    with pytest.raises(SessionReplayed):
        ledger.burn("one")


def test_the_ledger_syncs_its_folder_too(tmp_path: Path) -> None:
    """Else a power failure can bring a journal back, and with it an id that was burned."""
    with Ledger(tmp_path)._database.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 3  # EXTRA


def test_a_ledger_may_close_while_others_write(open_ledger: Open) -> None:
    """Sessions that end while the process stops get a typed error, not a broken process."""
    ledger, errors = open_ledger(), []

    def write(writer: int) -> None:
        try:
            for number in range(10000):
                ledger.burn(f"{writer}/{number}")
                ledger.close_session(f"{writer}/{number}", "done")
        except LedgerUnavailable as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in writers:
        thread.start()
    time.sleep(0.05)
    ledger.close()
    for thread in writers:
        thread.join(10)
    assert len(errors) == 4


def test_an_unwritable_ledger_stops_the_party(tmp_path: Path) -> None:
    """Without a ledger no session may run."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="ledger"):
        Ledger(tmp_path / "file")
    (tmp_path / "ledger.sqlite").write_text("no database" * 100)
    with pytest.raises(ConfigError, match="not a database"):
        Ledger(tmp_path)


# Other roles' ledgers


def test_a_deleted_ledger_is_refused_until_accepted(tmp_path: Path) -> None:
    """A new ledger has forgotten which ids are used; an operator says when that is right."""
    ours, theirs = Ledger(tmp_path / "party0"), Ledger(tmp_path / "party1")
    ours.remember("party1", theirs.mark())
    theirs.close()
    shutil.rmtree(tmp_path / "party1")
    theirs = Ledger(tmp_path / "party1")
    for _ in range(2):
        with pytest.raises(LedgerRolledBack, match=r"another ledger of party1.*ledger accept party1"):
            ours.remember("party1", theirs.mark())
    operator = Ledger(tmp_path / "party0", start=False)  # another process, while ours runs
    with pytest.raises(ConfigError, match="nothing to accept from 'dealer'"):
        operator.accept("dealer")
    operator.accept("party1")
    operator.close()
    ours.remember("party1", theirs.mark())
    theirs.burn("one")
    ours.remember("party1", theirs.mark())
    assert [(other.role, other.epoch, other.refused_id) for other in ours.others()] == [("party1", 1, None)]


def test_an_old_copy_of_a_ledger_is_refused(tmp_path: Path) -> None:
    """However often its process starts; the newest copy is taken back without a word."""
    ours, theirs = Ledger(tmp_path / "party0"), Ledger(tmp_path / "party1")
    theirs.burn("one")
    ours.remember("party1", theirs.mark())
    theirs.close()
    shutil.copytree(tmp_path / "party1", tmp_path / "old")
    theirs = Ledger(tmp_path / "party1")
    theirs.burn("two")
    ours.remember("party1", theirs.mark())
    theirs.close()
    ours.close()
    ours = Ledger(tmp_path / "party0")  # it remembers across its own restarts
    for _ in range(3):
        restored = Ledger(tmp_path / "old")
        with pytest.raises(LedgerRolledBack, match=r"1 used ids after 2 were seen, of party1"):
            ours.remember("party1", restored.mark())
        restored.close()
    ours.remember("party1", Ledger(tmp_path / "party1").mark())


ROLES = ("party0", "party1", "dealer")


def _greet(ledgers: dict[str, Ledger], here: str) -> None:
    """Let ``here`` see the marks of all others."""
    for role in ROLES:
        if role != here:
            ledgers[here].remember(role, ledgers[role].mark())


def _stop(ledgers: dict[str, Ledger]) -> None:
    for ledger in ledgers.values():
        ledger.close()


def test_the_dealer_knows_when_both_parties_are_rolled_back(tmp_path: Path) -> None:
    """Two old copies of one moment agree with each other."""
    ledgers = {role: Ledger(tmp_path / role) for role in ROLES}
    for role in ROLES:
        _greet(ledgers, role)
    _stop(ledgers)
    for role in ("party0", "party1"):
        shutil.copytree(tmp_path / role, tmp_path / f"old-{role}")
    ledgers = {role: Ledger(tmp_path / role) for role in ROLES}
    ledgers["party0"].burn("session")
    ledgers["party1"].burn("session")
    for role in ROLES:
        _greet(ledgers, role)
    _stop(ledgers)
    for role in ("party0", "party1"):
        shutil.rmtree(tmp_path / role)
        (tmp_path / f"old-{role}").rename(tmp_path / role)
    ledgers = {role: Ledger(tmp_path / role) for role in ROLES}
    _greet(ledgers, "party0")
    _greet(ledgers, "party1")
    for role in ("party0", "party1"):
        assert not ledgers[role].used("session")  # it could be replayed
        with pytest.raises(LedgerRolledBack, match=f"older ledger.* of {role}"):
            ledgers["dealer"].remember(role, ledgers[role].mark())
    _stop(ledgers)


def test_marks_of_one_process_may_overtake_each_other(tmp_path: Path) -> None:
    """Calls run side by side; a late one is no rollback."""
    ours, theirs = Ledger(tmp_path / "party0"), Ledger(tmp_path / "party1")
    late = theirs.mark()
    theirs.burn("one")
    ours.remember("party1", theirs.mark())
    ours.remember("party1", late)
    assert ours.others()[0].epoch == 1


def test_two_copies_that_run_side_by_side_are_noticed(tmp_path: Path) -> None:
    """A machine that was cloned with its state."""
    ours, theirs = Ledger(tmp_path / "party0"), Ledger(tmp_path / "party1")
    shutil.copytree(tmp_path / "party1", tmp_path / "clone")
    clone = Ledger(tmp_path / "clone")
    ours.remember("party1", theirs.mark())
    ours.remember("party1", clone.mark())
    theirs.burn("one")
    ours.remember("party1", theirs.mark())
    with pytest.raises(LedgerRolledBack):
        ours.remember("party1", clone.mark())


def test_a_role_of_an_earlier_version_shows_no_mark(tmp_path: Path) -> None:
    """That is all right, until it has shown one."""
    ours, theirs = Ledger(tmp_path / "party0"), Ledger(tmp_path / "party1")
    none = type(theirs.mark())()
    ours.remember("party1", none)
    ours.remember("party1", theirs.mark())
    with pytest.raises(LedgerRolledBack, match="no ledger"):
        ours.remember("party1", none)


def test_roles_do_not_share_a_ledger(tmp_path: Path) -> None:
    """Two roles with one 'state' would take each other's ids for their own."""
    ours = Ledger(tmp_path)
    with pytest.raises(ConfigError, match="the ledger of this process, shown by party1"):
        ours.remember("party1", Ledger(tmp_path, start=False).mark())


# Disks


_WRITER = """
import resource, signal, sys
from pathlib import Path
from mpcvit.errors import LedgerUnavailable
from parties.common.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, most))
burned = 0
try:
    while burned < 10_000:
        ledger.burn(f"{burned:0200d}")
        burned += 1
except LedgerUnavailable as error:
    print(error)
assert ledger.state("0" * 200) == "open"  # it can still be read
assert not ledger.used(f"{burned:0200d}")
assert ledger.mark().epoch == burned
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # somebody makes room
ledger.check()
ledger.burn(f"{burned:0200d}")
print(burned + 1)
"""


def test_a_full_disk_burns_nothing_and_heals(tmp_path: Path) -> None:
    """Files that may not grow, as on a full disk: a typed error, no half-written entry, and no restart after."""
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    error, burned = done.stdout.splitlines()
    assert "Free disk space" in error
    ledger = Ledger(tmp_path)
    assert ledger.mark().epoch == int(burned)
    with ledger._database.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def test_a_small_file_system_that_fills(tmp_path: Path) -> None:
    """The same on a real one, where this user may mount it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk]).returncode:
        pytest.skip("no permission to mount a small file system")
    try:
        ledger = Ledger(disk)
        filler = disk / "filler"
        _fill(filler)
        with pytest.raises(LedgerUnavailable):
            _burn_many(ledger)
        _fill(filler)  # the room of the last journal
        with pytest.raises(LedgerUnavailable):
            ledger.check()
        burned = ledger.mark().epoch
        assert not ledger.used(f"{burned:0200d}")
        filler.unlink()
        ledger.check()
        ledger.burn("after")
        ledger.close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for folder in (disk, disk / "another"):
            with pytest.raises(ConfigError, match=r"(?i)cannot be opened: .*read-?only"):
                Ledger(folder)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def _fill(path: Path) -> None:
    """Write until the file system is full."""
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))


def _burn_many(ledger: Ledger) -> None:
    for number in range(1000):
        ledger.burn(f"{number:0200d}")


# PostgreSQL

_BURNER = """
import sys
from pathlib import Path
from mpcvit.errors import SessionReplayed
from parties.common.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), sys.argv[2])
for number in range(60):
    try:
        ledger.burn(f"material/{number}")
        print(number)
    except SessionReplayed:
        pass
"""


def test_several_dealers_share_one_ledger(server: Server, open_ledger: Open, tmp_path: Path) -> None:
    """Of all processes that burn an id at once, exactly one may use it."""
    if not open_ledger()._database.shared:
        pytest.skip("a file is for one process")
    commands = [[sys.executable, "-c", _BURNER, str(tmp_path / str(dealer)), server.url] for dealer in range(3)]
    dealers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    burned = [int(line) for dealer in dealers for line in dealer.communicate(timeout=120)[0].split()]
    assert [dealer.returncode for dealer in dealers] == [0, 0, 0]
    assert sorted(burned) == list(range(60))
    assert open_ledger().mark().epoch == 60


def test_a_database_that_goes_comes_back_without_a_restart(tmp_path: Path, server: Server) -> None:
    """A lost connection is a typed error without address or password, and the next try connects again."""
    import psycopg

    ledger = Ledger(tmp_path, server.url)
    with psycopg.connect(server.url, autocommit=True) as operator:
        operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.burn("cut")
    assert PASSWORD not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    ledger.burn("cut")
    ledger.close()


def test_a_database_that_does_not_answer(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever burns is told within a bounded time, and what it could not burn may be burned later."""
    monkeypatch.setattr("parties.common.ledger_database._PATIENCE_S", 1)
    ledger = Ledger(tmp_path, server.url)
    server.signal(signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(LedgerUnavailable):
        ledger.burn("frozen")
    assert time.monotonic() - start < 10
    server.signal(signal.SIGCONT)
    ledger.burn("thawed")
    ledger.close()


def test_a_database_restored_beneath_a_running_process(tmp_path: Path, server: Server) -> None:
    """The process itself knows better."""
    import psycopg

    ledger = Ledger(tmp_path, server.url)
    ledger.burn("before")
    with psycopg.connect(server.url, autocommit=True) as operator:
        operator.execute("UPDATE own_mark SET epoch = 0")
    with pytest.raises(LedgerRolledBack):
        ledger.mark()
    with pytest.raises(LedgerRolledBack):
        ledger.burn("after")
    assert not ledger.used("after")
    ledger.close()


def test_a_database_must_write_to_disk(tmp_path: Path) -> None:
    """Else a power failure brings used ids back."""
    with postgresql("fsync=off") as careless, pytest.raises(ConfigError, match="fsync = off") as caught:
        Ledger(tmp_path, careless.url)
    assert PASSWORD not in str(caught.value)


def test_a_commit_is_on_disk_whatever_the_default(tmp_path: Path, server: Server) -> None:
    """A database may be set to answer before it writes."""
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as operator:
        operator.execute("ALTER DATABASE postgres SET synchronous_commit = off")
        ledger = Ledger(tmp_path, server.url)
        with ledger._database.transaction() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
        ledger.close()
        operator.execute("ALTER DATABASE postgres RESET synchronous_commit")


@pytest.mark.parametrize(
    ("old", "new"), [(PASSWORD, "canary-wrong"), ("127.0.0.1:", "127.0.0.1:1"), ("/postgres", "/postgres?colour=red")]
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(
    tmp_path: Path, server: Server, old: str, new: str
) -> None:
    """The operator hears why; nobody hears the password."""
    with pytest.raises(ConfigError, match="which cannot be opened") as caught:
        Ledger(tmp_path, server.url.replace(old, new))
    assert "canary" not in str(caught.value)
