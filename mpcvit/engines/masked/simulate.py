"""An inference on the fast engine with all roles in one process: what client, dealer and parties do together.

The services do the same with processes, pools and certificates in between. Here is what they compute, and no more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import torch

from mpcvit.engines.masked.dealer import DealtStep, deal_plan, weight_masks
from mpcvit.engines.masked.executor import PreparedPlan, run_fast
from mpcvit.engines.masked.plan import Plan
from mpcvit.engines.masked.plan_material import MemoryPlanMaterial
from mpcvit.engines.masked.weights import open_weights
from mpcvit.engines.masked.wires import AmbiguousOpening
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import join, shares
from mpcvit.transport.link import Link
from mpcvit.transport.threads import run_parties
from mpcvit.transport.trace import Trace
from mpcvit.wire.result_share import ResultShare

#: Tag of the message that opens the weights, once per model load.
WEIGHTS_TAG = "weights"
_PARTIES = (0, 1)


@dataclass(frozen=True)
class MaskedRun:
    """What came of an inference.

    Attributes:
        output: the codes that the client joins.
        shares: both parties', of the output.
        digests: both parties', of all guards.
        traces: both parties', of all attempts.
        rounds: of every attempt; all but the last met an ambiguous opening in their last round.
        material_bytes: what each party read for the last attempt.
        roundings: of the last attempt, by step: what steps added before they dropped bits. The reference with them
            gives ``output`` bit for bit.
    """

    plan: Plan
    output: Codes = field(repr=False)
    shares: tuple[Codes, ...] = field(repr=False)
    digests: tuple[bytes, ...] = field(repr=False)
    traces: tuple[Trace, ...]
    rounds: tuple[int, ...]
    material_bytes: tuple[int, ...]
    roundings: dict[str, torch.Tensor] = field(repr=False)

    @property
    def trusted(self) -> bool:
        """Whether a client would accept the answer."""
        return self.digests[0] == self.digests[1]

    @property
    def repeated(self) -> bool:
        """Whether one attempt was not enough."""
        return len(self.rounds) > 1


@dataclass(frozen=True, repr=False)
class Attempt:
    """The randomness of one attempt.

    Attributes:
        seeds: both parties' session seeds, which the dealer knows.
        session: public bytes that no other attempt has.
        common: the seed that the parties have in common, and nobody else.
    """

    seeds: tuple[bytes, bytes]
    session: bytes
    common: bytes

    @classmethod
    def of(cls, seed: bytes, number: int = 0) -> Attempt:
        """Derive the randomness of attempt ``number`` of the run with this ``seed``."""
        prg = Prg(seed)
        first, second = (prg.derive("party", party, number) for party in _PARTIES)
        return cls((first, second), prg.derive("session", number)[:16], prg.derive("common", number))


class _Dealer:
    """Deals each attempt once, when the first of the parties asks for it.

    Args:
        seed: of the run.
        masks: of the opened weights.
    """

    def __init__(self, plan: Plan, seed: bytes, masks: Mapping[str, torch.Tensor]) -> None:
        self._plan, self._seed, self._masks = plan, seed, masks
        self._lock = threading.Lock()
        self._dealt: list[list[DealtStep]] = []

    def steps(self, number: int) -> list[DealtStep]:
        """Return what attempt ``number`` was dealt; parties ask for one attempt after the other."""
        with self._lock:
            if number == len(self._dealt):
                attempt = Attempt.of(self._seed, number)
                self._dealt.append(list(deal_plan(self._plan, attempt.session, attempt.seeds, self._masks)))
            return self._dealt[number]

    def material(self, number: int, party: int) -> MemoryPlanMaterial:
        """Return the material of ``party`` for attempt ``number``."""
        attempt = Attempt.of(self._seed, number)
        sent = b"".join(step.sent[party] for step in self.steps(number))
        return MemoryPlanMaterial(attempt.seeds[party], attempt.session, sent)


@dataclass(frozen=True)
class _Finished:
    """What one party has at the end."""

    result: ResultShare
    trace: Trace
    rounds: list[int]
    material_bytes: int


def run(
    plan: Plan,
    weights: Mapping[str, Codes],
    inputs: Mapping[str, Codes],
    seed: bytes,
    *,
    wrap_link: Callable[[Link], Link] = lambda link: link,
) -> MaskedRun:
    """Run ``plan`` once, in one thread per party; attempts that meet an ambiguous opening are repeated.

    Args:
        weights: codes of every parameter.
        inputs: codes of every input, without batch axis.
        seed: 32 bytes from which the randomness of all roles is derived.
        wrap_link: gives what a party sees in place of its link.

    Raises:
        MpcvitError: as :func:`~mpcvit.engines.masked.executor.run_fast`.
    """
    roles = Prg(seed)
    owner, client = Prg(roles.derive("owner")), Prg(roles.derive("client"))
    weight_shares = {name: shares(codes, [owner], name) for name, codes in weights.items()}
    input_shares = {name: shares(codes, [client], name) for name, codes in inputs.items()}
    loads = [roles.derive("load", party) for party in _PARTIES]
    dealer = _Dealer(plan, seed, weight_masks(plan, (Prg(loads[0]), Prg(loads[1]))))

    def party(link: Link) -> _Finished:
        link = wrap_link(link)
        own_weights = {name: both[link.index] for name, both in weight_shares.items()}
        own_inputs = {name: both[link.index] for name, both in input_shares.items()}
        opened = open_weights(plan, own_weights, Prg(loads[link.index]), lambda sent: _swapped(link, sent))
        rounds: list[int] = []
        while True:
            number, before = len(rounds), link.trace.total().rounds
            material = dealer.material(number, link.index)
            prepared = PreparedPlan(plan, link.index, material, opened)
            result = None
            with suppress(AmbiguousOpening):
                result = run_fast(link, prepared, own_inputs, Attempt.of(seed, number).common)
            rounds.append(link.trace.total().rounds - before)
            if result is not None:
                return _Finished(result, link.trace, rounds, material.read_bytes)

    parties = run_parties(len(_PARTIES), party)
    last = dealer.steps(len(parties[0].rounds) - 1)
    return MaskedRun(
        plan,
        join([one.result.codes for one in parties]),
        tuple(one.result.codes for one in parties),
        tuple(one.result.digest for one in parties),
        tuple(one.trace for one in parties),
        tuple(parties[0].rounds),
        tuple(one.material_bytes for one in parties),
        {step.name: step.rounding for step in last if step.rounding is not None},
    )


def _swapped(link: Link, sent: memoryview) -> memoryview:
    return memoryview(link.exchange(WEIGHTS_TAG, sent)[1 - link.index])
