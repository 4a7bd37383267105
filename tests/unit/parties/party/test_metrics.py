"""What a party counts, as a scrape sees it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mpcvit.errors import ConfigError
from parties.common.metrics import MetricsServer
from parties.common.readiness import Readiness
from parties.common.session_record import Phase, SessionRecord
from parties.common.tenants import Tenants
from parties.common.tenants_file import Policy, TenantsFile
from parties.local.provision import provision_local
from parties.party.metrics import PartyMetrics
from tests.support.ports import free_address
from tests.support.scrape import scrape
from tests.support.stand_in import MANIFEST


@pytest.fixture
def metrics(tmp_path: Path) -> PartyMetrics:
    """Of a party that serves one model and knows one client."""
    provision_local(tmp_path / "tls", ["party0"])
    rules = TenantsFile(default=Policy(), clients={"alice.client": Policy()})
    return PartyMetrics("party0", tmp_path / "tls" / "party0.crt", ["vit"], Tenants(lambda: rules, 8).label)


@pytest.fixture
def address(metrics: PartyMetrics) -> Iterator[str]:
    """Where they are shown."""
    address = free_address()
    server = MetricsServer(address, metrics)
    yield address
    server.close()


def _record(client: str = "alice.client", model: str = "vit", code: str = "OK") -> SessionRecord:
    phases = (Phase("pairing", 0, 10**9), Phase("online", 10**9, 4 * 10**9))
    return SessionRecord(b"\xab" * 16, client, model, code, phases, 5 if code == "OK" else 0, {1: 10}, {1: 20})


def test_sessions_are_counted_by_code_and_timed(metrics: PartyMetrics, address: str) -> None:
    metrics.count(_record())
    metrics.count(_record(code="PEER_LOST"))
    metrics.count_end("alice.client", "vit", "OVERLOADED")
    metrics.count_burned("used")
    found = scrape(address)
    for code in ("OK", "PEER_LOST", "OVERLOADED"):
        assert found["mpcvit_sessions_total", (("code", code), ("model", "vit"), ("role", "party0"))] == 1
        assert found["mpcvit_client_sessions_total", (("client", "alice.client"), ("code", code))] == 1
    assert found["mpcvit_session_seconds_sum", (("model", "vit"),)] == 4
    assert found["mpcvit_session_seconds_count", (("model", "vit"),)] == 1
    assert found["mpcvit_phase_seconds_sum", (("phase", "online"),)] == 6
    assert found["mpcvit_phase_seconds_count", (("phase", "pairing"),)] == 2
    assert found["mpcvit_bytes_total", (("dir", "sent"), ("peer", "party1"))] == 20
    assert found["mpcvit_bytes_total", (("dir", "received"), ("peer", "party1"))] == 40
    assert found["mpcvit_rounds_total", ()] == 5
    assert found["mpcvit_material_burned_total", (("reason", "used"),)] == 1


def test_callers_cannot_make_up_labels(metrics: PartyMetrics, address: str) -> None:
    """However many clients and models they name; and no session has a label."""
    metrics.count(_record())
    before = len(scrape(address))
    for number in range(50):
        metrics.count_end(f"mallory{number}.client", f"model{number}", "MODEL_MISMATCH")
    found = scrape(address)
    assert len(found) <= before + 4  # a total and the time of its beginning for both counters
    assert found["mpcvit_client_sessions_total", (("client", "other"), ("code", "MODEL_MISMATCH"))] == 50
    assert "abab" not in str(found)
    assert "mallory" not in str(found)


def test_gauges_show_what_is_true_now(metrics: PartyMetrics, address: str) -> None:
    unmet: dict[str, str] = {}
    readiness = Readiness("party0", {"dealer": lambda: unmet.get("dealer"), "disk": lambda: None})
    waiting = [3]
    metrics.watch(readiness)
    metrics.show_sessions(lambda: waiting[0], lambda: 2)
    metrics.show_model(replace(MANIFEST, name="vit"), {"vit:1": 1}.__getitem__)
    readiness.look()
    found = scrape(address)
    assert (found["mpcvit_sessions_waiting", ()], found["mpcvit_sessions_running", ()]) == (3, 2)
    assert found["mpcvit_material_available", (("model", "vit:1"),)] == 1
    assert found["mpcvit_ready", ()] == 1
    year = 365 * 24 * 3600
    assert found["mpcvit_cert_expiry_seconds", ()] == pytest.approx(year, abs=2 * 24 * 3600)
    assert found["process_resident_memory_bytes", ()] > 1 << 20
    unmet["dealer"], waiting[0] = "no answer", 0
    readiness.look()
    found = scrape(address)
    assert (found["mpcvit_ready", ()], found["mpcvit_sessions_waiting", ()]) == (0, 0)
    assert found["mpcvit_condition_met", (("condition", "dealer"),)] == 0
    assert found["mpcvit_condition_met", (("condition", "disk"),)] == 1


def test_a_certificate_that_is_gone_costs_no_other_metric(metrics: PartyMetrics, address: str, tmp_path: Path) -> None:
    (tmp_path / "tls" / "party0.crt").unlink()
    found = scrape(address)
    assert found["mpcvit_cert_expiry_seconds", ()] != found["mpcvit_cert_expiry_seconds", ()]
    assert found["mpcvit_rounds_total", ()] == 0


def test_silent_callers_do_not_keep_others_from_asking(address: str) -> None:
    host, port = address.split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(20)]
    start = time.monotonic()
    assert scrape(address)
    assert time.monotonic() - start < 5
    for connection in silent:
        connection.close()


def test_an_address_that_is_taken_is_refused(metrics: PartyMetrics, address: str) -> None:
    with pytest.raises(ConfigError, match=address):
        MetricsServer(address, metrics)
