"""What must survive: crashes at the worst moment, full disks, restored copies, wrong clocks, too little memory."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpcvit.errors import MpcvitError
from parties.common.failpoints import EXIT_CODE, VARIABLE, Failpoint
from tests.support.deployment import Deployment, Outcome
from tests.support.raw_client import Raw
from tests.support.reliability import Case
from tests.support.shifted_clock import shifted_clock

#: Where each place of the code runs.
ROLES = {
    Failpoint.SESSION_BURNED: ("party0", "party1"),
    Failpoint.MATERIAL_BURNED: ("party0", "party1"),
    Failpoint.RESULT_READY: ("party0", "party1"),
    Failpoint.LEASE_BURNED: ("dealer",),
}
#: Every place once in `make test`.
PLACES = [
    pytest.param(place, role, id=f"{place} at {role}", marks=[pytest.mark.long] if number else [])
    for place, roles in ROLES.items()
    for number, role in enumerate(roles)
]


def _with_failpoint(deployment: Deployment, role: str, place: Failpoint, action: str) -> None:
    """Start a role again with a failpoint in it."""
    deployment.cluster.processes[role].kill()
    deployment.cluster.processes[role].wait()
    deployment.cluster.start(role, "--dev", environment={VARIABLE: f"{place}={action}"})


@pytest.mark.case(
    31, "a role ends between a burn and what follows", "nothing is used again; answers go on after a restart"
)
@pytest.mark.parametrize(("place", "role"), PLACES)
def test_31_crash_at_a_failpoint(deployment: Deployment, case: Case, place: Failpoint, role: str) -> None:
    before = {name: set(deployment.ledger(name)) for name in deployment.cluster.roles}
    _with_failpoint(deployment, role, place, "exit")
    process = deployment.cluster.processes[role]
    end = time.monotonic() + 40
    outcomes = []
    while process.poll() is None:
        assert time.monotonic() < end, "the failpoint was never reached"
        outcomes.append(deployment.attempt(deadline_s=10).reason)
    case.saw(f"exit {process.returncode}; the client saw {outcomes[-1] if outcomes else 'nothing'}")
    assert process.returncode == EXIT_CODE
    burned = set(deployment.ledger(role)) - before[role]
    assert burned
    deployment.recover()
    deployment.require_recovery()
    after = deployment.ledger(role)
    assert "open" not in {after[name] for name in burned}
    sessions = [name for name in burned if "/" not in name and role != "dealer"]
    for name in sessions[:1]:
        raw = Raw(deployment.cluster)
        spec = raw.spec(session_id=bytes.fromhex(name))
        number = int(role[-1])
        share = raw.shares(spec, deployment.pictures[0])[number]
        with pytest.raises(MpcvitError) as caught:
            raw.parties[number].submit(share, raw.deadline)
        case.saw(f"the same session again: {caught.value.reason}")
        assert caught.value.reason == "SESSION_REPLAYED"


@pytest.mark.case("31a", "an unexpected exception in a session", "INTERNAL without its text; the party goes on")
@pytest.mark.parametrize(
    "place", [pytest.param(Failpoint.SESSION_BURNED, marks=pytest.mark.long), Failpoint.MATERIAL_BURNED], ids=str
)
def test_31a_exception_at_a_failpoint(deployment: Deployment, case: Case, place: Failpoint) -> None:
    _with_failpoint(deployment, "party1", place, "raise")
    deployment.cluster.wait_ready("party1")
    outcome = deployment.eventually({"INTERNAL", "PEER_ABORTED"})
    case.saw(outcome)
    assert place.value not in str(outcome.error)
    assert deployment.cluster.processes["party1"].poll() is None
    case.saw("the party goes on")
    deployment.signal("party1", signal.SIGKILL)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system for party 1's state, there before ``own_deployment`` begins and after it ends; needs root."""
    folder = tmp_path / "own/state/party1"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False).returncode
    if mounted != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


@pytest.mark.case(
    32, "the disk of a party's ledger is full", "new sessions are refused, not ready; room again: answers"
)
def test_32_full_disk(case: Case, small_disk: Path, own_deployment: Deployment) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free // 4096 * 4096))
    outcomes = [own_deployment.attempt(deadline_s=15) for _ in range(3)]
    case.saw(", ".join(map(str, outcomes)))
    assert {outcome.reason for outcome in outcomes} == {"LEDGER_UNAVAILABLE"}
    end = time.monotonic() + 15
    while own_deployment.ready("party1") and time.monotonic() < end:
        time.sleep(0.5)
    ready = own_deployment.ready("party1")
    case.saw("still ready" if ready else "not ready")
    filler.unlink()
    case.saw(f"answers in {own_deployment.require_recovery().seconds:.1f} s")
    assert not ready


@pytest.mark.case(
    33, "a state folder is replaced by an older copy", "found out by the others; refused until an operator agrees"
)
@pytest.mark.parametrize("role", ["party1", "party0", "dealer"])
def test_33_rolled_back_ledger(own_deployment: Deployment, case: Case, role: str) -> None:
    folder = own_deployment.state(role)
    copy = folder.with_name(f"{role}.copy")
    own_deployment.cluster.processes[role].terminate()
    own_deployment.cluster.processes[role].wait(timeout=60)
    shutil.copytree(folder, copy)
    own_deployment.recover()
    own_deployment.require_recovery()
    for _ in range(3):
        assert own_deployment.attempt().error is None
    time.sleep(2)  # roles look at each other's marks every second
    newest = folder.with_name(f"{role}.newest")
    own_deployment.cluster.processes[role].terminate()
    own_deployment.cluster.processes[role].wait(timeout=60)
    folder.rename(newest)
    shutil.copytree(copy, folder)
    own_deployment.cluster.start(role)
    own_deployment.cluster.wait_ready(role)
    outcomes = []
    end = time.monotonic() + 15
    while time.monotonic() < end and "LEDGER_ROLLED_BACK" not in outcomes:
        outcomes.append(own_deployment.attempt(deadline_s=5).reason)
        time.sleep(0.3)
    case.saw(", ".join(dict.fromkeys(outcomes)))
    logs = "".join(own_deployment.cluster.log(name) for name in own_deployment.cluster.roles)
    pooled = int(role == "dealer")  # what it had dealt before is burned at the parties, and may be used
    assert outcomes.count("right") <= pooled
    assert "LEDGER_ROLLED_BACK" in outcomes or "LEDGER_ROLLED_BACK" in logs
    own_deployment.cluster.processes[role].terminate()
    own_deployment.cluster.processes[role].wait(timeout=60)
    shutil.rmtree(folder)
    newest.rename(folder)


@pytest.mark.long
@pytest.mark.case(35, "a role's clock is wrong", "right, or an error that names the clock")
@pytest.mark.parametrize("seconds", [3600, -1800], ids=["an hour ahead", "half an hour behind"])
@pytest.mark.parametrize("role", ["party1", "party0", "dealer"])
def test_35_wrong_clock(own_deployment: Deployment, case: Case, role: str, seconds: int, tmp_path: Path) -> None:
    environment = shifted_clock(tmp_path, seconds)
    own_deployment.cluster.processes[role].terminate()
    own_deployment.cluster.processes[role].wait(timeout=60)
    own_deployment.cluster.start(role, environment=environment)
    own_deployment.cluster.wait_ready(role)
    outcomes = []
    end = time.monotonic() + 15
    while time.monotonic() < end and len(outcomes) < 3:
        outcome = own_deployment.attempt(deadline_s=20)
        outcomes.append(outcome)
        if outcome.reason in {"PEER_LOST", "DEALER_LOST", "MATERIAL_EXHAUSTED"}:  # it has just started again
            outcomes.pop()
            time.sleep(0.5)
    case.saw(", ".join(map(str, outcomes)) or "nobody there")
    assert outcomes
    for outcome in outcomes:
        assert outcome.error is None or "clock" in str(outcome.error).lower()
    own_deployment.cluster.processes[role].kill()
    own_deployment.cluster.processes[role].wait()


@pytest.mark.case(39, "a party gets no more memory", "typed at the client; the party lives, or ends and starts again")
@pytest.mark.parametrize("role", ["party0", pytest.param("party1", marks=pytest.mark.long)])
def test_39_out_of_memory(deployment: Deployment, case: Case, role: str) -> None:
    pid = deployment.cluster.processes[role].pid
    with Path(f"/proc/{pid}/statm").open() as file:
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    no_limit = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (size, no_limit[1]))
    outcomes: list[Outcome] = []
    while len(outcomes) < 4 and deployment.cluster.processes[role].poll() is None:
        outcomes.append(deployment.attempt(deadline_s=8))
    alive = deployment.cluster.processes[role].poll() is None
    if alive:
        resource.prlimit(pid, resource.RLIMIT_AS, no_limit)
    case.saw(f"{', '.join(map(str, outcomes))}; the party {'lives' if alive else 'ended'}")
    assert any(outcome.error is not None for outcome in outcomes)
    if not alive:
        deployment.cluster.processes[role].wait()
