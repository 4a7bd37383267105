"""Traces, as a collector in another process gets them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpcvit.errors import ConfigError
from parties.common.session_record import SessionRecord, Timeline
from parties.common.settings import OtelSettings
from parties.common.tracing import start_tracing
from tests.support.collector import collector
from tests.support.ports import free_address

SESSION = bytes(range(1, 17))


def _record(code: str) -> SessionRecord:
    timeline = Timeline()
    for phase in ("pairing", "offline", "online"):
        timeline.enter(phase)
        time.sleep(0.01)
    return SessionRecord(SESSION, "alice.client", "vit", code, timeline.phases(), 7, {1: 10}, {1: 20})


def test_both_parties_spans_of_a_session_are_one_trace(tmp_path: Path) -> None:
    """Its id is the session's; phases lie inside; attributes are ids and counts and nothing else."""
    address = free_address()
    with collector(address, tmp_path) as spans:
        for role, code in (("party0", "OK"), ("party1", "PEER_LOST")):
            tracing = start_tracing(OtelSettings(endpoint=f"http://{address}"), role)
            assert tracing is not None
            tracing.session(_record(code))
            tracing.close()
        found = spans.wait_for(8)
    assert {span["trace_id"] for span in found} == {SESSION.hex()}
    for role, failed in (("party0", False), ("party1", True)):
        own = {span["name"]: span for span in found if span["resource"]["mpcvit.role"] == role}
        assert set(own) == {"session", "pairing", "offline", "online"}
        whole = own.pop("session")
        assert (whole["parent"], whole["failed"]) == ("", failed)
        assert {span["parent"] for span in own.values()} == {whole["span_id"]}
        assert all(span["seconds"] >= 0.01 for span in own.values())
        assert whole["seconds"] == pytest.approx(sum(span["seconds"] for span in own.values()), abs=1e-6)
        for span in (whole, *own.values()):
            assert span["events"] == 0
            assert span["attributes"] == {
                "mpcvit.session_id": SESSION.hex(),
                "mpcvit.model": "vit",
                "mpcvit.code": "PEER_LOST" if failed else "OK",
                "mpcvit.rounds": 7,
                "mpcvit.bytes_sent": 10,
                "mpcvit.bytes_received": 20,
            }


def test_a_collector_that_is_not_there_delays_nobody() -> None:
    tracing = start_tracing(OtelSettings(endpoint=f"http://{free_address()}"), "party0")
    assert tracing is not None
    start = time.monotonic()
    tracing.session(_record("OK"))
    tracing.close()
    assert time.monotonic() - start < 3


def test_without_configuration_nothing_is_imported() -> None:
    program = (
        "import sys\n"
        "import parties.common.tracing, parties.party.serve, parties.dealer.serve\n"
        "assert parties.common.tracing.start_tracing(None, 'party0') is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = OtelSettings(endpoint="https://127.0.0.1:4317", ca=tmp_path / "missing.crt")
    with pytest.raises(ConfigError, match=r"missing\.crt"):
        start_tracing(settings, "party0")


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parties.common.otlp", None)
    with pytest.raises(ConfigError, match=r"mpcvit\[otel\]"):
        start_tracing(OtelSettings(endpoint="http://127.0.0.1:4317"), "party0")
