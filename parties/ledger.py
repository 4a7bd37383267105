"""Which session ids were used: written to disk before any of their randomness is."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

from mpcvit.errors import ConfigError, SessionReplayed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    opened REAL NOT NULL,
    closed REAL
)
"""


class Ledger:
    """An append-only record of session ids in SQLite, synced to disk on every write.

    An id is *burned* by :meth:`burn` and never usable again, whatever happens after; sessions that a crash left open
    are marked so at the next start and stay burned.

    Args:
        folder: where ``ledger.sqlite`` lies; made if missing.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / "ledger.sqlite", check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_SCHEMA)
            self._database.execute("UPDATE sessions SET state = 'crashed' WHERE state = 'open'")
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"{type(error).__name__} opening the ledger in {folder}",
                expected="a writable folder that survives restarts",
                remedy="Correct 'state' in the configuration, or free disk space.",
            ) from error

    def burn(self, session: str) -> None:
        """Record ``session`` as used, on disk, before returning.

        Raises:
            SessionReplayed: it was used before.
            ConfigError: it cannot be recorded; then it must not be used.
        """
        try:
            with self._lock:
                self._database.execute("INSERT INTO sessions VALUES (?, 'open', ?, NULL)", (session, time.time()))
        except sqlite3.IntegrityError:
            raise SessionReplayed(
                f"session {session} again",
                expected="a session id that was never used",
                remedy="Make a new session for every inference; the SDK does.",
            ) from None
        except sqlite3.Error as error:
            raise ConfigError(
                f"{type(error).__name__} writing the ledger",
                expected="a writable ledger",
                remedy="Free disk space and check the state folder's permissions.",
            ) from error

    def close_session(self, session: str, state: str) -> None:
        """Record how ``session`` ended: ``done`` or the reason of its failure."""
        with self._lock:
            self._database.execute(
                "UPDATE sessions SET state = ?, closed = ? WHERE id = ?", (state, time.time(), session)
            )

    def state(self, session: str) -> str | None:
        """``open``, ``done``, ``used`` (material), ``crashed``, a failure's reason, or None if it was never used."""
        with self._lock:
            row = self._database.execute("SELECT state FROM sessions WHERE id = ?", (session,)).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        """Close the file."""
        self._database.close()
