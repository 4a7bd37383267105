"""Clients that replay, half-open, flood, dawdle, lie about sizes, or share garbage."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import yaml

from mpcvit.client import Client, ClientSettings, Submission
from mpcvit.client.image import encode_picture
from mpcvit.client.transport import GrpcParty
from mpcvit.errors import InputError, MpcvitError
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import split
from mpcvit.wire import OLDEST_CLIENT_VERSION, PROTOCOL_VERSION
from mpcvit.wire.client_versions import manifest_digest_for
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.v1 import inference_pb2, inference_pb2_grpc
from parties.local.cluster import CLIENT_ROLE
from tests.support.channels import secure_channel
from tests.support.clusters import TIMEOUTS
from tests.support.deployment import Deployment, Outcome
from tests.support.raw_client import Raw
from tests.support.reliability import Case


def _run(raw: Raw, deployment: Deployment) -> bytes:
    """A whole session; its id."""
    spec = raw.spec()
    for party, submission in zip(raw.parties, raw.shares(spec, deployment.pictures[0]), strict=True):
        party.submit(submission, raw.deadline)
    for party in raw.parties:
        party.fetch(spec.session_id, raw.deadline, lambda *_: None)
    return bytes(spec.session_id)


def _end(raw: Raw, party: int, session_id: bytes) -> tuple[MpcvitError, float]:
    """How a session ended that cannot succeed, and after how long."""
    start = time.monotonic()
    with pytest.raises(MpcvitError) as caught:
        raw.parties[party].fetch(session_id, raw.deadline, lambda *_: None)
    return caught.value, time.monotonic() - start


@pytest.mark.case(10, "a client hands in a session id again", "SESSION_REPLAYED, also after the parties restart")
def test_10_replayed_session(deployment: Deployment, case: Case) -> None:
    raw = Raw(deployment.cluster)
    session_id = _run(raw, deployment)
    for restarted in (False, True):
        if restarted:
            for role in ("party0", "party1"):
                deployment.cluster.processes[role].terminate()
                deployment.cluster.processes[role].wait(timeout=60)
            deployment.recover()
        raw = Raw(deployment.cluster)
        spec = raw.spec(session_id=session_id)
        errors = []
        for party, submission in zip(raw.parties, raw.shares(spec, deployment.pictures[0]), strict=True):
            try:
                party.submit(submission, raw.deadline)
                party.fetch(session_id, raw.deadline, lambda *_: None)
            except MpcvitError as error:
                errors.append(error.reason)
        case.saw(f"{'after a restart' if restarted else 'at once'}: {', '.join(errors)}")
        assert errors == ["SESSION_REPLAYED"] * 2


@pytest.mark.case(23, "a client fetches or cancels another's session", "PERMISSION_DENIED; the session goes on")
def test_23_another_client_s_session(deployment: Deployment, case: Case) -> None:
    settings = ClientSettings.read(deployment.cluster.client_config)
    raw = Raw(deployment.cluster)
    files = deployment.issue("mallory.client")
    others = [GrpcParty(address, files, f"party{i}") for i, address in enumerate(settings.parties)]
    deployment.links["party0-party1"].set(delay_s=0.05)
    spec = raw.spec()
    for party, submission in zip(raw.parties, raw.shares(spec, deployment.pictures[0]), strict=True):
        party.submit(submission, raw.deadline)
    for party in others:
        party.cancel(spec.session_id)  # says nothing; must do nothing
        with pytest.raises(MpcvitError) as caught:
            party.fetch(spec.session_id, raw.deadline, lambda *_: None)
        case.saw(caught.value.reason)
        assert caught.value.status in {"PERMISSION_DENIED", "NOT_FOUND"}
        party.close()
    for party in raw.parties:
        party.fetch(spec.session_id, raw.deadline, lambda *_: None)
    case.saw("the owner got the answer")


@pytest.mark.case(
    25, "uploads larger than a share, or than a message", "refused before they are stored; memory bounded"
)
def test_25_oversized_uploads(deployment: Deployment, case: Case) -> None:
    raw = Raw(deployment.cluster)
    before = deployment.usage()
    address = ClientSettings.read(deployment.cluster.client_config).parties[1]
    files = TlsFiles.in_folder(deployment.folder / "tls", CLIENT_ROLE)
    spec = raw.spec()
    size = 8 * int(np.prod(spec.input_shape))

    def endless(announced: int) -> Iterator[inference_pb2.SubmitShareRequest]:
        yield inference_pb2.SubmitShareRequest(
            header=inference_pb2.ShareHeader(spec=raw.spec(), masked_bytes=announced)
        )
        for _ in range(400):
            yield inference_pb2.SubmitShareRequest(chunk=bytes(1 << 20))

    long_name = raw.spec(model_name="x" * 100_000)
    large = inference_pb2.SubmitShareRequest(chunk=bytes(6 << 20))
    with secure_channel(address, files, "party1") as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        uploads = {
            "more than announced": endless(size),
            "announced too much": endless(1 << 40),
            "a long name": iter(
                [inference_pb2.SubmitShareRequest(header=inference_pb2.ShareHeader(spec=long_name, seed=bytes(32)))]
            ),
            "a large message": iter([large]),
        }
        for kind, upload in uploads.items():
            with pytest.raises(grpc.RpcError) as caught:
                stub.SubmitShare(upload, timeout=20)
            error = from_rpc_error(caught.value, "party1")
            case.saw(f"{kind}: {error.reason}")
            assert error.reason in {"INPUT_TOO_LARGE", "INVALID_SHARE", "MODEL_MISMATCH", "PEER_LOST"}
    grown = max(now.resident_mib - before[role].resident_mib for role, now in deployment.usage().items())
    case.saw(f"{max(grown, 0):.0f} MiB more memory")
    assert grown < 100


@pytest.mark.case(26, "one client floods with half sessions", "capped; others are served; nothing of value is held")
def test_26_half_open_flood(deployment: Deployment, case: Case) -> None:
    raw = Raw(deployment.cluster, deployment.issue("mallory.client"))
    used = deployment.burned_material("party0") | deployment.burned_material("party1")
    refused: list[str] = []
    stop = threading.Event()
    template = raw.spec()

    def flood() -> None:
        while not stop.is_set():
            template.session_id = secrets.token_bytes(16)
            try:
                raw.parties[0].submit(Submission(template, bytes(32)), time.monotonic() + 5)
            except MpcvitError as error:
                refused.append(error.reason)
            time.sleep(0.01)

    with Client.from_config(deployment.client_of("bob")) as other:
        attacker = threading.Thread(target=flood)
        attacker.start()
        try:
            time.sleep(1)
            outcomes = [deployment.attempt(deadline_s=20, client=other) for _ in range(4)]
        finally:
            stop.set()
            attacker.join()
    case.saw(f"others: {', '.join(map(str, outcomes))}; refused: {', '.join(sorted(set(refused))) or 'none'}")
    assert [outcome.reason for outcome in outcomes] == ["right"] * 4
    assert set(refused) <= {"OVERLOADED", "QUOTA"}
    assert refused
    new = (deployment.burned_material("party0") | deployment.burned_material("party1")) - used
    assert len(new) <= len(outcomes) + 2
    time.sleep(TIMEOUTS["pair_s"])  # then the halves have expired


@pytest.mark.case(27, "an upload that stops half-way", "ended by op_s; others are served meanwhile")
def test_27_slow_upload(deployment: Deployment, case: Case) -> None:
    raw = Raw(deployment.cluster)
    address = ClientSettings.read(deployment.cluster.client_config).parties[1]
    files = TlsFiles.in_folder(deployment.folder / "tls", CLIENT_ROLE)
    spec = raw.spec()
    stop = threading.Event()

    def dawdle() -> Iterator[inference_pb2.SubmitShareRequest]:
        size = 8 * int(np.prod(spec.input_shape))
        yield inference_pb2.SubmitShareRequest(header=inference_pb2.ShareHeader(spec=spec, masked_bytes=size))
        yield inference_pb2.SubmitShareRequest(chunk=bytes(8))
        stop.wait(60)

    start = time.monotonic()
    with secure_channel(address, files, "party1") as channel:
        call = inference_pb2_grpc.InferenceServiceStub(channel).SubmitShare.future(dawdle(), timeout=60)
        meanwhile = deployment.attempt()
        error = call.exception()
        stop.set()
    seconds = time.monotonic() - start
    case.saw(f"{error.code().name} after {seconds:.1f} s; meanwhile {meanwhile}")
    assert meanwhile.reason == "right"
    case.within(seconds, TIMEOUTS["op_s"] + 2)


@pytest.mark.case(27, "a client goes away in mid-session", "cancelled at both parties within 2 s")
def test_27_client_goes_away(deployment: Deployment, case: Case) -> None:
    deployment.links["party0-party1"].set(delay_s=0.3)
    raw = Raw(deployment.cluster)
    spec = raw.spec()
    for party, submission in zip(raw.parties, raw.shares(spec, deployment.pictures[0]), strict=True):
        party.submit(submission, raw.deadline)
    online = threading.Event()

    def follow(party: GrpcParty) -> None:
        with contextlib.suppress(Exception):  # whatever a closed channel raises
            party.fetch(spec.session_id, raw.deadline, lambda phase, *_: phase == "online" and online.set())

    threads = [threading.Thread(target=follow, args=(party,)) for party in raw.parties]
    for thread in threads:
        thread.start()
    assert online.wait(10)
    start = time.monotonic()
    for party in raw.parties:
        party.close()
    for thread in threads:
        thread.join()
    while {deployment.ledger(role).get(spec.session_id.hex()) for role in ("party0", "party1")} & {"open", "done"}:
        assert time.monotonic() < start + 10
        time.sleep(0.05)
    seconds = time.monotonic() - start
    states = [deployment.ledger(role).get(spec.session_id.hex()) for role in ("party0", "party1")]
    case.saw(f"{' and '.join(map(str, states))} after {seconds:.1f} s")
    case.within(seconds, 2)


@pytest.mark.case(28, "NaN, infinite or misplaced pixels", "the SDK refuses; nothing leaves the client")
def test_28_bad_pictures(deployment: Deployment, case: Case) -> None:
    bad = [
        np.full((3, 8, 8), np.nan),
        np.full((3, 8, 8), np.inf),
        np.full((3, 8, 8), 1e9),
        np.zeros((9, 9, 3), np.uint8),
    ]
    with Client.from_config(deployment.cluster.client_config) as client:
        client.models()
        before = [link.passed() for name, link in deployment.links.items() if name.startswith("client-")]
        for picture in bad:
            for normalised in (False, True):
                with pytest.raises(InputError):
                    client.infer(picture, normalised=normalised)
        after = [link.passed() for name, link in deployment.links.items() if name.startswith("client-")]
    sent = sum(late[0] - early[0] for early, late in zip(before, after, strict=True))
    case.saw(f"{2 * len(bad)} refused; {sent} bytes sent meanwhile, all connections together")
    assert sent < 1536  # a picture of the smallest model's size as codes


@pytest.mark.case(28, "a hostile client shares what is no picture", "that client alone gets an error")
@pytest.mark.parametrize("wrong", [256, -(2**63)])
def test_28_garbage_share(deployment: Deployment, case: Case, wrong: int) -> None:
    raw = Raw(deployment.cluster, deployment.issue(f"mallory{wrong}.client"))
    spec = raw.spec()
    codes = encode_picture(deployment.pictures[0], raw.parties[0].manifests(raw.deadline)[0])
    codes[0, 0, 0] = wrong
    seed = secrets.token_bytes(32)
    for party, share in zip(raw.parties, (seed, split(codes, [Prg(seed)], spec.session_id)), strict=True):
        party.submit(Submission(spec, share), raw.deadline)
    for party in (0, 1):
        error, _ = _end(raw, party, spec.session_id)
        case.saw(error.reason)
        assert error.reason == "INPUT_OUT_OF_RANGE"


@pytest.mark.case(30, "a client hands in constant shares", "others are not concerned; the SDK's own shares are uniform")
def test_30_constant_share(deployment: Deployment, case: Case) -> None:
    raw = Raw(deployment.cluster, deployment.issue("careless.client"))
    spec = raw.spec()
    shape = tuple(spec.input_shape)
    for party, share in zip(raw.parties, (bytes(32), np.zeros(shape, np.int64)), strict=True):
        party.submit(Submission(spec, share), raw.deadline)
    reasons = {_end(raw, party, spec.session_id)[0].reason for party in (0, 1)}
    case.saw(f"constant: {', '.join(reasons)}")
    manifest = raw.parties[0].manifests(raw.deadline)[0]
    codes = encode_picture(np.zeros((*shape[1:], 3), np.uint8), manifest)
    shares = [split(codes, [Prg(secrets.token_bytes(32))], secrets.token_bytes(16)) for _ in range(200)]
    counts = np.bincount(np.stack(shares).view(np.uint8).reshape(-1), minlength=256)
    expected = counts.sum() / 256
    chi2 = float(((counts - expected) ** 2 / expected).sum())  # 255 degrees of freedom: above 400 once in 10^8
    case.saw(f"chi-square of 256 byte values {chi2:.0f}")
    assert chi2 < 400


@pytest.mark.case(24, "a client certificate of another authority", "refused; others are served")
def test_24_unknown_client(deployment: Deployment, case: Case) -> None:
    outcomes: list[Outcome] = []
    with Client.from_config(deployment.stranger()) as client:
        outcomes.append(deployment.attempt(client=client, deadline_s=10))
    case.saw(outcomes[0])
    assert outcomes[0].reason == "NOT_AUTHENTICATED"
    case.within(outcomes[0].seconds, 2)


@pytest.mark.case(24, "a client asks more than its quota allows", "QUOTA at once; others are served as before")
def test_24_quota(own_deployment: Deployment, case: Case) -> None:
    quotas = {"default": {}, "clients": {"bob.client": {"requests_per_s": 0.1, "burst": 2}}}
    (own_deployment.folder / "tenants.yaml").write_text(yaml.safe_dump(quotas))
    for role in ("party0", "party1"):
        own_deployment.configure(role, tenants="tenants.yaml")
    own_deployment.restart("party0", "party1")
    own_deployment.require_recovery()
    with Client.from_config(own_deployment.client_of("bob")) as bob:
        asked = [own_deployment.attempt(client=bob, deadline_s=20) for _ in range(5)]
    others = [own_deployment.attempt(deadline_s=20) for _ in range(3)]
    case.saw(f"{', '.join(map(str, asked))}; another client: {', '.join(map(str, others))}")
    assert [outcome.reason for outcome in asked].count("QUOTA") >= 2
    assert {outcome.reason for outcome in asked} <= {"right", "QUOTA"}
    assert {outcome.reason for outcome in others} == {"right"}


@pytest.mark.case(18, "a client of another protocol version", "the last version is served; others get VERSION_SKEW")
@pytest.mark.parametrize("step", [-1, 1, -2], ids=["N-1", "N+1", "N-2"])
def test_18_client_version(deployment: Deployment, case: Case, step: int) -> None:
    raw = Raw(deployment.cluster)
    version = PROTOCOL_VERSION + step
    manifest = raw.parties[0].manifests(raw.deadline)[0]
    spec = raw.spec(protocol_version=version, manifest_sha256=manifest_digest_for(version, manifest))
    try:
        for party, submission in zip(raw.parties, raw.shares(spec, deployment.pictures[0]), strict=True):
            party.submit(submission, raw.deadline)
        for party in raw.parties:
            party.fetch(spec.session_id, raw.deadline, lambda *_: None)
        seen = "right"
    except MpcvitError as error:
        seen = error.reason
    case.saw(seen)
    served = OLDEST_CLIENT_VERSION <= spec.protocol_version <= PROTOCOL_VERSION
    assert seen == ("right" if served else "VERSION_SKEW")
