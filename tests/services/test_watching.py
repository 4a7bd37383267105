"""What an operator sees of running parties: health, metrics, traces and logs, through the clients that people have."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.client import Client, Inference
from mpcvit.client.image import encode_picture
from mpcvit.data.image_set import ImageSet
from mpcvit.wire.tls import TlsFiles
from parties.local.cluster import CLIENT_ROLE, LocalCluster
from parties.party.open_inference.stubs import grpc_service_pb2, grpc_service_pb2_grpc
from tests.support.channels import secure_channel
from tests.support.clusters import make_cluster
from tests.support.collector import Spans, collector
from tests.support.ports import free_address
from tests.support.scrape import scrape

PARTIES = ("party0", "party1")
PHASES = {"pairing", "waiting", "offline", "online"}


@dataclass(frozen=True)
class Watched:
    """A cluster that has answered once, with everything on that shows how it is."""

    cluster: LocalCluster
    metrics: dict[str, str]
    spans: Spans
    answer: Inference
    codes: np.ndarray


@pytest.fixture(scope="module")
def watched(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One for all tests here."""
    folder = tmp_path_factory.mktemp("watched")
    cluster = make_cluster(tiny_folder, folder)
    endpoint, metrics = free_address(), {}
    for role in cluster.roles:
        path = cluster.folder / f"{role}.yaml"
        document = yaml.safe_load(path.read_text())
        metrics[role] = document["listen"]["metrics"] = free_address()
        path.write_text(yaml.safe_dump({**document, "otel": {"endpoint": f"http://{endpoint}"}}))
    with collector(endpoint, folder) as spans, cluster, Client.from_config(cluster.client_config) as client:
        answer = client.infer(tiny_pictures.images[0])
        codes = encode_picture(tiny_pictures.images[0], client.models()[0])
        yield Watched(cluster, metrics, spans, answer, codes)


def _health(cluster: LocalCluster, role: str) -> dict[str, Any]:
    """What ``mpcvit health`` says about ``role``."""
    address = yaml.safe_load((cluster.folder / f"{role}.yaml").read_text())["listen"]["health"]
    return json.loads(CliRunner().invoke(app, ["health", address, "--json"]).stdout)


def _wait_for(cluster: LocalCluster, role: str, unmet: set[str], timeout_s: float = 90) -> dict[str, str]:
    """Until exactly these conditions of ``role`` are not met; returns why."""
    end = time.monotonic() + timeout_s
    while set((found := _health(cluster, role))["unmet"]) != unmet:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    assert found["status"] == "SERVING"
    assert found["ready"] is not bool(unmet)
    return found["unmet"]


def _ready_for_stock_clients(cluster: LocalCluster, role: str) -> bool:
    """What the Open Inference Protocol says of ``role``."""
    address = yaml.safe_load((cluster.folder / f"{role}.yaml").read_text())["listen"]["client"]
    with secure_channel(address, TlsFiles.in_folder(cluster.folder / "tls", CLIENT_ROLE), role) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return stub.ServerReady(grpc_service_pb2.ServerReadyRequest(), timeout=10, wait_for_ready=True).ready


def _lines(cluster: LocalCluster, role: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cluster.log(role).splitlines()]


def test_services_write_no_core_files(cluster: LocalCluster) -> None:
    """Whatever the limit of whoever started them."""
    for role, process in cluster.processes.items():
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        (line,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"], role


def test_readiness_follows_the_dealer_and_the_other_party(own_cluster: LocalCluster) -> None:
    """With the reason in health and in the log; processes stay alive, and are ready again without a restart."""
    for role in own_cluster.roles:
        _wait_for(own_cluster, role, set())
    # what was prepared with a party that is lost is of no use
    for lost, others, also in (("dealer", PARTIES, set()), ("party1", ("party0",), {"material"})):
        own_cluster.processes[lost].kill()
        own_cluster.processes[lost].wait()
        for role in others:
            why = _wait_for(own_cluster, role, {lost, *also})[lost]
            assert "LOST" in why
            said = [line["event"] for line in _lines(own_cluster, role) if lost in line.get("unmet", {})]
            assert f"{role} is not ready: {lost}: {why}" in said[-1]
            assert not _ready_for_stock_clients(own_cluster, role)
        own_cluster.start(lost)
        own_cluster.wait_ready(lost)
        for role in own_cluster.roles:
            _wait_for(own_cluster, role, set())
            assert {line["role"] for line in _lines(own_cluster, role)} == {role}
        assert all(_ready_for_stock_clients(own_cluster, role) for role in PARTIES)


def test_grpc_writes_no_lines_of_its_own(watched: Watched) -> None:
    """Whatever somebody sends instead of a handshake: every line of the log is an object of ours."""
    address = yaml.safe_load((watched.cluster.folder / "party0.yaml").read_text())["listen"]["client"]
    host, port = address.split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port)), timeout=5) as caller:
            caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
            caller.recv(1)  # until the party hangs up
    assert {line["role"] for line in _lines(watched.cluster, "party0")} == {"party0"}


def test_an_answered_session_is_one_line_in_the_log_of_each_party(watched: Watched) -> None:
    """With client, model, seconds, rounds and bytes."""
    for party, role in enumerate(PARTIES):
        (line,) = (line for line in _lines(watched.cluster, role) if line["logger"] == "mpcvit.session")
        stats = watched.answer.stats[party]
        assert line["event"] == "session answered"
        assert line["session"] == watched.answer.session_id
        assert (line["client"], line["model"], line["code"]) == (CLIENT_ROLE, "tiny", "OK")
        assert line["seconds"] > stats.online_s
        assert (line["rounds"], line["bytes_sent"]) == (stats.rounds, stats.bytes_sent)


def test_metrics_count_the_session(watched: Watched) -> None:
    """The same at both parties, and what one sends the other receives; the dealer counts material."""
    samples = {role: scrape(address) for role, address in watched.metrics.items()}
    for party, role in enumerate(PARTIES):
        found, stats, peer = samples[role], watched.answer.stats[party], f"party{1 - party}"
        assert found["mpcvit_sessions_total", (("code", "OK"), ("model", "tiny"), ("role", role))] == 1
        assert found["mpcvit_rounds_total", ()] == stats.rounds
        assert found["mpcvit_bytes_total", (("dir", "sent"), ("peer", peer))] == stats.bytes_sent
        sent_there = samples[peer]["mpcvit_bytes_total", (("dir", "sent"), ("peer", role))]
        assert found["mpcvit_bytes_total", (("dir", "received"), ("peer", peer))] == sent_there
        assert found["mpcvit_bytes_total", (("dir", "received"), ("peer", "dealer"))] > 0
        assert found["mpcvit_session_seconds_count", (("model", "tiny"),)] == 1
        assert {labels[0][1] for name, labels in found if name == "mpcvit_phase_seconds_count"} == PHASES
        assert found["mpcvit_material_burned_total", (("reason", "used"),)] == 1
        assert (("model", "tiny:1"),) in {labels for name, labels in found if name == "mpcvit_material_available"}
        assert (found["mpcvit_sessions_waiting", ()], found["mpcvit_sessions_running", ()]) == (0, 0)
        assert found["mpcvit_cert_expiry_seconds", ()] > 0
    assert samples["dealer"]["mpcvit_material_burned_total", (("reason", "dealt"),)] >= 1
    assert samples["dealer"]["mpcvit_bytes_total", (("dir", "sent"), ("peer", "party1"))] > 0


def _spans(watched: Watched, role: str, count: int) -> list[dict[str, Any]]:
    """At least so many spans of ``role``."""
    return watched.spans.wait_for(count, lambda span: span["resource"]["mpcvit.role"] == role)


def test_spans_of_the_session_arrive_from_both_parties(watched: Watched) -> None:
    """In one trace, whose id is the session's; the dealer's are about material, and name no session."""
    for role in PARTIES:
        found = _spans(watched, role, 1 + len(PHASES))
        assert {span["trace_id"] for span in found} == {watched.answer.session_id}
        assert sorted(span["name"] for span in found) == sorted({"session", *PHASES})
    dealt = _spans(watched, "dealer", 3)
    assert {span["name"] for span in dealt} == {"material", "leased", "dealing"}
    assert watched.answer.session_id not in json.dumps(dealt)


def test_nothing_that_is_watched_holds_a_secret(watched: Watched) -> None:
    """No logit and no pixel code among all numbers but times, in logs, metrics and spans."""
    for role in PARTIES:
        _spans(watched, role, 1 + len(PHASES))
    logs = [line for role in watched.cluster.roles for line in _lines(watched.cluster, role)]
    spans = [{**span["attributes"], **span["resource"]} for span in watched.spans.all()]
    counts = [
        value
        for address in watched.metrics.values()
        for (name, _), value in scrape(address).items()
        if "seconds" not in name and not name.endswith("_created")
    ]
    numbers = np.array([value for line in [*logs, *spans] for value in line.values() if type(value) in (int, float)])
    numbers = np.concatenate([numbers, counts])
    assert len(numbers) > 50
    assert not [logit for logit in watched.answer.logits if np.any(np.abs(numbers - logit) < 1e-4)]
    codes = np.unique(watched.codes)
    assert not set(codes[np.abs(codes) > 1000].tolist()) & set(numbers.tolist())


def test_a_real_prometheus_reads_all_services(watched: Watched, tmp_path: Path) -> None:
    """The program itself, if it is installed: it finds every target up, and answers a query about sessions."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus on this machine")
    targets = [{"targets": list(watched.metrics.values())}]
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "mpcvit", "static_configs": targets}],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = free_address()
    command = [
        program,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        assert _query(address, "sum(up)", "3") == "3"
        assert _query(address, 'sum(mpcvit_sessions_total{code="OK",model="tiny"})', "2") == "2"
        assert _query(address, "min(mpcvit_ready)", "1") == "1"
    finally:
        process.kill()
        process.wait()


def _query(address: str, query: str, wanted: str, timeout_s: float = 40) -> str | None:
    """What Prometheus answers, once it is ``wanted`` or time is over."""
    end, value = time.monotonic() + timeout_s, None
    url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    while value != wanted and time.monotonic() < end:
        time.sleep(0.2)
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            continue
        value = result[0]["value"][1] if result else None
    return value
