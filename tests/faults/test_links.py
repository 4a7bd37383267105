"""Links that are slow, cut, held in one direction or damaged."""

from __future__ import annotations

import time

import pytest

from mpcvit.errors import MpcvitError
from tests.support.clusters import TIMEOUTS
from tests.support.deployment import Deployment
from tests.support.raw_client import Raw
from tests.support.reliability import Case
from tests.support.tcp_proxy import TO_CALLER, TO_TARGET

LOST = {"PEER_LOST", "PEER_TIMEOUT", "PEER_ABORTED"}


@pytest.mark.long
@pytest.mark.case(5, "links to the dealer at 10 KB/s", "DEALER_TIMEOUT or MATERIAL_EXHAUSTED within op_s")
def test_05_slow_dealer(deployment: Deployment, case: Case) -> None:
    for party in ("party0", "party1"):
        deployment.links[f"{party}-dealer"].set(rate=80e3)
    for _ in range(12):
        outcome = deployment.attempt(deadline_s=60)
        if outcome.error is not None:
            break
    case.saw(outcome)
    assert outcome.reason in {"DEALER_TIMEOUT", "MATERIAL_EXHAUSTED", "DEALER_LOST"}
    case.within(outcome.seconds, TIMEOUTS["op_s"] + 2)


@pytest.mark.case("5a", "links to the dealer at 5 Mbit/s", "answers, only later")
def test_05a_material_over_a_slow_link(deployment: Deployment, case: Case) -> None:
    for party in ("party0", "party1"):
        deployment.links[f"{party}-dealer"].set(rate=5e6)
    for _ in range(5):
        outcome = deployment.attempt(deadline_s=30)
        assert outcome.error is None, outcome
    case.saw(f"five answers, the last {outcome}")


@pytest.mark.case(6, "partition between the parties in mid-session", "typed within stall_s + 2 s; heals by itself")
def test_06_partition(deployment: Deployment, case: Case) -> None:
    deployment.links["party0-party1"].set(delay_s=0.05)
    outcome = deployment.attempt(act=lambda: deployment.partition("party0", "party1"))
    case.saw(outcome)
    assert outcome.reason in LOST
    case.within(outcome.seconds, TIMEOUTS["stall_s"] + 2)


@pytest.mark.case(7, "nothing arrives one way between the parties", "typed within stall_s + 2 s, at both")
@pytest.mark.parametrize("way", [TO_TARGET, pytest.param(TO_CALLER, marks=pytest.mark.long)])
def test_07_one_way_partition(deployment: Deployment, case: Case, way: str) -> None:
    deployment.links["party0-party1"].set(delay_s=0.05)
    outcome = deployment.attempt(act=lambda: deployment.partition("party0", "party1", ways=(way,)))
    case.saw(outcome)
    assert outcome.reason in LOST
    case.within(outcome.seconds, TIMEOUTS["stall_s"] + 2)


@pytest.mark.case(8, "the client reaches one party only", "SESSION_EXPIRED at pair_s; no material is used")
@pytest.mark.parametrize("reached", [0, 1], ids=["party 0", "party 1"])
def test_08_share_at_one_party(deployment: Deployment, case: Case, reached: int) -> None:
    raw = Raw(deployment.cluster)
    spec = raw.spec()
    used = deployment.burned_material("party0") | deployment.burned_material("party1")
    raw.parties[reached].submit(raw.shares(spec, deployment.pictures[0])[reached], raw.deadline)
    start = time.monotonic()
    with pytest.raises(MpcvitError) as caught:
        raw.parties[reached].fetch(spec.session_id, raw.deadline, lambda *_: None)
    seconds = time.monotonic() - start
    case.saw(f"{caught.value.reason} after {seconds:.1f} s")
    assert caught.value.reason == "SESSION_EXPIRED"
    case.within(seconds, TIMEOUTS["pair_s"] + 2)
    assert used == deployment.burned_material("party0") | deployment.burned_material("party1")
    case.saw("no material used")


@pytest.mark.case(8, "the link from the client to party 1 is held", "typed within the client's deadline")
def test_08_client_is_cut_off(deployment: Deployment, case: Case) -> None:
    deployment.links["client-party1"].hold()
    outcome = deployment.attempt(deadline_s=8)
    case.saw(outcome)
    assert outcome.reason in {"PEER_TIMEOUT", "PEER_LOST", "SESSION_EXPIRED"}
    case.within(outcome.seconds, 8 + 1)


@pytest.mark.case(9, "a request from the client to party 0 is lost", "typed; a retry is a new session")
def test_09_lost_request(deployment: Deployment, case: Case) -> None:
    deployment.links["client-party0"].hold(TO_TARGET)
    outcome = deployment.attempt(deadline_s=5)
    case.saw(outcome)
    assert outcome.reason in {"PEER_TIMEOUT", "PEER_LOST"}
    case.within(outcome.seconds, 5 + 1)


@pytest.mark.case(9, "party 0's answer to the client is lost", "typed; the session stays burned, a retry is a new one")
def test_09_lost_answer(deployment: Deployment, case: Case) -> None:
    before = set(deployment.ledger("party0"))
    deployment.links["party0-party1"].set(delay_s=0.05)
    outcome = deployment.attempt(deadline_s=5, act=lambda: deployment.links["client-party0"].hold(TO_CALLER))
    case.saw(outcome)
    assert outcome.reason in {"PEER_TIMEOUT", "PEER_LOST"}
    case.within(outcome.seconds, 5 + 1)
    deployment.recover()
    deployment.require_recovery()
    burned = [name for name in set(deployment.ledger("party0")) - before if "/" not in name]
    assert len(burned) >= 2
    case.saw(f"{len(burned)} sessions burned, each once")


@pytest.mark.case(14, "a bit flips below TLS between the parties", "the connection ends: PEER_LOST; no wrong answer")
def test_14_bit_flip_below_tls(deployment: Deployment, case: Case) -> None:
    deployment.links["party0-party1"].set(delay_s=0.05)
    outcome = deployment.attempt(act=lambda: deployment.links["party0-party1"].set(flip_at=200))
    case.saw(outcome)
    assert outcome.reason in LOST
    case.within(outcome.seconds, 2)


@pytest.mark.case("14a", "a connection is reset in mid-session", "PEER_LOST within 2 s")
@pytest.mark.parametrize("link", ["party0-party1", "client-party0", "client-party1"])
def test_14a_reset(deployment: Deployment, case: Case, link: str) -> None:
    deployment.links["party0-party1"].set(delay_s=0.05)
    outcome = deployment.attempt(act=deployment.links[link].reset)
    case.saw(outcome)
    assert outcome.reason in LOST
    case.within(outcome.seconds, 2)


@pytest.mark.case("14b", "the link between the parties is cut after some bytes", "PEER_LOST within 2 s")
def test_14b_cut(deployment: Deployment, case: Case) -> None:
    deployment.links["party0-party1"].set(delay_s=0.05)
    outcome = deployment.attempt(act=lambda: deployment.links["party0-party1"].set(cut_after=2000))
    case.saw(outcome)
    assert outcome.reason in LOST
    case.within(outcome.seconds, 2)
