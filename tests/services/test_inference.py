"""Inference by real processes over mutual TLS."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mpcvit.client import Client, Submission
from mpcvit.client.image import encode_picture
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE
from mpcvit.engines.masked.plan import make_plan
from mpcvit.errors import (
    AnswerOutOfRange,
    InputOutOfRange,
    InvalidShare,
    ModelMismatch,
    MpcvitError,
    NotAllowed,
    Overloaded,
    ProgramMismatch,
    QuotaExceeded,
    SessionCancelled,
    SessionExpired,
    SessionReplayed,
    SessionUnknown,
    ShapeMismatch,
    VersionSkew,
)
from mpcvit.export.builder import Precision
from mpcvit.export.vit import export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import split
from mpcvit.store.exported import ModelFolder
from mpcvit.wire.reveal import Disclosure
from mpcvit.wire.tls import TlsFiles
from parties.common.ledger import Ledger
from parties.local.cluster import CLIENT_ROLE, LocalCluster
from tests.support.clusters import make_cluster
from tests.support.engines import burned, widened
from tests.support.guards import tampered
from tests.support.images import make_images
from tests.support.models import TINY
from tests.support.raw_client import Raw


def test_answers_match_plaintext_and_costs_match_the_model(
    cluster: LocalCluster, tiny_folder: Path, tiny_model: VisionTransformer, tiny_pictures: ImageSet
) -> None:
    """Logits are close to the float model's; rounds, bytes and material are exactly what ``fast_cost`` says."""
    plan = make_plan(ModelFolder.load(tiny_folder).program, DEFAULT_OBJECTIVE)
    assert plan.repeat_probability < 1e-4
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
            assert phases == {"pairing", "waiting", "offline", "online"}
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


def test_a_session_with_an_ambiguous_opening_succeeds(
    tiny_folder: Path, tiny_model: VisionTransformer, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """Ranges declared so wide that openings are often ambiguous: the session takes a second material and is right."""
    wide = widened(tiny_folder, tmp_path / "wide")
    declared = fast_cost(make_plan(ModelFolder.load(wide).program, DEFAULT_OBJECTIVE)).total
    with make_cluster(wide, tmp_path) as running, Client.from_config(running.client_config) as client:
        answers = []
        for _ in range(20):  # each needs another attempt with a chance of almost one half
            answers = [client.infer(image) for image in tiny_pictures.images[:3]]
            if any(answer.rounds > declared.rounds for answer in answers):
                break
        materials = [burned(Ledger(running.folder / f"state/party{party}")) for party in (0, 1)]
    with torch.inference_mode():
        plain = tiny_model(normalise(tiny_pictures.images[:3], (0.5,) * 3, (0.25,) * 3)).numpy()
    assert np.abs(np.stack([answer.logits for answer in answers]) - plain).max() < 0.05
    repeated = next(answer for answer in answers if answer.rounds > declared.rounds)
    for party, stats in enumerate(repeated.stats):
        attempts, rest = divmod(stats.material_bytes, declared.material_bytes[party])
        assert (attempts > 1, rest) == (True, 0)
    assert materials[0] == materials[1]
    assert len(materials[0]) > len(answers)
    assert set(materials[0].values()) == {"used"}
    for role in running.roles:
        log = running.log(role)
        assert ("starts again on other material" in log) == (role != "dealer")


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
        share, _ = party.fetch(spec.session_id, raw.deadline, lambda *_: None)
        assert share.codes.shape == (3,)
        assert len(share.digest) == 32
        with pytest.raises(SessionUnknown):
            party.fetch(spec.session_id, raw.deadline, lambda *_: None)
    with pytest.raises(SessionUnknown):
        raw.parties[0].fetch(secrets.token_bytes(16), raw.deadline, lambda *_: None)


@pytest.mark.parametrize(
    ("wrong", "owner"), [(256, "demo1"), (-1, "demo1"), (2**40, "demo2"), (-(2**63), "demo2")]
)  # after three such sessions a client has to wait
def test_a_client_that_shares_no_picture_gets_an_error(
    cluster: LocalCluster, tiny_pictures: ImageSet, wrong: int, owner: str
) -> None:
    """One code that is no pixel: both parties end the session and say why; the next picture is answered."""
    raw = Raw(cluster, f"{owner}.client")
    spec = raw.spec()
    codes = encode_picture(tiny_pictures.images[0], raw.parties[0].manifests(raw.deadline)[0])
    codes[2, 3, 4] = wrong
    seed = secrets.token_bytes(32)
    for party, share in zip(raw.parties, (seed, split(codes, [Prg(seed)], spec.session_id)), strict=True):
        party.submit(Submission(spec, share), raw.deadline)
    for index, party in enumerate(raw.parties):
        with pytest.raises(InputOutOfRange, match="no picture") as caught:
            party.fetch(spec.session_id, raw.deadline, lambda *_: None)
        assert caught.value.origin == f"party{index}"
    with Client.from_config(cluster.client_config) as client:
        assert client.infer(tiny_pictures.images[0]).label


@pytest.mark.parametrize("reveal", [Disclosure(), Disclosure.label()], ids=str)
def test_an_answer_behind_a_value_out_of_range_is_refused(
    tiny_model: VisionTransformer, tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path, reveal: Disclosure
) -> None:
    """A model whose ranges are too small: the parties compute, and the client does not believe them."""
    exported = export_vit(tiny_model, make_images(TINY, 64), Precision(guards=True), reveal)
    description = replace(ModelFolder.load(tiny_folder).description, reveal=reveal)
    ModelFolder(description, tampered(exported.program), exported.weights).save(tmp_path / "model")
    with make_cluster(tmp_path / "model", tmp_path) as running, Client.from_config(running.client_config) as client:
        for image in tiny_pictures.images[:3]:
            with pytest.raises(AnswerOutOfRange, match="digests"):
                client.infer(image)


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


def test_one_client_holds_so_many_sessions(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """Beyond that QUOTA at once; when they end there is room again."""
    with make_cluster(tiny_folder, tmp_path, limits={"client_sessions": 3}) as running:
        raw = Raw(running)
        waiting = [raw.spec() for _ in range(3)]
        for spec in waiting:
            raw.parties[0].submit(Submission(spec, bytes(32)), raw.deadline)
        with pytest.raises(QuotaExceeded, match=r"3 sessions of 'demo\.client'"):
            raw.parties[0].submit(Submission(raw.spec(), bytes(32)), raw.deadline)
        for spec in waiting:
            raw.parties[0].cancel(spec.session_id)
            with pytest.raises(SessionCancelled):
                raw.parties[0].fetch(spec.session_id, raw.deadline, lambda *_: None)
        with Client.from_config(running.client_config) as client:
            assert client.infer(tiny_pictures.images[0]).label in tiny_pictures.classes


def test_clients_beyond_the_queue_are_told_at_once(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """Whatever order shares arrive in: each is answered, or OVERLOADED with a time to come back; none is lost."""
    limits = {"sessions": 2, "queue": 3, "client_sessions": 40}
    with make_cluster(tiny_folder, tmp_path, limits=limits) as running:

        def infer(number: int) -> str:
            time.sleep(0.002 * number)
            with Client.from_config(running.client_config) as client:
                try:
                    return client.infer(tiny_pictures.images[number % 4], deadline_s=60).label
                except Overloaded as error:
                    return f"{error.reason}, again in {error.retry_after_s:g} s"

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(infer, range(16)))
        assert set(answers) <= {*tiny_pictures.classes, "OVERLOADED, again in 1 s"}
        assert sum(answer in tiny_pictures.classes for answer in answers) >= 5
        with Client.from_config(running.client_config) as client:
            assert client.infer(tiny_pictures.images[0]).label in tiny_pictures.classes


@pytest.mark.parametrize("late", [0, 1])
def test_shares_that_arrive_apart_are_served(cluster: LocalCluster, tiny_pictures: ImageSet, late: int) -> None:
    """Five sessions, whose shares reach one party first, and the other later in the opposite order."""
    raw = Raw(cluster)
    specs = [raw.spec() for _ in range(5)]
    submissions = [raw.shares(spec, tiny_pictures.images[0]) for spec in specs]
    for index, order in ((1 - late, submissions), (late, submissions[::-1])):
        for both in order:
            raw.parties[index].submit(both[index], raw.deadline)
        time.sleep(0.3)
    for spec in specs:
        for party in raw.parties:
            result, _ = party.fetch(spec.session_id, raw.deadline, lambda *_: None)
            assert len(result.codes)


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
    ended = {"event": "session failed: SESSION_CANCELLED", "session": spec.session_id.hex()}
    while not any(ended.items() <= json.loads(line).items() for line in cluster.log("party1").splitlines()):
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
        self._sockets = [self._listener]

    def __enter__(self) -> Tap:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):  # not connected any more
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                try:
                    far = socket.create_connection(self._target)
                except OSError:  # not up yet; who called will call again
                    near.close()
                    continue
                self._sockets.append(far)
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
    from mpcvit.wire.v1 import dealer_pb2, dealer_pb2_grpc, peer_pb2, peer_pb2_grpc
    from tests.support.channels import secure_channel

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
    lines = [json.loads(line) for role in cluster.roles for line in cluster.log(role).splitlines()]
    assert any("is ready" in line["event"] for line in lines)
    # numbers that are no times: when something was and how long it took is any number sooner or later
    said = json.dumps([{key: value for key, value in line.items() if key != "time"} for line in lines])
    decimals = np.array([float(found) for found in re.findall(r"-?\d+\.\d+(?!\d| s\b)", said)])
    assert not [value for value in answer.logits if np.any(np.abs(decimals - value) < 1e-3)]
    # whole numbers: sessions' random names in hex hold any four digits sooner or later
    numbers = set(re.findall(r"(?<![\w.])-?\d+(?!\w)", said))
    assert not [code for code in np.unique(codes[np.abs(codes) > 1000]) if str(code) in numbers]
