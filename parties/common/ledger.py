"""Which ids were used: written to disk before any of their randomness is, and known to others by a mark."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from mpcvit.errors import ConfigError, LedgerRolledBack, LedgerUnavailable, SessionReplayed
from mpcvit.wire.v1 import session_pb2
from parties.common.audit import AuditEvent, AuditLog
from parties.common.ledger_database import LedgerDatabase, other_marks, own_mark, sessions

_ID_BYTES = 16
_MARK = (own_mark.c.ledger_id, own_mark.c.epoch)


@dataclass(frozen=True)
class OtherLedger:
    """What a ledger knows of another role's.

    Attributes:
        role: e.g. ``party1``.
        ledger_id, epoch: the newest mark that was accepted; the id in hex.
        refused_id, refused_epoch: the mark that was refused last, until it or a newer one is accepted; else None.
    """

    role: str
    ledger_id: str
    epoch: int
    refused_id: str | None
    refused_epoch: int | None


class Ledger:
    """An append-only record of session and material ids, on disk before every :meth:`burn` returns.

    An id that is *burned* is never usable again, whatever happens after. In a ledger of one process, ids that a crash
    left open are marked so at the next start; they stay burned.

    A ledger has a *mark*: a random id, drawn when it was made, and an epoch, which grows with every id that is burned.
    Other roles remember the newest mark that they saw (:meth:`remember`). So a ledger that was deleted, or replaced by
    an old copy, is found out.

    Args:
        folder: where ``ledger.sqlite`` lies, unless there is a ``url``; made if missing.
        url: ``postgresql://..``: a database instead of the file; several processes may share it.
        audit: gets a line for everything that is burned, and for how its use ended.
        start: False to look into the ledger of a process that may be running.

    Raises:
        ConfigError: the folder cannot be written, or the database cannot be used.
    """

    def __init__(
        self, folder: Path, url: str | None = None, *, audit: AuditLog | None = None, start: bool = True
    ) -> None:
        self._database, self._audit = LedgerDatabase(folder, url), audit
        self._start_id = secrets.token_bytes(_ID_BYTES)
        try:
            with self._database.transaction() as connection:
                self._ledger_id, self._epoch = _own_mark(connection)
                if start and not self._database.shared:
                    crashed = update(sessions).where(sessions.c.state == "open").values(state="crashed")
                    connection.execute(crashed)
        except LedgerUnavailable as error:
            self._database.close()
            raise self._database.cannot_open(error) from error

    def burn(self, session: str, event: AuditEvent = AuditEvent.SESSION_OPENED, /, **about: str) -> None:
        """Record ``session`` as used, on disk, before returning.

        Args:
            event: what is used. Marks for the dealer count used material alone.
            about: what the audit log says of it.

        Raises:
            SessionReplayed: it was used before.
            LedgerUnavailable: it cannot be recorded; then it must not be used.
            LedgerRolledBack: the database was replaced by an older one while this process runs.
        """
        try:
            with self._database.transaction() as connection:
                connection.execute(insert(sessions).values(id=session, state="open", opened=time.time()))
                material = int(event is AuditEvent.MATERIAL_USED)
                counts = {"epoch": own_mark.c.epoch + 1, "material": own_mark.c.material + material}
                row = connection.execute(update(own_mark).values(counts).returning(*_MARK)).one_or_none()
                epoch = self._check_own(row, self._epoch + 1)
        except IntegrityError:
            raise SessionReplayed(
                f"session {session} again",
                expected="a session id that was never used",
                remedy="Make a new session for every inference; the SDK does.",
            ) from None
        self._epoch = max(self._epoch, epoch)  # only now it is on disk
        if self._audit is not None:
            self._audit.record(event, **about)

    def used(self, session: str) -> bool:
        """Return whether ``session`` was burned.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """
        return self.state(session) is not None

    def close_session(self, session: str, state: str, event: AuditEvent | None = None, /, **about: str) -> None:
        """Record how ``session`` ended: ``done`` or the reason of its failure.

        Args:
            event, about: what the audit log says, with ``state`` as the outcome; nothing by default.

        Raises:
            LedgerUnavailable: it cannot be recorded. The session stays burned.
        """
        if self._audit is not None and event is not None:
            self._audit.record(event, **about, outcome=state)
        with self._database.transaction() as connection:
            connection.execute(update(sessions).where(sessions.c.id == session).values(state=state, closed=time.time()))

    def state(self, session: str) -> str | None:
        """Return ``open``, ``done``, ``used`` (material), ``crashed``, a failure's reason, or None if it was never
        used.

        At a dealer, ``unused``: a lease that ended before all parties had their material. Where several processes share
        a ledger, ``open`` may also be what one of them left in a crash.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """
        with self._database.transaction() as connection:
            return connection.execute(select(sessions.c.state).where(sessions.c.id == session)).scalar_one_or_none()

    def check(self) -> None:
        """Write and sync the time, to see that the next :meth:`burn` can succeed.

        Raises:
            LedgerUnavailable: the ledger cannot be written.
        """
        with self._database.transaction() as connection:
            connection.execute(update(own_mark).values(checked=time.time()))

    def mark(self, *, material: bool = False) -> session_pb2.LedgerMark:
        """Return how far this ledger has come, to be shown to other roles.

        Args:
            material: for the dealer, which must not learn how many sessions there were: count material alone.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
            LedgerRolledBack: the database was replaced by an older one while this process runs.
        """
        with self._database.transaction() as connection:
            row = connection.execute(select(own_mark)).one_or_none()
            epoch = self._check_own(row, self._epoch)
        self._epoch = max(self._epoch, epoch)
        shown = row.material if material and row is not None else epoch
        return session_pb2.LedgerMark(ledger_id=self._ledger_id, epoch=shown, start_id=self._start_id)

    def remember(self, role: str, mark: session_pb2.LedgerMark) -> None:
        """Take note of the mark that ``role`` shows. The first one is taken as it is.

        Marks of one process may arrive in another order than they were made. So an older epoch counts only from a
        process that did not show the newest mark: a ledger is rolled back while its process is down.

        Raises:
            LedgerRolledBack: an older mark than before, or another ledger, and no operator has accepted it.
            ConfigError: the role shows this process's own ledger.
            LedgerUnavailable: the ledger cannot be read or written.
        """
        if mark.ledger_id == self._ledger_id:
            raise ConfigError(
                f"the ledger of this process, shown by {role}",
                expected="a ledger for every role",
                remedy="Give every role a 'state' of its own.",
            )
        shown = {"ledger_id": mark.ledger_id.hex(), "epoch": mark.epoch, "start_id": mark.start_id.hex()}
        with self._database.transaction() as connection:
            connection.execute(select(own_mark.c.one).with_for_update())  # one rememberer at a time
            mine = other_marks.c.role == role
            known = connection.execute(select(other_marks).where(mine)).one_or_none()
            why = None if known is None else _objection(known, mark)
            if known is None and mark.ledger_id:  # an earlier version shows none
                connection.execute(insert(other_marks).values(role=role, **shown))
            elif known is not None and why is not None:
                refused = dict(zip(("refused_id", "refused_epoch", "refused_start"), shown.values(), strict=True))
                if any(getattr(known, name) != value for name, value in refused.items()):
                    connection.execute(update(other_marks).where(mine).values(**refused))
            elif known is not None and _newer(known, mark):
                fresh = {**shown, "refused_id": None, "refused_epoch": None, "refused_start": None}
                connection.execute(update(other_marks).where(mine).values(**fresh))
        if why is not None:
            raise LedgerRolledBack(
                f"{why} of {role}",
                expected="the ledger that was seen before, or a later state of it",
                remedy=f"Put the newest ledger of {role} back. If it is lost for good, its operator says so, and "
                f"'mpcvit ledger accept {role}' with this role's configuration takes the ledger that it has now.",
            )

    def others(self) -> list[OtherLedger]:
        """Return what is known of other roles' ledgers, by role.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(select(other_marks).order_by(other_marks.c.role)).all()
        return [OtherLedger(row.role, row.ledger_id, row.epoch, row.refused_id, row.refused_epoch) for row in rows]

    def accept(self, role: str) -> None:
        """Take the mark of ``role`` that was refused last for its newest. A running process heeds it at once.

        Raises:
            ConfigError: no mark of ``role`` was refused.
            LedgerUnavailable: the ledger cannot be written.
        """
        mine = other_marks.c.role == role
        with self._database.transaction() as connection:
            taken = connection.execute(
                update(other_marks)
                .where(mine, other_marks.c.refused_id.is_not(None))
                .values(
                    ledger_id=other_marks.c.refused_id,
                    epoch=other_marks.c.refused_epoch,
                    start_id=other_marks.c.refused_start,
                    refused_id=None,
                    refused_epoch=None,
                    refused_start=None,
                )
            )
        if not taken.rowcount:
            raise ConfigError(
                f"nothing to accept from '{role}'",
                expected="a role whose ledger was refused",
                remedy="See 'mpcvit ledger show'. Let the role connect first; what it shows is then refused.",
            )

    def close(self) -> None:
        """Close the ledger; whoever writes now is waited for, and what is written later fails."""
        self._database.close()

    def _check_own(self, row: Row[Any] | None, least: int) -> int:
        """Return the epoch in ``row`` if it is this ledger's and at least so far."""
        if row is None or row.ledger_id != self._ledger_id.hex() or row.epoch < least:
            raise LedgerRolledBack(
                "an older or another ledger than a moment ago",
                expected="a database that is not restored while a process uses it",
                remedy="Stop the role, put the newest ledger back, and start it again.",
            )
        epoch: int = row.epoch
        return epoch


def _own_mark(connection: Connection) -> tuple[bytes, int]:
    """Return a ledger's id and epoch; a new ledger, or one of a version without marks, gets them now."""
    row = connection.execute(select(*_MARK)).one_or_none()
    if row is None:
        burned = connection.execute(select(func.count()).select_from(sessions)).scalar_one()
        made = insert(own_mark).values(one=1, ledger_id=secrets.token_hex(_ID_BYTES), epoch=burned, material=0)
        row = connection.execute(made.returning(*_MARK)).one()
    return bytes.fromhex(row.ledger_id), row.epoch


def _newer(known: Row[Any], mark: session_pb2.LedgerMark) -> bool:
    """Return whether a mark without objection says more than the ``known`` one of the same role."""
    return mark.epoch >= known.epoch and (mark.epoch, mark.start_id.hex()) != (known.epoch, known.start_id)


def _objection(known: Row[Any], mark: session_pb2.LedgerMark) -> str | None:
    """Return what is wrong with a mark after the ``known`` one of the same role; None if it may follow."""
    if known.ledger_id != mark.ledger_id.hex():
        return "another ledger" if mark.ledger_id else "no ledger, where one was seen before,"
    if mark.start_id and known.start_id == mark.start_id.hex():
        return None
    if mark.epoch < known.epoch:
        return f"an older ledger, with {mark.epoch} used ids after {known.epoch} were seen,"
    return None
