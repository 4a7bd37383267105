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
from mpcvit.errors import (
    ConfigError,
    DealerError,
    DealerLost,
    MaterialExhausted,
    MpcvitError,
    NotAuthenticated,
    PeerLost,
    PeerTimeout,
    SessionReplayed,
)
from mpcvit.wire.tls import TlsFiles
from parties.common.ledger import Ledger
from parties.local.cluster import CLIENT_ROLE, LocalCluster
from parties.local.provision import provision_local
from tests.support.clusters import make_cluster


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
    """Without a dealer what is prepared serves, then sessions fail soon and say why; with it again, inference works."""
    _wait_for_material(own_cluster)
    own_cluster.processes["dealer"].kill()
    own_cluster.processes["dealer"].wait()
    _classify(own_cluster, tiny_pictures)  # on material that was prepared before
    start = time.monotonic()
    with pytest.raises((DealerLost, MaterialExhausted), match="dealer"):
        _classify(own_cluster, tiny_pictures)
    with pytest.raises(MaterialExhausted, match=r"no prepared material, and .*dealer") as caught:
        _classify(own_cluster, tiny_pictures)
    assert time.monotonic() - start < 15
    assert "Start dealer" in caught.value.remedy
    own_cluster.start("dealer")
    own_cluster.wait_ready("dealer")
    _classify_soon(own_cluster, tiny_pictures)


def _classify_soon(cluster: LocalCluster, images: ImageSet) -> None:
    """Until it works: channels reconnect with a backoff."""
    deadline = time.monotonic() + 40
    while True:
        try:
            assert _classify(cluster, images) in "abc"
            break
        except (DealerError, MaterialExhausted):
            assert time.monotonic() < deadline


def test_another_dealer_takes_over(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """When the dealer dies, the next in the list deals, under a mask of its own; when that dies, the first again."""
    with make_cluster(tiny_folder, tmp_path, standby_dealers=1) as cluster:
        _wait_for_material(cluster)
        assert "dealt" not in cluster.log("dealer1")
        for lost, ready in (("dealer", "dealer1"), ("dealer1", "dealer")):
            before = cluster.log(ready).count("dealt")
            cluster.processes[lost].kill()
            cluster.processes[lost].wait()
            for _ in range(2):  # the first has prepared material
                _classify_soon(cluster, tiny_pictures)
            assert cluster.log(ready).count("dealt") > before
            cluster.start(lost)
            cluster.wait_ready(lost)


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


def _with_tls(cluster: LocalCluster, path: Path, **files: Path) -> Path:
    """The cluster's client configuration at ``path``, with other TLS files."""
    document = yaml.safe_load(cluster.client_config.read_text())
    tls = {key: str(cluster.folder / value) for key, value in document["tls"].items()}
    document["tls"] = {**tls, **{key: str(file) for key, file in files.items()}}
    path.write_text(yaml.safe_dump(document))
    return path


def test_wrong_client_certificate(cluster: LocalCluster, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """A certificate that the client trusts and the parties do not: NOT_AUTHENTICATED with the cause."""
    provision_local(tmp_path, [CLIENT_ROLE])
    both = tmp_path / "both.crt"  # so that the server is trusted, and the own certificate is in order
    both.write_bytes((tmp_path / "ca.crt").read_bytes() + (cluster.folder / "tls/ca.crt").read_bytes())
    own = {"cert": tmp_path / f"{CLIENT_ROLE}.crt", "key": tmp_path / f"{CLIENT_ROLE}.key"}
    path = _with_tls(cluster, tmp_path / "client.yaml", ca=both, **own)
    with Client.from_config(path) as client, pytest.raises(NotAuthenticated, match="refused the handshake") as caught:
        client.infer(tiny_pictures.images[0], deadline_s=20)
    assert "our certificate" in caught.value.expected


def test_a_client_s_own_files_are_checked_first(cluster: LocalCluster, tmp_path: Path) -> None:
    """Expired, of another authority, another role's, with another's key: known before anybody is called."""
    tls = cluster.folder / "tls"
    provision_local(tmp_path / "other", [CLIENT_ROLE])
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=800)
    provision_local(tmp_path / "old", [CLIENT_ROLE], now=long_ago)
    other, old = (TlsFiles.in_folder(tmp_path / name, CLIENT_ROLE) for name in ("other", "old"))
    wrong = {
        "which no authority in": {"cert": other.cert, "key": other.key},
        "which expired on": {
            "ca": old.ca,
            "cert": old.cert,
            "key": old.key,
        },
        "for the role party0": {"cert": tls / "party0.crt", "key": tls / "party0.key"},
        "which is not the key of": {"key": tls / "party0.key"},
    }
    for message, files in wrong.items():
        path = _with_tls(cluster, tmp_path / "client.yaml", **files)
        with pytest.raises((NotAuthenticated, ConfigError), match=message):
            Client.from_config(path)


def test_wrong_server(cluster: LocalCluster, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """Addresses swapped, or an authority that the client does not know: the server is not trusted."""
    document = yaml.safe_load(cluster.client_config.read_text())
    document["tls"] = {key: str(cluster.folder / value) for key, value in document["tls"].items()}
    swapped = tmp_path / "swapped.yaml"
    swapped.write_text(yaml.safe_dump({**document, "parties": document["parties"][::-1]}))
    with Client.from_config(swapped) as client, pytest.raises(NotAuthenticated, match="Hostname mismatch"):
        client.infer(tiny_pictures.images[0], deadline_s=20)
    provision_local(tmp_path, [CLIENT_ROLE])
    own = TlsFiles.in_folder(tmp_path, CLIENT_ROLE)
    other = _with_tls(cluster, tmp_path / "other.yaml", ca=own.ca, cert=own.cert, key=own.key)
    with Client.from_config(other) as client, pytest.raises(NotAuthenticated, match="certificate"):
        client.infer(tiny_pictures.images[0], deadline_s=20)


def test_diagnose_tells_good_from_bad(cluster: LocalCluster, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """``mpcvit diagnose`` passes for a good configuration and names the fault of a bad one."""
    import json

    import typer

    diagnose(config=cluster.client_config, json_output=True)
    report = json.loads(capsys.readouterr().out)
    assert {subject: found["ok"] for subject, found in report.items()} == dict.fromkeys(
        ("certificate", "party0", "party1", "models"), True
    )
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
    assert "nobody listens there" in report["party1"]["error"]
