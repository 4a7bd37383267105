"""Processes that die, stop or are missing, and certificates that are wrong: typed errors, and soon."""

from __future__ import annotations

import datetime
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mpcvit.cli.diagnose import diagnose
from mpcvit.client import Client
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import DealerLost, MpcvitError, NotAuthenticated, PeerLost, PeerTimeout, SessionReplayed
from parties.ledger import Ledger
from parties.local_cluster import CLIENT_ROLE, LocalCluster
from parties.provision import provision_local


def _classify(cluster: LocalCluster, images: ImageSet) -> str:
    with Client.from_config(cluster.client_config) as client:
        return client.infer(images.images[0], deadline_s=40).label


def _wait_for_material(cluster: LocalCluster) -> None:
    """Until the pool is full, as it is some time after the start."""
    deadline = time.monotonic() + 30
    while "material is ready" not in cluster.log("party0"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_missing_dealer(own_cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """Without a dealer: DEALER_LOST with the address and the remedy; with it again, inference works again."""
    _wait_for_material(own_cluster)
    own_cluster.processes["dealer"].kill()
    own_cluster.processes["dealer"].wait()
    _classify(own_cluster, tiny_pictures)  # on material that was prepared before
    start = time.monotonic()
    with pytest.raises(DealerLost) as caught:
        _classify(own_cluster, tiny_pictures)
    assert time.monotonic() - start < 15
    assert "dealer" in caught.value.got
    assert "Start dealer" in caught.value.remedy
    own_cluster.start("dealer")
    own_cluster.wait_ready("dealer")
    deadline = time.monotonic() + 10
    while True:  # channels reconnect with a backoff
        try:
            assert _classify(own_cluster, tiny_pictures) in "abc"
            break
        except DealerLost:
            assert time.monotonic() < deadline


def test_missing_party(own_cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """Without party 1 the client hears at once that nobody listens there."""
    own_cluster.processes["party1"].kill()
    own_cluster.processes["party1"].wait()
    with pytest.raises(PeerLost, match="party1") as caught:
        _classify(own_cluster, tiny_pictures)
    assert "Start party1" in caught.value.remedy


def _during_inference(cluster: LocalCluster, images: ImageSet, act: Callable[[], None]) -> MpcvitError:
    """The error of an inference in whose online phase ``act`` is done."""
    acted = []

    def progress(phase: str, done: int, total: int) -> None:
        if phase == "online" and not acted:
            acted.append(True)
            act()

    with Client.from_config(cluster.client_config) as client, pytest.raises(MpcvitError) as caught:
        client.infer(images.images[0], deadline_s=40, progress=progress)
    assert acted
    return caught.value


def test_party_killed_mid_inference(own_cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """SIGKILL of party 1 while it computes: PEER_LOST, within seconds; a restarted party serves again."""
    start = time.monotonic()
    error = _during_inference(own_cluster, tiny_pictures, own_cluster.processes["party1"].kill)
    assert isinstance(error, PeerLost)
    assert time.monotonic() - start < 10
    own_cluster.processes["party1"].wait()
    assert Ledger(own_cluster.folder / "state/party1").state("none") is None
    own_cluster.start("party1")
    own_cluster.wait_ready("party1")
    deadline = time.monotonic() + 15
    while True:
        try:
            assert _classify(own_cluster, tiny_pictures) in "abc"
            break
        except PeerLost:
            assert time.monotonic() < deadline


def test_party_stopped_mid_inference(own_cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """SIGSTOP of party 1: noticed through missing pings or heartbeats long before any inference deadline."""
    process = own_cluster.processes["party1"]
    start = time.monotonic()
    try:
        error = _during_inference(own_cluster, tiny_pictures, lambda: process.send_signal(signal.SIGSTOP))
    finally:
        process.send_signal(signal.SIGCONT)
    assert isinstance(error, PeerTimeout | PeerLost)
    assert time.monotonic() - start < 15


def test_burned_sessions_survive_a_crash(own_cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """What was submitted to a killed party is burned in its ledger on disk."""
    with Client.from_config(own_cluster.client_config) as client:
        session = client.infer(tiny_pictures.images[0]).session_id
    own_cluster.processes["party0"].kill()
    own_cluster.processes["party0"].wait()
    ledger = Ledger(own_cluster.folder / "state/party0")
    assert ledger.state(session) == "done"
    with pytest.raises(SessionReplayed):
        ledger.burn(session)
    burned = sqlite3.connect(own_cluster.folder / "state/party0/ledger.sqlite").execute(
        "SELECT id FROM sessions WHERE id LIKE 'material/%'"
    )
    material = [row[0].removeprefix("material/") for row in burned]
    assert len(material) == 1
    assert Ledger(own_cluster.folder / "state/dealer").state(material[0]) == "done"


def test_sigterm_ends_cleanly(own_cluster: LocalCluster) -> None:
    """Every process exits with 0 on SIGTERM."""
    for role in own_cluster.roles:
        process = own_cluster.processes[role]
        process.terminate()
        assert process.wait(timeout=20) == 0, own_cluster.log(role)


CERTIFICATES: dict[str, Callable[[Path], None]] = {
    "another authority": lambda folder: provision_local(folder, [CLIENT_ROLE]),
    "expired": lambda folder: provision_local(
        folder, [CLIENT_ROLE], now=datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=800)
    ),
}


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_wrong_client_certificate(cluster: LocalCluster, tiny_pictures: ImageSet, tmp_path: Path, kind: str) -> None:
    """A certificate of another authority or past its date: NOT_AUTHENTICATED with the cause, not 'unavailable'."""
    CERTIFICATES[kind](tmp_path)
    document = yaml.safe_load(cluster.client_config.read_text())
    document["tls"] = {  # the right authority, so that the server is trusted; the wrong certificate
        "ca": str(cluster.folder / "tls/ca.crt"),
        "cert": str(tmp_path / f"{CLIENT_ROLE}.crt"),
        "key": str(tmp_path / f"{CLIENT_ROLE}.key"),
    }
    path = tmp_path / "client.yaml"
    path.write_text(yaml.safe_dump(document))
    with Client.from_config(path) as client, pytest.raises(NotAuthenticated, match="refused the handshake") as caught:
        client.infer(tiny_pictures.images[0], deadline_s=20)
    assert "our certificate" in caught.value.expected


def test_wrong_server(cluster: LocalCluster, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """Addresses swapped, or an authority that the client does not know: the server is not trusted."""
    document = yaml.safe_load(cluster.client_config.read_text())
    document["tls"] = {key: str(cluster.folder / value) for key, value in document["tls"].items()}
    swapped = tmp_path / "swapped.yaml"
    swapped.write_text(yaml.safe_dump({**document, "parties": document["parties"][::-1]}))
    with Client.from_config(swapped) as client, pytest.raises(NotAuthenticated, match="Hostname mismatch"):
        client.infer(tiny_pictures.images[0], deadline_s=20)
    provision_local(tmp_path, [CLIENT_ROLE])
    document["tls"]["ca"] = str(tmp_path / "ca.crt")
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(document))
    with Client.from_config(other) as client, pytest.raises(NotAuthenticated, match="certificate"):
        client.infer(tiny_pictures.images[0], deadline_s=20)


def test_diagnose_tells_good_from_bad(cluster: LocalCluster, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """``mpcvit diagnose`` passes for a good configuration and names the fault of a bad one."""
    import json

    import typer

    diagnose(config=cluster.client_config, json_output=True)
    assert json.loads(capsys.readouterr().out) == {role: {"ok": True, "error": ""} for role in ("party0", "party1")}
    document = yaml.safe_load(cluster.client_config.read_text())
    document["tls"] = {key: str(cluster.folder / value) for key, value in document["tls"].items()}
    document["parties"][1] = "127.0.0.1:1"
    path = tmp_path / "client.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(typer.Exit) as caught:
        diagnose(config=path, json_output=True)
    assert caught.value.exit_code == 2
    report = json.loads(capsys.readouterr().out)
    assert report["party0"]["ok"]
    assert "ConnectionRefusedError" in report["party1"]["error"]
