"""Inference by real processes over mutual TLS."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mpcvit.client import Client, ClientSettings, Submission
from mpcvit.client.image import encode_picture
from mpcvit.client.transport import GrpcParty
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.errors import (
    InvalidShare,
    ModelMismatch,
    MpcvitError,
    NotAllowed,
    Overloaded,
    ProgramMismatch,
    SessionCancelled,
    SessionExpired,
    SessionReplayed,
    SessionUnknown,
    ShapeMismatch,
    VersionSkew,
)
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.cost import stock_cost
from mpcvit.program.fast_cost import fast_cost
from mpcvit.program.model_folder import ModelFolder
from mpcvit.program.objective import DEFAULT_OBJECTIVE
from mpcvit.program.plan import make_plan
from mpcvit.program.program import Program
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import split
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.v1 import session_pb2
from parties.local_cluster import CLIENT_ROLE, LocalCluster
from parties.settings import Limits
from tests.services.conftest import make_cluster


def test_answers_match_plaintext_and_costs_match_the_model(
    cluster: LocalCluster, tiny_folder: Path, tiny_model: VisionTransformer, tiny_pictures: ImageSet
) -> None:
    """Logits are close to the float model's; rounds, bytes and material are exactly what ``fast_cost`` says."""
    plan = make_plan(ModelFolder.load(tiny_folder).program, DEFAULT_OBJECTIVE)
    assert plan.reopen_probability < 1e-4
    declared = fast_cost(plan).total
    with torch.inference_mode():
        plain = tiny_model(normalise(tiny_pictures.images, (0.5,) * 3, (0.25,) * 3)).numpy()
    with Client.from_config(cluster.client_config) as client:
        for number in range(3):
            phases: set[str] = set()
            answer = client.infer(
                tiny_pictures.images[number], progress=lambda phase, done, total, seen=phases: seen.add(phase)
            )
            assert np.abs(answer.logits - plain[number]).max() < 0.05
            assert answer.rounds == declared.rounds
            assert tuple(stats.bytes_sent for stats in answer.stats) == declared.bytes_sent
            assert tuple(stats.material_bytes for stats in answer.stats) == declared.material_bytes
            assert phases == {"pairing", "offline", "online"}
            assert all(0 < stats.peer_wait_s < stats.online_s for stats in answer.stats)


def test_the_stock_engine_can_be_chosen(
    tiny_folder: Path, tiny_model: VisionTransformer, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """``engine: stock`` runs CrypTen's own protocols, at exactly their declared cost."""
    declared = stock_cost(ModelFolder.load(tiny_folder).program, 2).total
    with (
        make_cluster(tiny_folder, tmp_path, engine="stock") as running,
        Client.from_config(running.client_config) as client,
    ):
        answer = client.infer(tiny_pictures.images[0])
    with torch.inference_mode():
        plain = tiny_model(normalise(tiny_pictures.images[:1], (0.5,) * 3, (0.25,) * 3)).numpy()[0]
    assert np.abs(answer.logits - plain).max() < 0.05
    assert answer.rounds == declared.rounds
    assert tuple(stats.bytes_sent for stats in answer.stats) == declared.bytes_sent
    assert tuple(stats.material_bytes for stats in answer.stats) == declared.material_bytes


def test_parties_with_different_engines_refuse(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """One party on fast, one on stock: MODEL_MISMATCH that names both."""
    cluster = make_cluster(tiny_folder, tmp_path)
    path = cluster.folder / "party1.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "engine": "stock"}))
    with (
        cluster,
        Client.from_config(cluster.client_config) as client,
        pytest.raises(ModelMismatch, match="engine 'fast'"),
    ):
        client.infer(tiny_pictures.images[0], deadline_s=40)


def test_ambiguous_openings_are_repeated_across_processes(
    tiny_folder: Path, tiny_model: VisionTransformer, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """Ranges declared so wide that openings are often ambiguous: the dealer deals spare masks, the answer is right."""
    document = json.loads((tiny_folder / "program.json").read_text())
    for node in document["nodes"]:
        if node["name"] in ("block0.fc2.sum", "block0.attn.proj.sum"):
            bound = 2.0 ** (54 - node["type"]["frac"])
            node["type"] |= {"lo": -bound, "hi": bound}
    wide = tmp_path / "wide"
    shutil.copytree(tiny_folder, wide)
    folder = ModelFolder.load(tiny_folder)
    ModelFolder(folder.description, Program.from_json(document), folder.weights).save(wide)
    with make_cluster(wide, tmp_path) as running, Client.from_config(running.client_config) as client:
        answers = []
        for _ in range(20):  # each repeats an opening with a chance of almost one half
            answers = [client.infer(image) for image in tiny_pictures.images[:3]]
            if "repeats" in (log := running.log("dealer")):
                break
    with torch.inference_mode():
        plain = tiny_model(normalise(tiny_pictures.images[:3], (0.5,) * 3, (0.25,) * 3)).numpy()
    assert "repeats" in log
    assert np.abs(np.stack([answer.logits for answer in answers]) - plain).max() < 0.05


def test_three_parties(
    tiny_folder: Path, tiny_model: VisionTransformer, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """The same works with three compute parties."""
    with make_cluster(tiny_folder, tmp_path, parties=3) as running, Client.from_config(running.client_config) as client:
        answer = client.infer(tiny_pictures.images[0])
    with torch.inference_mode():
        plain = tiny_model(normalise(tiny_pictures.images[:1], (0.5,) * 3, (0.25,) * 3)).numpy()[0]
    assert np.abs(answer.logits - plain).max() < 0.05
    assert len(answer.stats) == 3


def test_sessions_run_side_by_side(cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """Several clients at once get their own answers."""

    def classify(number: int) -> np.ndarray:
        with Client.from_config(cluster.client_config) as client:
            return client.infer(tiny_pictures.images[number]).logits

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(classify, range(6)))
    with Client.from_config(cluster.client_config) as client:
        alone = [client.infer(tiny_pictures.images[number]).logits for number in range(6)]
    assert np.abs(np.array(together) - np.array(alone)).max() < 0.05


@pytest.mark.parametrize("image", [np.zeros((9, 9, 3), np.uint8), np.full((3, 8, 8), np.nan)])
def test_bad_pictures_never_leave_the_client(cluster: LocalCluster, image: np.ndarray) -> None:
    """Wrong size and NaN are refused with got, expected and remedy."""
    with Client.from_config(cluster.client_config) as client, pytest.raises(MpcvitError) as caught:
        client.infer(image)
    assert caught.value.got
    assert caught.value.expected
    assert caught.value.remedy


class Raw:
    """A client that says what it wants: sessions made by hand."""

    def __init__(self, cluster: LocalCluster, role: str = CLIENT_ROLE) -> None:
        settings = ClientSettings.read(cluster.client_config)
        files = TlsFiles.in_folder(cluster.folder / "tls", role)
        self.parties = [GrpcParty(address, files, f"party{i}") for i, address in enumerate(settings.parties)]
        self.deadline = time.monotonic() + 60

    def spec(self, **changes: object) -> session_pb2.SessionSpec:
        """The spec of a good session, with ``changes``."""
        manifest = self.parties[0].manifests(self.deadline)[0]
        fields = {
            "session_id": secrets.token_bytes(16),
            "model_name": manifest.name,
            "model_version": manifest.version,
            "manifest_sha256": manifest.digest,
            "program_sha256": bytes.fromhex(manifest.program_sha256),
            "input_shape": manifest.input_shape,
            "protocol_version": PROTOCOL_VERSION,
            "expires_at": int(time.time()) + 60,
        }
        return session_pb2.SessionSpec(**{**fields, **changes})

    def shares(self, spec: session_pb2.SessionSpec, image: np.ndarray) -> list[Submission]:
        """Both parties' submissions for ``image``."""
        manifest = self.parties[0].manifests(self.deadline)[0]
        seed = secrets.token_bytes(32)
        masked = split(encode_picture(image, manifest), [Prg(seed)], spec.session_id)
        return [Submission(spec, seed), Submission(spec, masked)]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"model_name": "other"}, ModelMismatch),
        ({"model_version": "9"}, ModelMismatch),
        ({"manifest_sha256": bytes(32)}, ModelMismatch),
        ({"program_sha256": bytes(32)}, ProgramMismatch),
        ({"input_shape": (3, 9, 9)}, ShapeMismatch),
        ({"protocol_version": 99}, VersionSkew),
        ({"expires_at": 1}, SessionExpired),
        ({"session_id": b"short"}, MpcvitError),
    ],
)
def test_wrong_specs_are_refused(cluster: LocalCluster, change: dict, kind: type[MpcvitError]) -> None:
    """Wrong model, digest, shape, version, expiry: typed errors from the party, before anything is burned."""
    raw = Raw(cluster)
    with pytest.raises(kind) as caught:
        raw.parties[0].submit(Submission(raw.spec(**change), bytes(32)), raw.deadline)
    assert caught.value.origin == "party0"


def test_shares_of_the_wrong_form_are_refused(cluster: LocalCluster) -> None:
    """Too short, too long, or another party's kind of share."""
    raw = Raw(cluster)
    right = np.zeros((3, 8, 8), dtype=np.int64)
    for party, share in ((0, b"short"), (0, right), (1, bytes(32)), (1, right[:2]), (1, np.zeros(1 << 18, np.int64))):
        with pytest.raises(InvalidShare):
            raw.parties[party].submit(Submission(raw.spec(), share), raw.deadline)


def test_a_session_id_serves_once(cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """Submitting again is a replay; a result can be fetched once; strangers get nothing."""
    raw = Raw(cluster)
    spec = raw.spec()
    for party, submission in zip(raw.parties, raw.shares(spec, tiny_pictures.images[0]), strict=True):
        party.submit(submission, raw.deadline)
    with pytest.raises(SessionReplayed):
        raw.parties[0].submit(Submission(spec, bytes(32)), raw.deadline)
    for party in raw.parties:
        codes, _ = party.fetch(spec.session_id, raw.deadline, lambda *_: None)
        assert codes.shape == (3,)
        with pytest.raises(SessionUnknown):
            party.fetch(spec.session_id, raw.deadline, lambda *_: None)
    with pytest.raises(SessionUnknown):
        raw.parties[0].fetch(secrets.token_bytes(16), raw.deadline, lambda *_: None)


def test_half_a_session_expires_without_using_material(cluster: LocalCluster) -> None:
    """A share at one party only: SESSION_EXPIRED after pair_s, and the dealer was never asked."""
    raw = Raw(cluster)
    spec = raw.spec()
    raw.parties[0].submit(Submission(spec, bytes(32)), raw.deadline)
    start = time.monotonic()
    with pytest.raises(SessionExpired, match="no share from the client"):
        raw.parties[0].fetch(spec.session_id, raw.deadline, lambda *_: None)
    assert time.monotonic() - start < 8
    assert spec.session_id.hex() not in cluster.log("dealer")


def test_an_overloaded_party_refuses(own_cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """Beyond the running and waiting sessions that are allowed: OVERLOADED; when they end there is room again."""
    raw, limits = Raw(own_cluster), Limits()
    waiting = [raw.spec() for _ in range(limits.sessions + limits.queue)]
    share = np.zeros((3, 8, 8), dtype=np.int64)
    for spec in waiting:
        raw.parties[1].submit(Submission(spec, share), raw.deadline)
    with pytest.raises(Overloaded, match=f"{len(waiting)} sessions"):
        raw.parties[1].submit(Submission(raw.spec(), share), raw.deadline)
    for spec in waiting:
        raw.parties[1].cancel(spec.session_id)
        with pytest.raises(SessionCancelled):
            raw.parties[1].fetch(spec.session_id, raw.deadline, lambda *_: None)
    with Client.from_config(own_cluster.client_config) as client:
        assert client.infer(tiny_pictures.images[0]).label in tiny_pictures.classes


def test_cancelling_stops_the_session(cluster: LocalCluster) -> None:
    """A cancelled session ends with an error at once, not at its deadline."""
    raw = Raw(cluster)
    spec = raw.spec()
    raw.parties[1].submit(Submission(spec, np.zeros((3, 8, 8), dtype=np.int64)), raw.deadline)
    raw.parties[1].cancel(spec.session_id)
    start = time.monotonic()
    with pytest.raises(MpcvitError) as caught:
        raw.parties[1].fetch(spec.session_id, raw.deadline, lambda *_: None)
    assert caught.value.reason == "SESSION_CANCELLED"
    assert time.monotonic() - start < 3


def test_a_client_that_goes_away_cancels_its_session(cluster: LocalCluster) -> None:
    """Closing the connection while waiting for the result stops the session at the party, which says so in its log."""
    raw = Raw(cluster)
    spec = raw.spec()
    raw.parties[1].submit(Submission(spec, np.zeros((3, 8, 8), dtype=np.int64)), raw.deadline)
    waiting = threading.Event()

    def fetch() -> None:
        with contextlib.suppress(Exception):  # whatever a closed channel raises
            raw.parties[1].fetch(spec.session_id, raw.deadline, lambda *_: waiting.set())

    thread = threading.Thread(target=fetch)
    thread.start()
    assert waiting.wait(5)
    raw.parties[1].close()
    thread.join()
    deadline = time.monotonic() + 3
    while f"session {spec.session_id.hex()} failed: SESSION_CANCELLED" not in cluster.log("party1"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_captured_traffic_between_parties_is_opaque(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """What a tap between the parties sees: no tag, no session id, no secret; bytes that look random."""
    cluster = make_cluster(tiny_folder, tmp_path)
    path = cluster.folder / "party0.yaml"
    document = yaml.safe_load(path.read_text())
    with Tap(document["peers"][1]) as tap:
        document["peers"][1] = tap.address
        path.write_text(yaml.safe_dump(document))
        with cluster, Client.from_config(cluster.client_config) as client:
            answer = client.infer(tiny_pictures.images[0])
            codes = encode_picture(tiny_pictures.images[0], client.models()[0])
    traffic = b"".join(tap.seen)
    assert len(traffic) > answer.stats[0].bytes_sent + answer.stats[1].bytes_sent
    assert b"block0" not in traffic
    assert bytes.fromhex(answer.session_id) not in traffic
    for value in [*np.unique(codes[np.abs(codes) > 256])[:200], *np.rint(answer.logits * 2**12).astype(int)]:
        assert int(value).to_bytes(8, "little", signed=True) not in traffic
    histogram = np.bincount(np.frombuffer(traffic, dtype=np.uint8), minlength=256) / len(traffic)
    assert -(histogram * np.log2(histogram)).sum() > 7.99


class Tap:
    """A TCP forwarder that keeps a copy of everything, in both directions."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen: list[bytes] = []

    def __enter__(self) -> Tap:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self._target)
                except OSError:  # not up yet; who called will call again
                    near.close()
                    continue
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.seen.append(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def test_roles_are_checked(cluster: LocalCluster) -> None:
    """A party or dealer certificate may not call the client's service."""
    for role in ("party1", "dealer"):
        raw = Raw(cluster, role)
        with pytest.raises(NotAllowed, match=role):
            raw.parties[0].manifests(raw.deadline)


def test_clients_may_not_call_peers_or_dealer(cluster: LocalCluster) -> None:
    """A client certificate is refused by the party-to-party and the dealer service."""
    import grpc

    from mpcvit.wire.status import from_rpc_error
    from mpcvit.wire.tls import secure_channel
    from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc, peer_pb2, peer_pb2_grpc

    files = TlsFiles.in_folder(cluster.folder / "tls", CLIENT_ROLE)
    party = yaml.safe_load((cluster.folder / "party0.yaml").read_text())
    with secure_channel(party["listen"]["peer"], files, "party0") as channel:
        stub = peer_pb2_grpc.PeerServiceStub(channel)
        for call in (
            lambda: stub.OpenSession(peer_pb2.OpenSessionRequest(), timeout=5),
            lambda: stub.AbortSession(peer_pb2.AbortSessionRequest(), timeout=5),
            lambda: list(stub.Exchange(iter([]), timeout=5)),
            lambda: stub.PrepareMaterial(peer_pb2.PrepareMaterialRequest(), timeout=5),
            lambda: list(stub.OpenWeights(iter([]), timeout=5)),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert isinstance(from_rpc_error(caught.value, "party0"), NotAllowed)
    with secure_channel(party["dealer"], files, "dealer") as channel:
        stub = dealer_pb2_grpc.DealerServiceStub(channel)
        for call in (
            lambda: stub.LeaseMaterial(dealer_pb2.LeaseMaterialRequest(), timeout=5),
            lambda: list(stub.StreamMaterial(dealer_pb2.StreamMaterialRequest(), timeout=5)),
            lambda: list(stub.RedealMaterial(dealer_pb2.RedealMaterialRequest(), timeout=5)),
            lambda: stub.LeaseWeightMask(dealer_pb2.LeaseWeightMaskRequest(), timeout=5),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert isinstance(from_rpc_error(caught.value, "dealer"), NotAllowed)


def test_logs_hold_no_secrets(cluster: LocalCluster, tiny_pictures: ImageSet) -> None:
    """Logs name sessions and roles, but no logit and no pixel code."""
    with Client.from_config(cluster.client_config) as client:
        answer = client.infer(tiny_pictures.images[1])
        manifest = client.models()[0]
    codes = encode_picture(tiny_pictures.images[1], manifest).reshape(-1)
    logs = "".join(cluster.log(role) for role in cluster.roles)
    assert "is ready" in logs
    assert not [value for value in answer.logits if f"{value:.3f}" in logs]
    # whole numbers: sessions' random names in hex hold any four digits sooner or later
    said = re.sub(r"^\d{4}-\d\d-\d\d \S+ ", "", logs, flags=re.MULTILINE)
    numbers = set(re.findall(r"(?<![\w.])-?\d+(?!\w)", said))
    assert not [code for code in np.unique(codes[np.abs(codes) > 1000]) if str(code) in numbers]
