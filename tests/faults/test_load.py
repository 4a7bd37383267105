"""Many clients at once, hostile ones among them, and what failures leave in memory."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from mpcvit import zoo
from mpcvit.client import Client, Submission
from mpcvit.errors import MpcvitError
from mpcvit.wire.tls import OPTIONS, TlsFiles
from parties.local.cluster import CLIENT_ROLE
from tests.faults.conftest import hold_invariants, keep_output
from tests.support.channels import secure_channel
from tests.support.clusters import TIMEOUTS
from tests.support.deployment import PARTIES, SLACK, Deployment, Outcome
from tests.support.raw_client import Raw
from tests.support.reliability import Case
from tests.support.tcp_proxy import TcpProxy

#: Sessions that a client may spoil before it has to wait.
_FAULTS = 3


def _together(count: int, ask: Callable[[int], Outcome]) -> list[Outcome]:
    """``ask`` in so many threads at once."""
    outcomes: list[Outcome] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        outcomes.append(ask(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def _summary(outcomes: list[Outcome]) -> str:
    reasons = Counter(outcome.reason for outcome in outcomes)
    slowest = max(outcome.seconds for outcome in outcomes)
    return f"{', '.join(f'{count} {reason}' for reason, count in reasons.items())}; the slowest {slowest:.1f} s"


def _closed_loop(deployment: Deployment, clients: int, seconds: float) -> list[Outcome]:
    """Outcomes of so many clients, each of which asks again as soon as it has its answer."""
    outcomes: list[Outcome] = []
    end = time.monotonic() + seconds

    def ask(number: int) -> Outcome:
        with Client.from_config(deployment.cluster.client_config) as client:
            while True:
                outcomes.append(deployment.attempt(number % 4, client=client, deadline_s=60))
                if time.monotonic() > end:
                    return outcomes[-1]

    _together(clients, ask)
    return outcomes


@pytest.fixture(scope="module")
def _loaded(
    tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, proxy: TcpProxy, outputs: Path
) -> Iterator[Deployment]:
    limits = {"sessions": 2, "queue": 30, "client_sessions": 60}
    with Deployment(tiny_folder, tmp_path_factory.mktemp("loaded"), proxy, limits=limits) as running:
        yield running
    keep_output(running, outputs)


@pytest.fixture
def loaded(_loaded: Deployment, case: Case) -> Iterator[Deployment]:
    """Parties with room for 32 sessions."""
    before = _loaded.usage()
    yield _loaded
    hold_invariants(_loaded, before, case, threads=2 * 256)  # both servers' pools keep what they once needed


@pytest.mark.case("R1", "8 clients ask again and again for 60 s", "no error")
@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.long)])
def test_r1_eight_clients(loaded: Deployment, case: Case, seconds: int) -> None:
    outcomes = _closed_loop(loaded, 8, seconds)
    case.saw(_summary(outcomes))
    assert {outcome.reason for outcome in outcomes} == {"right"}


@pytest.mark.case(
    "R2", "clients that are equal ask at once", "16: all right, p99 <= 16 times one's; 40: right or OVERLOADED"
)
@pytest.mark.parametrize("clients", [16, 40])
def test_r2_bursts(loaded: Deployment, case: Case, clients: int) -> None:
    before = loaded.usage()
    with ExitStack() as stack:
        asking = [stack.enter_context(Client.from_config(loaded.cluster.client_config)) for _ in range(clients)]
        for client in asking:
            client.models()
        alone = float(np.median([loaded.attempt(client=asking[0]).seconds for _ in range(5)]))
        outcomes = _together(clients, lambda number: loaded.attempt(number % 4, deadline_s=60, client=asking[number]))
    case.saw(f"one alone {alone:.2f} s; {_summary(outcomes)}")
    reasons = Counter(outcome.reason for outcome in outcomes)
    assert len(outcomes) == clients
    assert set(reasons) <= {"right", "OVERLOADED"}
    assert reasons["right"] >= min(clients, 32)
    for outcome in outcomes:
        if outcome.reason == "OVERLOADED":
            case.within(outcome.seconds, 1)
    time.sleep(1)
    after = loaded.usage()
    grown = {role: after[role].resident_mib / before[role].resident_mib - 1 for role in PARTIES}
    case.saw(", ".join(f"{role} {share:+.0%}" for role, share in grown.items()))
    case.late = case.late or max(grown.values()) > 0.1
    assert max(grown.values()) < 0.3
    if clients == 16:
        case.late = case.late or max(outcome.seconds for outcome in outcomes) > 16 * alone


@pytest.mark.case("R3", "shares reach the parties in opposite orders", "all are served")
def test_r3_staggered_arrivals(loaded: Deployment, case: Case) -> None:
    raw = Raw(loaded.cluster)
    template = raw.spec()
    specs = [type(template).FromString(template.SerializeToString()) for _ in range(12)]
    for spec in specs:
        spec.session_id = secrets.token_bytes(16)
    shares = [raw.shares(spec, loaded.pictures[0]) for spec in specs]
    start = time.monotonic()
    for first, last in zip(shares, reversed(shares), strict=True):
        raw.parties[0].submit(first[0], raw.deadline)
        raw.parties[1].submit(last[1], raw.deadline)
        time.sleep(0.05)
    for spec in specs:
        for party in raw.parties:
            party.fetch(spec.session_id, raw.deadline, lambda *_: None)
    case.saw(f"{len(specs)} served in {time.monotonic() - start:.1f} s")


@pytest.mark.case("R4", "sessions fail in their middle", "memory and descriptors stay as they are")
@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.long)])
def test_r4_failed_sessions_leave_nothing(loaded: Deployment, case: Case, count: int) -> None:
    def fail(client: TlsFiles) -> None:
        raw = Raw(loaded.cluster, client)
        spec = raw.spec()
        wrong = np.full(tuple(spec.input_shape), 1 << 40)
        for party, share in zip(raw.parties, (bytes(32), wrong), strict=True):
            party.submit(Submission(spec, share), raw.deadline)
        for party in raw.parties:
            with pytest.raises(MpcvitError):
                party.fetch(spec.session_id, raw.deadline, lambda *_: None)
            party.close()

    each = _FAULTS  # one alone has to wait then
    clients = [loaded.issue(f"clumsy{count}-{number}.client") for number in range(1 + -(-count // each))]
    for _ in range(each):
        fail(clients[-1])
    before = loaded.usage()
    for number in range(count):
        fail(clients[number // each])
    time.sleep(2)
    grown = {role: now.resident_mib - before[role].resident_mib for role, now in loaded.usage().items()}
    case.saw(", ".join(f"{role} {mib:+.0f} MiB" for role, mib in grown.items()))
    assert max(grown.values()) < 60 + 0.2 * count
    loaded.require_no_leak(before, threads=max(SLACK, count // 4))  # far from one for each


@pytest.mark.case("R5", "a party is gone while the others go on", "the memory of dealer and other party stays as it is")
@pytest.mark.parametrize("seconds", [15, pytest.param(300, marks=pytest.mark.long)])
def test_r5_a_party_is_gone(loaded: Deployment, case: Case, seconds: int) -> None:
    loaded.cluster.processes["party1"].kill()
    loaded.cluster.processes["party1"].wait()
    time.sleep(5)
    before = loaded.usage()
    time.sleep(seconds)
    grown = {role: now.resident_mib - before[role].resident_mib for role, now in loaded.usage().items()}
    case.saw(f"in {seconds} s: " + ", ".join(f"{role} {mib:+.0f} MiB" for role, mib in grown.items()))
    assert max(grown.values()) < 50


def _silent_calls(stack: ExitStack, address: str, role: str, files: TlsFiles | None, method: str, count: int) -> None:
    """Open calls that never send their first message; some servers end them, that is their right."""
    if files is None:  # on a connection of its own: that is what tells callers without certificates apart
        options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        channel: Any = stack.enter_context(grpc.insecure_channel(address, options=options))
    else:
        channel = stack.enter_context(secure_channel(address, files, role))
    over = threading.Event()
    stack.callback(over.set)

    def silence() -> Iterator[bytes]:
        over.wait()
        yield from ()

    call = channel.stream_stream(method)
    for _ in range(count):
        stack.callback(call(silence()).cancel)


@pytest.mark.case("R6", "100 calls at every port that say nothing", "others are served meanwhile; ready all the time")
def test_r6_silent_calls(loaded: Deployment, case: Case) -> None:
    client = TlsFiles.in_folder(loaded.folder / "tls", CLIENT_ROLE)
    with ExitStack() as stack:
        for number, role in enumerate(PARTIES):
            listen = loaded.configuration(role)["listen"]
            peer = TlsFiles.in_folder(loaded.folder / "tls", f"party{1 - number}")
            _silent_calls(stack, listen["client"], role, client, "/mpcvit.v1.InferenceService/SubmitShare", 100)
            _silent_calls(stack, listen["client"], role, client, "/mpcvit.v1.InferenceService/ListModels", 100)
            for files in (client, peer):
                _silent_calls(stack, listen["peer"], role, files, "/mpcvit.v1.PeerService/Exchange", 100)
            _silent_calls(stack, listen["health"], role, None, "/grpc.health.v1.Health/Check", 100)
        dealer = loaded.configuration("dealer")["listen"]
        for files in (client, TlsFiles.in_folder(loaded.folder / "tls", "party1")):
            _silent_calls(stack, dealer["party"], "dealer", files, "/mpcvit.v1.DealerService/LeaseMaterial", 100)
        _silent_calls(stack, dealer["health"], "dealer", None, "/grpc.health.v1.Health/Check", 100)
        time.sleep(1)
        with Client.from_config(loaded.client_of("bob")) as other:
            outcomes = [loaded.attempt(client=other, deadline_s=20) for _ in range(5)]
        ready = [role for role in loaded.cluster.roles if loaded.ready(role)]
    case.saw(f"another client: {_summary(outcomes)}; ready: {', '.join(ready)}")
    assert {outcome.reason for outcome in outcomes} == {"right"}
    assert ready == loaded.cluster.roles


@pytest.mark.case(
    "R7", "one client floods, sends nothing, sends garbage", "others' slowest answer moves by at most 20 %"
)
def test_r7_hostile_client(loaded: Deployment, case: Case) -> None:
    calm, hurt = _under_attack(loaded, case)
    case.late = hurt > 1.2 * calm + 0.1  # answers of the smallest model take 0.1 s, less than the machine's own noise
    assert hurt < 10 * calm + 2
    time.sleep(TIMEOUTS["pair_s"])


@pytest.mark.long
@pytest.mark.case("R7", "the same, and the default model", "others' slowest answer moves by at most 20 %")
def test_r7_hostile_client_of_the_default_model(tmp_path: Path, proxy: TcpProxy, outputs: Path, case: Case) -> None:
    with Deployment(zoo.folder(zoo.DEFAULT), tmp_path / "own", proxy) as running:
        calm, hurt = _under_attack(running, case, answers=60)
        case.late = hurt > 1.2 * calm
        assert hurt < 10 * calm
        time.sleep(TIMEOUTS["pair_s"])
        case.saw(f"next answer in {running.require_recovery().seconds:.1f} s")
    keep_output(running, outputs)


def _under_attack(deployment: Deployment, case: Case, answers: int = 30) -> tuple[float, float]:
    """99th percentile of the seconds for so many answers: of a client by itself, and beside two hostile ones."""
    with Client.from_config(deployment.client_of("bob")) as other:
        calm = [deployment.attempt(client=other) for _ in range(answers)]
        burned = {role: len(deployment.burned_material(role)) for role in PARTIES}
        processes = multiprocessing.get_context("spawn")  # the other client shares no interpreter with them
        stop = processes.Event()
        attackers = [
            processes.Process(
                target=_attack, args=(deployment.cluster.client_config, deployment.issue(f"{kind}.client"), stop)
            )
            for kind in ("half", "garbage")
        ]
        for attacker in attackers:
            attacker.start()
        try:
            start = time.monotonic()
            time.sleep(6)  # they start, and garbage is paid for by whoever sends it
            hurt = [deployment.attempt(client=other, deadline_s=30) for _ in range(answers)]
            assert all(attacker.is_alive() for attacker in attackers)
        finally:
            stop.set()
            for attacker in attackers:
                attacker.join()
    assert [attacker.exitcode for attacker in attackers] == [0, 0]
    slow = [float(np.quantile([outcome.seconds for outcome in outcomes], 0.99)) for outcomes in (calm, hurt)]
    wasted = max(len(deployment.burned_material(role)) - burned[role] for role in PARTIES) - len(hurt)
    case.saw(f"p99 {slow[0]:.2f} s alone, {slow[1]:.2f} s under attack; {_summary(hurt)}; {wasted} leases wasted")
    assert {outcome.reason for outcome in hurt} == {"right"}
    running = 2  # those that had begun when the last fault was noticed
    assert 0 < wasted <= _FAULTS + running + 1 + (time.monotonic() - start) / 300  # and an attempt that was repeated
    return slow[0], slow[1]


def _attack(client_config: Path, files: TlsFiles, stop: Event) -> None:
    """Submit half of every session; if the certificate says so, garbage as the other half."""
    os.nice(19)  # a client has a machine of its own: what it computes is not to slow the parties
    assert files.cert is not None
    cluster: Any = SimpleNamespace(client_config=client_config)
    raw = Raw(cluster, files)
    spec = raw.spec()
    while not stop.is_set():
        spec.session_id = secrets.token_bytes(16)
        deadline = time.monotonic() + 5
        try:
            raw.parties[0].submit(Submission(spec, bytes(32)), deadline)
            if "garbage" in files.cert.name:
                raw.parties[1].submit(Submission(spec, np.full(tuple(spec.input_shape), 1 << 50)), deadline)
        except MpcvitError:
            time.sleep(0.02)
    for party in raw.parties:
        party.close()


@pytest.mark.case("R8", "connections that send no TLS hello", "others are served")
def test_r8_idle_connections(loaded: Deployment, case: Case) -> None:
    with ExitStack() as stack:
        for role in PARTIES:
            host, _, port = loaded.configuration(role)["listen"]["client"].rpartition(":")
            for _ in range(200):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
        outcomes = [loaded.attempt(deadline_s=20) for _ in range(3)]
    case.saw(_summary(outcomes))
    assert {outcome.reason for outcome in outcomes} == {"right"}


@pytest.mark.long
@pytest.mark.case(
    "R9", "links to the dealer at some Mbit/s, the default model", "answers, later; no connection is given up"
)
@pytest.mark.parametrize("megabits", [5, 20])
def test_r9_material_over_slow_links(tmp_path: Path, proxy: TcpProxy, outputs: Path, case: Case, megabits: int) -> None:
    timeouts = {**TIMEOUTS, "offline_s": 300, "session_s": 600}
    with Deployment(zoo.folder(zoo.DEFAULT), tmp_path / "own", proxy, timeouts=timeouts) as running:
        for party in PARTIES:
            running.links[f"{party}-dealer"].set(rate=megabits * 1e6)
        outcomes = []
        for _ in range(3):
            start = time.monotonic()
            outcomes.append(running.attempt(deadline_s=600))
            while outcomes[-1].reason == "MATERIAL_EXHAUSTED" and time.monotonic() - start < 600:
                time.sleep(1)
                outcomes[-1] = running.attempt(deadline_s=600)
            outcomes[-1] = replace(outcomes[-1], seconds=time.monotonic() - start)
        case.saw(_summary(outcomes))
        assert {outcome.reason for outcome in outcomes} == {"right"}
        logs = "".join(running.cluster.log(role) for role in running.cluster.roles)
        assert "ping timeout" not in logs
    keep_output(running, outputs)
