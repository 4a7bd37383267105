"""The dealer's reader of a plan: walks masks instead of values and deals what every step needs (DESIGN 4.5)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from mpcvit.ops.protocol import Secret
from mpcvit.program.plan import Plan, PlannedStep
from mpcvit.ring.prg import Prg, Stream
from mpcvit.session.node_material import NodeDealing

#: How often each step opened again so far; steps that did not are left out.
Attempts = Mapping[str, int]
FIRST: Attempts = {}


@dataclass(frozen=True, repr=False)
class DealtStep:
    """The material of one step.

    Attributes:
        sent: bytes for party 0 and for party 1.
        rounding: what the step adds to its input before it drops bits, to replay a run in clear.
    """

    name: str
    sent: tuple[bytes, bytes]
    rounding: torch.Tensor | None


def weight_masks(plan: Plan, prgs: tuple[Prg, Prg]) -> dict[str, torch.Tensor]:
    """The masks of the parameters that are opened once per model load.

    Args:
        prgs: both parties' generators for this load; every load of a model needs new ones.
    """
    first, second = prgs
    return {
        name: own_weight_mask(plan, first, name) + own_weight_mask(plan, second, name)
        for name in plan.masked_parameters
    }


def own_weight_mask(plan: Plan, prg: Prg, name: str) -> torch.Tensor:
    """One party's share of a parameter's mask, without batch axis."""
    return torch.from_numpy(prg.stream("weight", name).ring(plan.program.types[name].shape))


def step_stream(prg: Prg, step: PlannedStep, attempts: Attempts) -> Stream:
    """The random stream that one use of a step owns in a party's session generator."""
    return prg.stream("step", step.name, *(part for item in sorted(attempts.items()) for part in item))


def deal_plan(
    plan: Plan,
    session: bytes,
    seeds: Sequence[bytes],
    weights: Mapping[str, torch.Tensor],
    attempts: Attempts = FIRST,
    ambiguous: Collection[str] = (),
) -> Iterator[DealtStep]:
    """The material of every step in order; or what openings that turned out ambiguous need.

    Args:
        session: public bytes that no other session has.
        seeds: both parties' 32-byte session seeds. Each pair serves one session.
        weights: from :func:`weight_masks`.
        attempts: how often openings of this session have been ambiguous so far.
        ambiguous: those that just were: only their spare masks, and the steps that read them, are dealt.
    """
    prgs = [Prg(seed) for seed in seeds]
    first: dict[str, Secret] = dict.fromkeys([*plan.program.inputs, *plan.program.parameters])
    first |= weights
    current = dict(first)
    for step in plan.steps:
        dealing = NodeDealing(_streams(prgs, step, FIRST), session)
        first[step.name] = current[step.name] = step.protocol.deal(dealing, *(first[name] for name in step.inputs))
        if again := own_attempts(plan, step, attempts):
            dealing = NodeDealing(_streams(prgs, step, again), session)
            current[step.name] = step.protocol.deal(dealing, *(current[name] for name in step.inputs))
            _keep_offset(dealing, step, current, first)
        if attempts and not own_attempts(plan, step, dict.fromkeys(ambiguous, 1)):
            continue
        sent = (b"".join(dealing.sent[0]), b"".join(dealing.sent[1]))
        yield DealtStep(step.name, sent, dealing.rounding)


def own_attempts(plan: Plan, step: PlannedStep, attempts: Attempts) -> Attempts:
    """The attempts that a step's material depends on: its own if it opens, else those whose masks it reads."""
    own = {step.name, *plan.mask_sources[step.name]}
    return {name: count for name, count in attempts.items() if name in own}


def _keep_offset(dealing: NodeDealing, step: PlannedStep, current: dict[str, Secret], first: dict[str, Secret]) -> None:
    """Share the change of a Shared result's offset, so that everything dealt behind it stays right."""
    now, before = current[step.name], first[step.name]
    if step.protocol.leaves_offset and now is not None and before is not None:
        dealing.share(now - before)
        current[step.name] = before


def _streams(prgs: Sequence[Prg], step: PlannedStep, attempts: Attempts) -> tuple[Stream, Stream]:
    return step_stream(prgs[0], step, attempts), step_stream(prgs[1], step, attempts)
