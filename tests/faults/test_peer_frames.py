"""A peer that does not keep to the protocol: its messages are changed on the way, with its own certificate."""

from __future__ import annotations

import copy
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpcvit.client import Client
from mpcvit.errors import MpcvitError
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.v1 import peer_pb2
from tests.faults.conftest import hold_invariants, keep_output
from tests.support.deployment import PARTIES, TOLERANCE, Deployment
from tests.support.peer_in_the_middle import OnNthFrame, PeerInTheMiddle
from tests.support.reliability import Case
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def _between(
    tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, proxy: TcpProxy, outputs: Path
) -> Iterator[tuple[Deployment, PeerInTheMiddle]]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    deployment = Deployment(tiny_folder, tmp_path_factory.mktemp("between"), proxy)
    peers = deployment.configuration("party0")["peers"]
    deployment.configure("party0", peers={1: f"127.0.0.1:{port}"})
    files = tuple(TlsFiles.in_folder(deployment.folder / "tls", f"party{index}") for index in (0, 1))
    with PeerInTheMiddle((files[0], files[1]), port, peers[1]) as middle, deployment:
        yield deployment, middle
    keep_output(deployment, outputs)


@pytest.fixture
def deployment(_between: tuple[Deployment, PeerInTheMiddle], case: Case) -> Iterator[Deployment]:
    """Parties with a hostile peer between them, honest again once the test is over."""
    running, middle = _between
    before = running.usage()
    yield running
    middle.change = lambda method, direction, message: [message]
    hold_invariants(running, before, case)


@pytest.fixture
def middle(_between: tuple[Deployment, PeerInTheMiddle]) -> PeerInTheMiddle:
    """What stands between them."""
    return _between[1]


KINDS = {"request": peer_pb2.ExchangeRequest, "answer": peer_pb2.ExchangeResponse}
BOTH = pytest.mark.parametrize("direction", list(KINDS), ids=["to party 1", "to party 0"])


def _changed(message: Any, **fields: Any) -> Any:
    changed = copy.deepcopy(message)
    for field, value in fields.items():
        setattr(changed.chunk, field, value)
    return changed


def _violation(
    deployment: Deployment,
    middle: PeerInTheMiddle,
    case: Case,
    direction: str,
    replace: Callable[[Any, Any], list[Any]],
    number: int = 4,
) -> None:
    """Require that both parties end the session because of the changed message."""
    middle.change = OnNthFrame(number, direction, KINDS[direction], replace)
    outcome = deployment.attempt(deadline_s=30)
    assert outcome.error is not None
    assert outcome.reason == "PROTOCOL_VIOLATION"
    name, end = outcome.error.session_id or "", time.monotonic() + 5
    while {"open", "done", None} & set(states := [deployment.ledger(party).get(name) for party in PARTIES]):
        assert time.monotonic() < end, states
        time.sleep(0.1)
    case.saw(f"{outcome}; in the parties' ledgers: {', '.join(map(str, states))}")


@pytest.mark.case(11, "a frame is sent again", "PROTOCOL_VIOLATION, both end the session")
@BOTH
def test_11_replayed_frame(deployment: Deployment, middle: PeerInTheMiddle, case: Case, direction: str) -> None:
    _violation(deployment, middle, case, direction, lambda last, now: [now, now])


@pytest.mark.case(12, "an old frame comes instead of the next", "PROTOCOL_VIOLATION, both end the session")
@BOTH
def test_12_old_frame(deployment: Deployment, middle: PeerInTheMiddle, case: Case, direction: str) -> None:
    _violation(deployment, middle, case, direction, lambda last, now: [last])


@pytest.mark.case(12, "a frame is left out", "PROTOCOL_VIOLATION, both end the session")
@BOTH
def test_12_missing_frame(deployment: Deployment, middle: PeerInTheMiddle, case: Case, direction: str) -> None:
    _violation(deployment, middle, case, direction, lambda last, now: [_changed(now, sequence=now.chunk.sequence + 1)])


@pytest.mark.case(
    13, "a frame is cut, or lies about its length or kind", "PROTOCOL_VIOLATION before anything is stored"
)
@pytest.mark.parametrize(
    "replace",
    [
        lambda last, now: [_changed(now, frame_bytes=len(now.chunk.payload) - 8, payload=now.chunk.payload[:-8])],
        lambda last, now: [_changed(now, frame_bytes=2**62)],
        lambda last, now: [_changed(now, frame_bytes=len(now.chunk.payload) - 1)],
        lambda last, now: [_changed(now, tag="another")],
    ],
    ids=["truncated", "huge length", "short length", "other kind"],
)
@BOTH
def test_13_lying_frame(
    deployment: Deployment, middle: PeerInTheMiddle, case: Case, direction: str, replace: Callable[[Any, Any], list]
) -> None:
    before = deployment.usage()
    _violation(deployment, middle, case, direction, replace)
    for role, now in deployment.usage().items():
        assert now.resident_mib < before[role].resident_mib + 64


@pytest.mark.case(
    15, "a party itself flips a bit", "not prevented: a wrong answer is possible; a canary picture shows it"
)
def test_15_bit_flip_by_a_party(deployment: Deployment, middle: PeerInTheMiddle, case: Case) -> None:
    def flip(last: Any, now: Any) -> list[Any]:
        payload = bytearray(now.chunk.payload)
        payload[len(payload) // 2] ^= 0x40
        return [_changed(now, payload=bytes(payload))]

    noticed = 0
    for number in range(3, 9):
        middle.change = OnNthFrame(number, "request", KINDS["request"], flip)
        with Client.from_config(deployment.cluster.client_config) as client:
            try:
                answer = client.infer(deployment.pictures[0], deadline_s=30)
            except MpcvitError as error:
                case.saw(f"frame {number}: {error.reason}")
                noticed += 1
                continue
        off = np.abs(answer.logits - deployment.right[0]).max()
        case.saw(f"frame {number}: off by {off:.3g}")
        noticed += bool(off > TOLERANCE)
    assert noticed


@pytest.mark.case(17, "another program at one party", "PROGRAM_MISMATCH, no material is used")
def test_17_other_program(deployment: Deployment, middle: PeerInTheMiddle, case: Case) -> None:
    _refused_at_opening(deployment, middle, case, "PROGRAM_MISMATCH", "program_sha256", bytes(32))


@pytest.mark.case(16, "another share set at one party", "MODEL_MISMATCH, no material is used")
def test_16_other_share_set(deployment: Deployment, middle: PeerInTheMiddle, case: Case) -> None:
    _refused_at_opening(deployment, middle, case, "MODEL_MISMATCH", "manifest_sha256", bytes(32))


def _refused_at_opening(
    deployment: Deployment, middle: PeerInTheMiddle, case: Case, reason: str, field: str, value: Any
) -> None:
    def change(method: str, direction: str, message: bytes) -> list[bytes]:
        if (method, direction) != ("OpenSession", "request"):
            return [message]
        request = peer_pb2.OpenSessionRequest.FromString(message)
        setattr(request.spec, field, value)
        return [request.SerializeToString()]

    used = deployment.burned_material("party0") | deployment.burned_material("party1")
    middle.change = change
    outcome = deployment.attempt(deadline_s=30)
    case.saw(outcome)
    assert outcome.reason == reason
    assert used == deployment.burned_material("party0") | deployment.burned_material("party1")
    case.saw("no material used")


@pytest.mark.case(18, "a peer of another protocol version", "VERSION_SKEW before anything runs")
@pytest.mark.parametrize("step", [-1, 1], ids=["N-1", "N+1"])
def test_18_peer_version(deployment: Deployment, middle: PeerInTheMiddle, case: Case, step: int) -> None:
    def change(method: str, direction: str, message: bytes) -> list[bytes]:
        if (method, direction) != ("OpenSession", "request"):
            return [message]
        request = peer_pb2.OpenSessionRequest.FromString(message)
        request.protocol_version = PROTOCOL_VERSION + step
        return [request.SerializeToString()]

    middle.change = change
    outcome = deployment.attempt(deadline_s=30)
    case.saw(outcome)
    assert outcome.reason == "VERSION_SKEW"
