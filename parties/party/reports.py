"""How sessions ended, told to the log, to metrics and to traces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mpcvit.errors import MpcvitError
from parties.common.session_record import OK, SessionRecord, log_session
from parties.party.metrics import PartyMetrics
from parties.party.sessions import Failed, Finished, HeldSession, SessionEnd

if TYPE_CHECKING:
    from parties.common.otlp import Tracing

log = logging.getLogger("mpcvit.session")


class Reports:
    """What this party says about its sessions, and to whom.

    Args:
        tracing: gets spans, if the configuration asks for them.
    """

    def __init__(self, metrics: PartyMetrics, tracing: Tracing | None) -> None:
        self._metrics, self._tracing = metrics, tracing

    def ended(self, session: HeldSession, outcome: SessionEnd) -> None:
        """Report a session that was held."""
        record = _record(session, outcome)
        log_session(record)
        self._metrics.count(record)
        if self._tracing is not None:
            self._tracing.session(record)

    @contextmanager
    def refusals(self, client: str, model: str) -> Iterator[None]:
        """Report a session of ``client`` if the body refuses to hold it."""
        try:
            yield
        except MpcvitError as error:
            extra = {"client": client, "model": model, "code": error.reason}
            log.info("session refused: %s", error.reason, extra=extra)
            self._metrics.count_end(client, model, error.reason)
            raise

    def close(self) -> None:
        """Send what is left."""
        if self._tracing is not None:
            self._tracing.close()


def _record(session: HeldSession, outcome: SessionEnd) -> SessionRecord:
    stats = outcome.stats if isinstance(outcome, Finished) else None
    return SessionRecord(
        session.session_id,
        session.owner,
        session.spec.model_name,
        outcome.error.reason if isinstance(outcome, Failed) else OK,
        session.timeline.phases(),
        0 if stats is None else stats.rounds,
        {peer: stream.sent_bytes for peer, stream in session.streams.items()},
        {peer: stream.received_bytes for peer, stream in session.streams.items()},
    )
