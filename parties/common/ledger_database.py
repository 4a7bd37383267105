"""The database that a ledger lives in: a SQLite file, or PostgreSQL."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from mpcvit.errors import ConfigError, LedgerUnavailable

#: Seconds that one transaction may take, and that another process may hold the database.
_PATIENCE_S = 5
#: Held while tables are made, so that processes that start together do not make them twice.
_SETUP_LOCK = 0x6D7063766974
#: A commit is on disk before it returns, whatever the server's default.
_SYNCHRONOUS = "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"

_metadata = MetaData()
#: Ids that were burned, and how their use ended; times are Unix seconds.
sessions = Table(
    "sessions",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("opened", Float(53), nullable=False),
    Column("closed", Float(53)),
)
#: One row: the ledger's own mark, and when it was last seen that it can be written.
own_mark = Table(
    "own_mark",
    _metadata,
    Column("one", Integer, primary_key=True),
    Column("ledger_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("material", BigInteger, nullable=False),
    Column("checked", Float(53)),
)
#: The newest accepted mark of every other role, and the one that was refused last.
other_marks = Table(
    "other_marks",
    _metadata,
    Column("role", Text, primary_key=True),
    Column("ledger_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("start_id", Text, nullable=False),
    Column("refused_id", Text),
    Column("refused_epoch", BigInteger),
    Column("refused_start", Text),
)


class LedgerDatabase:
    """One transaction at a time per process; what is committed is on disk.

    Args:
        folder: where ``ledger.sqlite`` lies, unless there is a ``url``; made if missing.
        url: ``postgresql://..``; several processes may use one database.

    Raises:
        ConfigError: it cannot be opened, or a PostgreSQL server does not write to disk (``fsync = off``).
    """

    def __init__(self, folder: Path, url: str | None) -> None:
        self._lock = threading.Lock()
        self._closed = False
        #: Whether other processes may use the same ledger.
        self.shared = url is not None
        self._where: Path | URL = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._engine = _sqlite(folder / "ledger.sqlite") if url is None else _postgresql(url)
        except (OSError, ArgumentError, ValueError) as error:
            raise self.cannot_open(error) from error
        if self.shared:
            self._where = self._engine.url  # without its password where it is shown
        try:
            with self.transaction() as connection:
                if self.shared:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SETUP_LOCK})
                    _require_disk(connection)
                _metadata.create_all(connection)
        except LedgerUnavailable as error:
            self.close()
            raise self.cannot_open(error) from error
        except ConfigError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection whose statements take effect together, on disk when the body ends, or not at all.

        Raises:
            LedgerUnavailable: the database cannot be read or written, or does not answer.
            IntegrityError: of SQLAlchemy; a row is there already.
        """
        try:
            with self._lock:
                if self._closed:
                    raise LedgerUnavailable("a closed ledger", expected="an open one", remedy="Start the role again.")
                with self._engine.connect() as connection, _bounded(connection), connection.begin():
                    yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise LedgerUnavailable(
                f"{type(error).__name__} at the ledger",
                expected="a ledger that can be written",
                remedy="Free disk space, see to the state folder's permissions, or to the ledger's database.",
            ) from error

    def close(self) -> None:
        """Close the database; whoever uses it now is waited for, and later transactions fail."""
        with self._lock:
            self._closed = True
            self._engine.dispose()

    def cannot_open(self, error: Exception) -> ConfigError:
        """Return what the operator hears: what the system or the database said, in one line, without a password."""
        cause = error.__cause__ or error
        said = cause.orig if isinstance(cause, DBAPIError) else cause
        why = getattr(said, "strerror", None) or next(iter(str(said).splitlines()), type(said).__name__)
        return ConfigError(
            f"the ledger in {self._where}, which cannot be opened: {why}",
            expected="a writable folder that survives restarts, or a database",
            remedy="Correct 'state' in the configuration, free disk space, or start the database.",
        )


def _sqlite(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": _PATIENCE_S},
        pool_size=1,
        max_overflow=0,
    )

    @event.listens_for(engine, "connect")
    def _sync(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous = EXTRA")  # FULL does not sync the folder of the journal

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # what is read stays true until the commit

    return engine


def _postgresql(url: str) -> Engine:
    address = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(address, connect_args={"connect_timeout": _PATIENCE_S}, pool_size=1, max_overflow=0)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(_SYNCHRONOUS)

    return engine


def _require_disk(connection: Connection) -> None:
    """See that the server syncs what it commits; else a power failure could bring used ids back."""
    if connection.execute(text("SHOW fsync")).scalar_one() != "on":
        raise ConfigError(
            "a ledger in a database that runs with fsync = off",
            expected="a database that writes to disk before it says so",
            remedy="Set fsync = on in postgresql.conf.",
        )


@contextmanager
def _bounded(connection: Connection) -> Iterator[None]:
    """Cut a connection to a server that does not answer in time; libpq would wait for ever."""
    raw = connection.connection.dbapi_connection
    if raw is None or not hasattr(raw, "fileno"):  # SQLite has a time limit of its own
        yield
        return
    timer = threading.Timer(_PATIENCE_S, _cut, args=(raw,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(raw: Any) -> None:
    with suppress(Exception), socket.socket(fileno=os.dup(raw.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
