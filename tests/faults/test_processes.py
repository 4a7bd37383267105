"""Processes that die, stop, or are told to stop."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mpcvit import zoo
from tests.faults.conftest import keep_output
from tests.support.clusters import TIMEOUTS
from tests.support.deployment import PARTIES, Deployment, Outcome
from tests.support.reliability import Case
from tests.support.tcp_proxy import TcpProxy

LOST = {"PEER_LOST", "PEER_TIMEOUT"}
NO_DEALER = {"MATERIAL_EXHAUSTED", "DEALER_LOST"}


def _slow(deployment: Deployment) -> None:
    """Make sessions last seconds, so that a fault comes in their middle."""
    deployment.links["party0-party1"].set(delay_s=0.05)


def _use_up_the_pool(deployment: Deployment, most: int = 12) -> Outcome:
    """Ask until there is no material left."""
    for _ in range(most):
        outcome = deployment.attempt(deadline_s=30)
        if outcome.error is not None:
            return outcome
    raise AssertionError(f"{most} answers without a dealer")


def _with_signal(deployment: Deployment, role: str, number: signal.Signals) -> Outcome:
    """An attempt in which a role gets a signal a second after the beginning; seconds count from there."""
    sent_at = 0.0

    def send() -> None:
        nonlocal sent_at
        deployment.signal(role, number)
        sent_at = time.monotonic()

    timer = threading.Timer(1, send)
    timer.start()
    outcome = deployment.attempt(deadline_s=30)
    ended = time.monotonic()
    timer.join()
    return replace(outcome, seconds=ended - sent_at)


@pytest.mark.case(1, "SIGKILL of a party in mid-session", "PEER_LOST at the client within 2 s")
@pytest.mark.parametrize("role", ["party1", pytest.param("party0", marks=pytest.mark.long)])
def test_01_party_killed(deployment: Deployment, case: Case, role: str) -> None:
    _slow(deployment)
    outcome = deployment.attempt(act=lambda: deployment.signal(role, signal.SIGKILL))
    case.saw(outcome)
    assert outcome.reason == "PEER_LOST"
    case.within(outcome.seconds, 2)


@pytest.mark.case(2, "SIGSTOP of a party in mid-session", "PEER_TIMEOUT or PEER_LOST within stall_s + 2 s")
@pytest.mark.parametrize("role", ["party1", pytest.param("party0", marks=pytest.mark.long)])
def test_02_party_stopped(deployment: Deployment, case: Case, role: str) -> None:
    _slow(deployment)
    outcome = deployment.attempt(act=lambda: deployment.signal(role, signal.SIGSTOP))
    case.saw(outcome)
    assert outcome.reason in LOST
    case.within(outcome.seconds, TIMEOUTS["stall_s"] + 2)


@pytest.mark.case(2, "a request while a party is stopped", "PEER_TIMEOUT or PEER_LOST within stall_s + 2 s")
@pytest.mark.parametrize("role", ["party1", pytest.param("party0", marks=pytest.mark.long)])
def test_02_party_stopped_before(deployment: Deployment, case: Case, role: str) -> None:
    deployment.signal(role, signal.SIGSTOP)
    outcome = deployment.attempt()
    case.saw(outcome)
    assert outcome.reason in LOST
    case.within(outcome.seconds, TIMEOUTS["stall_s"] + 2)


@pytest.mark.case(
    3, "SIGKILL of the idle dealer", "not ready; pooled material serves, then MATERIAL_EXHAUSTED or DEALER_LOST"
)
def test_03_dealer_killed_while_idle(deployment: Deployment, case: Case) -> None:
    time.sleep(3)  # until the pool is full
    deployment.signal("dealer", signal.SIGKILL)
    first = deployment.attempt()
    case.saw(f"pooled: {first}")
    assert first.reason == "right"
    last = _use_up_the_pool(deployment)
    case.saw(f"then {last}")
    assert last.reason in NO_DEALER
    case.within(last.seconds, TIMEOUTS["stall_s"] + 2)
    end = time.monotonic() + TIMEOUTS["stall_s"] + 2
    while ready := [role for role in ("party0", "party1") if deployment.ready(role)]:
        assert time.monotonic() < end, ready
        time.sleep(0.2)
    case.saw("nobody is ready")


@pytest.mark.long
@pytest.mark.case(4, "the dealer ends or stops while it deals", "DEALER_LOST or DEALER_TIMEOUT within stall_s + 2 s")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["SIGKILL", "SIGSTOP"])
def test_04_dealer_lost_while_it_deals(
    tmp_path: Path, proxy: TcpProxy, outputs: Path, case: Case, number: signal.Signals
) -> None:
    with Deployment(zoo.folder(zoo.DEFAULT), tmp_path / "own", proxy) as running:  # its material fills every buffer
        time.sleep(3)  # until the pool is full
        for party in PARTIES:
            running.links[f"{party}-dealer"].set(rate=2e7)  # dealing takes ten seconds and more
        assert running.attempt().error is None
        outcome = _with_signal(running, "dealer", number)
        case.saw(outcome)
        assert outcome.reason in {"DEALER_LOST", "DEALER_TIMEOUT"}
        case.within(outcome.seconds, TIMEOUTS["stall_s"] + 2)
        running.recover()
        case.saw(f"next answer in {running.require_recovery(20).seconds:.1f} s")
        running.require_single_use()
    keep_output(running, outputs)


@pytest.mark.case(34, "the dealer is killed and starts again", "new masks and leases; answers go on")
def test_34_dealer_restarts(deployment: Deployment, case: Case) -> None:
    before = set(deployment.ledger("dealer"))
    deployment.signal("dealer", signal.SIGKILL)
    deployment.cluster.start("dealer")
    deployment.cluster.wait_ready("dealer")
    outcome = deployment.require_recovery()
    case.saw(f"answers again in {outcome.seconds:.1f} s")
    for _ in range(3):
        assert deployment.require_recovery().error is None
    fresh = deployment.burned_material("party0") - before
    case.saw(f"{len(fresh)} new leases")
    assert fresh


@pytest.mark.case(37, "SIGTERM while clients ask", "exit 0 within drain_s + 2 s; typed errors at clients")
@pytest.mark.parametrize("role", ["party0", pytest.param("party1", marks=pytest.mark.long), "dealer"])
def test_37_sigterm_under_load(deployment: Deployment, case: Case, role: str) -> None:
    outcomes: list[Outcome] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            outcomes.append(deployment.attempt(deadline_s=15))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    process, start = deployment.cluster.processes[role], time.monotonic()
    process.terminate()
    try:
        code = process.wait(timeout=60)
        seconds = time.monotonic() - start
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)
    reasons = sorted({outcome.reason for outcome in outcomes})
    case.saw(f"exit {code} in {seconds:.1f} s; {len(outcomes)} requests: {', '.join(reasons)}")
    assert code == 0
    case.within(seconds, TIMEOUTS["drain_s"] + 2)
    assert "INTERNAL" not in reasons
