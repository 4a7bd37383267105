"""Random sequences of faults and requests, shrunk by hypothesis when one of them breaks a promise."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from mpcvit.client import Client
from tests.support.deployment import Deployment
from tests.support.reliability import Case
from tests.support.tcp_proxy import TO_CALLER, TO_TARGET

ROLES = st.sampled_from(["party0", "party1", "dealer"])
LINKS = st.sampled_from(["client-party0", "client-party1", "party0-party1", "party0-dealer", "party1-dealer"])
PICTURES = st.integers(0, 3)
#: Seconds that one operation may take, answers under faults included.
OPERATION_S = 15.0


class Operations(RuleBasedStateMachine):
    """Requests among faults: under faults an answer is right or a typed error; without, it comes."""

    deployment: Deployment
    counts: dict[str, int]

    def __init__(self) -> None:
        super().__init__()
        self.dead: set[str] = set()
        self.stopped: set[str] = set()
        self.hurt_links: set[str] = set()
        self.settled = True

    @property
    def healthy(self) -> bool:
        return not (self.dead or self.stopped or self.hurt_links)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    @rule(picture=PICTURES)
    def infer(self, picture: int) -> None:
        if self.healthy and not self.settled:
            self.deployment.require_recovery()
            self.settled = True
        outcome = self.deployment.attempt(picture, deadline_s=OPERATION_S)
        self._count(outcome.reason)
        assert outcome.reason == "right" or not self.healthy, outcome
        assert outcome.reason != "INTERNAL", outcome
        assert outcome.seconds < OPERATION_S + 4

    @rule(role=ROLES)
    def kill(self, role: str) -> None:
        if role not in self.dead | self.stopped:
            self.deployment.signal(role, signal.SIGKILL)
            self.dead.add(role)
            self.settled = False

    @precondition(lambda self: self.dead)
    @rule()
    def restart(self) -> None:
        for role in self.dead:
            self.deployment.cluster.start(role)
        self.dead.clear()
        if self.healthy:
            self.deployment.recover()

    @rule(role=ROLES)
    def stop(self, role: str) -> None:
        if role not in self.dead:
            self.deployment.signal(role, signal.SIGSTOP)
            self.stopped.add(role)
            self.settled = False

    @precondition(lambda self: self.stopped)
    @rule()
    def go_on(self) -> None:
        for role in self.stopped - self.dead:
            self.deployment.signal(role, signal.SIGCONT)
        self.stopped.clear()

    @rule(link=LINKS, way=st.sampled_from([(TO_TARGET,), (TO_CALLER,), (TO_TARGET, TO_CALLER)]))
    def hold(self, link: str, way: tuple[str, ...]) -> None:
        caller, callee = link.split("-")
        self.deployment.partition(caller, callee, ways=way)
        self.hurt_links.add(link)
        self.settled = False

    @rule(link=LINKS)
    def reset(self, link: str) -> None:
        self.deployment.links[link].reset()
        self.settled = False

    @rule(link=LINKS, delay_s=st.sampled_from([0.01, 0.05]))
    def delay(self, link: str, delay_s: float) -> None:
        if link not in self.hurt_links:
            self.deployment.links[link].set(delay_s=delay_s)

    @precondition(lambda self: self.hurt_links)
    @rule()
    def heal(self) -> None:
        for link in self.deployment.links.values():
            link.heal()
        self.hurt_links.clear()

    @rule(picture=PICTURES)
    def drop_the_answer(self, picture: int) -> None:
        """The client hears no more of a session that has begun."""
        if not self.healthy:
            return
        link = self.deployment.links["client-party0"]
        with Client.from_config(self.deployment.cluster.client_config) as client:
            try:
                outcome = self.deployment.attempt(
                    picture, deadline_s=3, client=client, phase="offline", act=lambda: link.hold(TO_CALLER)
                )
                self._count(f"dropped: {outcome.reason}")
            except AssertionError as error:  # a session that was never in that phase
                if "never in phase" not in str(error):
                    raise
        link.heal()
        self.settled = False

    def teardown(self) -> None:
        self.deployment.recover()
        self.deployment.require_recovery()
        self.deployment.require_single_use()


@pytest.mark.long
@pytest.mark.case(
    "S",
    "random sequences of requests and faults",
    "right answers or typed errors; answers again 10 s after the last fault",
)
def test_random_operations(deployment: Deployment, case: Case) -> None:
    class Bound(Operations):
        pass

    Bound.deployment, Bound.counts = deployment, {}
    options: dict[str, Any] = {"max_examples": 15, "stateful_step_count": 15, "deadline": None, "database": None}
    run_state_machine_as_test(Bound, settings=settings(**options, suppress_health_check=list(HealthCheck)))
    case.saw(", ".join(f"{count} {reason}" for reason, count in sorted(Bound.counts.items())))
