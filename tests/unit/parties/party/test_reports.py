"""What is told about sessions that ended or were refused, and to whom."""

from __future__ import annotations

import logging
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from mpcvit.errors import Overloaded, PeerLost
from mpcvit.wire.result_share import ResultShare
from mpcvit.wire.stats import Stats
from mpcvit.wire.v1 import session_pb2
from parties.party.metrics import PartyMetrics
from parties.party.peer_stream import PeerStream
from parties.party.reports import Reports
from parties.party.sessions import Failed, Finished, HeldSession, SessionEnd

ANSWERED = Finished(ResultShare(np.arange(3)), Stats(0.1, 0.2, 0.0, 0.0, 62, 10, 5))
LOST = Failed(PeerLost("the end of a stream", expected="more", remedy="Look there."))


@pytest.fixture
def metrics(tmp_path: Path) -> PartyMetrics:
    """Of a party that serves one model to clients of one name."""
    return PartyMetrics("party0", tmp_path / "none.crt", ["vit"], lambda client: "known")


def _session() -> HeldSession:
    stream = PeerStream(1, stall_s=5, largest_frame=100)
    stream.sent_bytes, stream.received_bytes = 10, 20
    spec = session_pb2.SessionSpec(session_id=b"\xab" * 16, model_name="vit")
    session = HeldSession(spec, "alice.client", None, np.zeros(1, np.int64), {1: stream})  # type: ignore[arg-type]
    session.report("pairing")
    session.report("online", 1, 2)
    session.report("online", 2, 2)
    return session


@pytest.mark.parametrize(("end", "code", "rounds"), [(ANSWERED, "OK", 62), (LOST, "PEER_LOST", 0)])
def test_an_end_goes_to_log_metrics_and_traces(
    end: SessionEnd, code: str, rounds: int, metrics: PartyMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mpcvit.session")
    tracing = Mock()
    Reports(metrics, tracing).ended(_session(), end)
    (record,) = caplog.records
    said = {key: getattr(record, key) for key in ("session", "client", "model", "code", "rounds")}
    assert said == {"session": "ab" * 16, "client": "alice.client", "model": "vit", "code": code, "rounds": rounds}
    assert (record.bytes_sent, record.bytes_received) == (10, 20)  # type: ignore[attr-defined]
    labels = {"role": "party0", "model": "vit", "code": code}
    assert metrics.registry.get_sample_value("mpcvit_sessions_total", labels) == 1
    assert metrics.registry.get_sample_value("mpcvit_rounds_total") == rounds
    (sent,) = tracing.session.call_args.args
    assert [phase.name for phase in sent.phases] == ["pairing", "online"]
    assert sent.code == code


def test_a_refusal_is_a_line_and_is_counted(metrics: PartyMetrics, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mpcvit.session")
    with pytest.raises(Overloaded), Reports(metrics, None).refusals("eve.client", "unheard-of"):
        raise Overloaded("12 sessions", expected="at most 10", remedy="Retry later.")
    assert [record.getMessage() for record in caplog.records] == ["session refused: OVERLOADED"]
    labels = {"role": "party0", "model": "other", "code": "OVERLOADED"}
    assert metrics.registry.get_sample_value("mpcvit_sessions_total", labels) == 1
    of_client = {"client": "known", "code": "OVERLOADED"}
    assert metrics.registry.get_sample_value("mpcvit_client_sessions_total", of_client) == 1
