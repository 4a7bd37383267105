"""Wrong ports, proxies, second processes, forks and threads: against running parties, by the product's own commands."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from mpcvit.client import Client
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import MpcvitError, PeerLost, SessionError
from parties.local.cluster import LocalCluster
from parties.local.provision import provision_local
from tests.support.clusters import make_cluster


def _mpcvit(*arguments: str, code: int, **environment: str) -> str:
    """Standard output of a command, with standard error if it is not empty otherwise; it must end with ``code``."""
    run = subprocess.run(
        [sys.executable, "-m", "mpcvit.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout or " ".join(run.stderr.split())


@pytest.fixture
def picture(tiny_pictures: ImageSet, tmp_path: Path) -> Path:
    """A picture of the model's size."""
    Image.fromarray(tiny_pictures.images[0]).save(tmp_path / "x.png")
    return tmp_path / "x.png"


@pytest.fixture
def party0(cluster: LocalCluster) -> dict[str, Any]:
    """Party 0's configuration, with paths that are good everywhere."""
    document = yaml.safe_load((cluster.folder / "party0.yaml").read_text())
    document["tls"] = {key: str(cluster.folder / value) for key, value in document["tls"].items()}
    return {**document, "state": str(cluster.folder / document["state"])}


@pytest.fixture
def dead_proxy() -> Iterator[str]:
    """The address of a port on which nobody listens."""
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


@pytest.mark.parametrize("change", [{}, {"client": "own"}, {"peer": "own"}], ids=["all", "peer's", "client's"])
def test_a_second_party_on_a_port_does_not_start(
    cluster: LocalCluster, party0: dict[str, Any], tmp_path: Path, change: dict[str, str]
) -> None:
    """Whichever port is taken, it is named; the ledger of the party that runs is not touched."""
    listen = dict(party0["listen"])
    for kind in change:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            listen[kind] = f"127.0.0.1:{free.getsockname()[1]}"
    taken = listen["peer" if "client" in change else "client"]
    ledger = Path(party0["state"]) / "ledger.sqlite"
    before = ledger.stat().st_mtime_ns
    (tmp_path / "second.yaml").write_text(yaml.safe_dump({**party0, "listen": listen}))
    said = _mpcvit("party", "serve", "--config", str(tmp_path / "second.yaml"), code=4)
    assert f"address {taken}: Address already in use" in said
    assert "serves" not in said
    assert ledger.stat().st_mtime_ns == before


def test_a_second_party_on_other_ports_needs_its_own_state(
    cluster: LocalCluster, party0: dict[str, Any], tmp_path: Path
) -> None:
    """Two processes with one ledger would each believe that they alone burn session ids."""
    listen = {}
    for kind in party0["listen"]:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            listen[kind] = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "second.yaml").write_text(yaml.safe_dump({**party0, "listen": listen}))
    said = _mpcvit("party", "serve", "--config", str(tmp_path / "second.yaml"), code=4)
    assert "which another process uses" in said


def test_a_second_dealer_on_a_port_does_not_start(cluster: LocalCluster) -> None:
    """Nor does a dealer."""
    said = _mpcvit("dealer", "serve", "--config", str(cluster.folder / "dealer.yaml"), code=4)
    assert "Address already in use" in said


def test_proxies_of_the_environment_are_not_used(
    cluster: LocalCluster, tiny_folder: Path, picture: Path, dead_proxy: str
) -> None:
    """With all of them set to a dead port: infer and diagnose, and a whole cluster, work as without."""
    names = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    proxies = dict.fromkeys(names, dead_proxy)
    config = str(cluster.client_config)
    assert json.loads(_mpcvit("infer", str(picture), "-c", config, "--json", code=0, **proxies))["label"] in "abc"
    assert "ok" in _mpcvit("diagnose", "-c", config, code=0, **proxies)
    demo = ("demo", "--model", str(tiny_folder), "--image", str(picture), "--json")
    assert json.loads(_mpcvit(*demo, code=0, **proxies))["label"] in "abc"


def _client_config(cluster: LocalCluster, path: Path, address: str) -> Path:
    """The client's configuration with another address of party 0."""
    document = yaml.safe_load(cluster.client_config.read_text())
    document["tls"] = {key: str(cluster.folder / value) for key, value in document["tls"].items()}
    document["parties"][0] = address
    path.write_text(yaml.safe_dump(document))
    return path


def test_other_ports_are_called_by_their_names(
    cluster: LocalCluster, party0: dict[str, Any], picture: Path, tmp_path: Path
) -> None:
    """The peer port, the health port and the dealer's in the place of party 0's client port; diagnose says the same."""
    wrong = {
        party0["listen"]["peer"]: ("CONFIG", "a client port at the peer port of party0", 4),
        party0["listen"]["health"]: ("NOT_AUTHENTICATED", "does not speak TLS", 2),
        party0["dealer"]: ("NOT_AUTHENTICATED", "it is for dealer.mpcvit", 2),
    }
    for address, (reason, words, code) in wrong.items():
        config = str(_client_config(cluster, tmp_path / "client.yaml", address))
        error = json.loads(_mpcvit("infer", str(picture), "-c", config, "--json", code=code))["error"]
        assert error["reason"] == reason
        assert words in error["got"]
        found = json.loads(_mpcvit("diagnose", "-c", config, "--json", code=2))
        assert words in found["party0"]["error"]
        assert found["party1"]["ok"]


def test_a_party_that_calls_a_client_port_hears_so(
    cluster: LocalCluster, party0: dict[str, Any], tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """A wrong address under 'peers' reaches the client as what it is."""
    import grpc

    from mpcvit.wire.status import from_rpc_error
    from mpcvit.wire.tls import TlsFiles
    from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc, peer_pb2, peer_pb2_grpc
    from tests.support.channels import secure_channel

    files = TlsFiles.in_folder(cluster.folder / "tls", "party1")
    with secure_channel(party0["listen"]["client"], files, "party0") as channel:
        peers, dealer = peer_pb2_grpc.PeerServiceStub(channel), dealer_pb2_grpc.DealerServiceStub(channel)
        for call, words in (
            (lambda: peers.OpenSession(peer_pb2.OpenSessionRequest(), timeout=5), "a peer port at the client port"),
            (lambda: list(peers.Exchange(iter([]), timeout=5)), "a peer port at the client port"),
            (lambda: dealer.LeaseMaterial(dealer_pb2.LeaseMaterialRequest(), timeout=5), "a port of the dealer"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert words in from_rpc_error(caught.value, "party0").got
        unknown = channel.unary_unary("/mpcvit.v1.InferenceService/Nothing")
        with pytest.raises(grpc.RpcError) as caught:
            unknown(b"", timeout=5)
        assert from_rpc_error(caught.value, "party0").reason == "VERSION_SKEW"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "which expired on"),
        ("not valid yet", "which is valid only from"),
        ("another authority", "which no authority in"),
        ("another role", "for the role party1"),
        ("another key", "which is not the key of"),
        ("empty", "which is empty"),
    ],
)
def test_serve_refuses_its_own_wrong_files(
    cluster: LocalCluster, party0: dict[str, Any], tmp_path: Path, kind: str, words: str
) -> None:
    """At once, with the file's name: such a party would say that it is ready, and nobody could call it."""
    import datetime

    tls, now = cluster.folder / "tls", datetime.datetime.now(datetime.UTC)
    shift = {"expired": -800, "not valid yet": 9}.get(kind, 0)
    provision_local(tmp_path / "tls", ["party0"], now=now + datetime.timedelta(days=shift))
    own = {"cert": tmp_path / "tls/party0.crt", "key": tmp_path / "tls/party0.key"}
    (tmp_path / "empty.crt").touch()
    changes: dict[str, dict[str, Path]] = {
        "another authority": own,
        "another role": {"cert": tls / "party1.crt", "key": tls / "party1.key"},
        "another key": {"key": tls / "party1.key"},
        "empty": {"cert": tmp_path / "empty.crt"},
    }
    change = changes.get(kind, {**own, "ca": tmp_path / "tls/ca.crt"})
    document = {**party0, "tls": {**party0["tls"], **{key: str(path) for key, path in change.items()}}}
    (tmp_path / "party0.yaml").write_text(yaml.safe_dump(document))
    code = 4 if kind in ("another key", "empty") else 2
    start = time.monotonic()
    assert words in _mpcvit("party", "serve", "--config", str(tmp_path / "party0.yaml"), code=code)
    assert time.monotonic() - start < 60


def _infer_in_child(client: Client, images: ImageSet, answers: Connection) -> None:
    try:
        answers.send(client.infer(images.images[0], deadline_s=20).label)
    except MpcvitError as error:
        answers.send(type(error).__name__)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python's own about forks and threads
def test_a_client_in_a_forked_process_raises_at_once(cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """With connections that are in use; the parent's go on."""
    fork = multiprocessing.get_context("fork")
    mine, theirs = fork.Pipe()
    with Client.from_config(cluster.client_config) as client:
        client.infer(tiny_pictures.images[0])
        child = fork.Process(target=_infer_in_child, args=(client, tiny_pictures, theirs))
        child.start()
        try:
            assert mine.poll(20)
            assert mine.recv() == SessionError.__name__
            child.join(20)
            assert child.exitcode == 0
        finally:
            child.kill()
        assert client.infer(tiny_pictures.images[0]).label in "abc"


def test_threads_share_a_client_s_connections(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """Four at a time, twice over: all are served, with the answers that each gets alone.

    The parties run all four side by side: in which order they start sessions is not this test's concern.
    """
    answers: list[tuple[int, str]] = []
    failures: list[BaseException] = []
    with (
        make_cluster(tiny_folder, tmp_path, limits={"sessions": 4}) as running,
        Client.from_config(running.client_config) as client,
    ):
        alone = [client.infer(tiny_pictures.images[number]).label for number in range(4)]

        def run(number: int) -> None:
            try:
                answers.extend((number, client.infer(tiny_pictures.images[number]).label) for _ in range(2))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert not failures
    assert sorted(answers) == sorted((number, alone[number]) for number in range(4) for _ in range(2))


def test_closing_ends_calls_that_run(cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """A thread whose client is closed by another gets a typed error."""
    client = Client.from_config(cluster.client_config)
    with pytest.raises((SessionError, PeerLost)):
        client.infer(tiny_pictures.images[0], progress=lambda *_: client.close())


def test_a_failed_demo_keeps_its_logs(tiny_folder: Path, picture: Path, tmp_path: Path) -> None:
    """The folder that the error names is there, with every role's log and nothing else."""
    (tmp_path / "tmp").mkdir()
    demo = ("demo", "--model", str(tiny_folder), "--image", str(picture), "--json")
    place = {"TMPDIR": str(tmp_path / "tmp")}
    output = _mpcvit(*demo, code=1, MPCVIT_TIMEOUTS__OFFLINE_S="0.0001", **place)
    error = json.loads(output)["error"]
    (folder,) = (tmp_path / "tmp").glob("mpcvit-demo-*")
    assert f"logs of all processes are in {folder}." in error["remedy"]
    assert sorted(path.name for path in folder.iterdir()) == ["dealer.log", "party0.log", "party1.log"]
    assert "serves" in (folder / "party0.log").read_text()
    output = _mpcvit(*demo, code=5, MPCVIT_TIMEOUTS__OP_S="-1", **place)
    assert "MPCVIT_TIMEOUTS__OP_S" in json.loads(output)["error"]["got"]
    assert Path(json.loads(output)["error"]["remedy"].split()[1].rstrip(".")).is_file()
