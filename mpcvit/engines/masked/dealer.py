"""The dealer's reader of a plan: walks masks instead of values and deals what every step needs (docs/protocols.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from mpcvit.engines.masked.material import MaterialWriter
from mpcvit.engines.masked.plan import Plan, PlannedStep
from mpcvit.engines.masked.protocol import Secret
from mpcvit.ring.prg import Prg, Stream


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
    """Return the masks of the parameters that are opened once per model load.

    Args:
        prgs: both parties' generators for this load; every load of a model needs new ones.
    """
    first, second = prgs
    return {
        name: own_weight_mask(plan, first, name) + own_weight_mask(plan, second, name)
        for name in plan.masked_parameters
    }


def own_weight_mask(plan: Plan, prg: Prg, name: str) -> torch.Tensor:
    """Return one party's share of a parameter's mask, without batch axis."""
    return torch.from_numpy(prg.stream("weight", name).ring(plan.program.types[name].shape))


def step_stream(prg: Prg, step: PlannedStep) -> Stream:
    """Return the random stream that a step owns in a party's session generator."""
    return prg.stream("step", step.name)


def deal_plan(
    plan: Plan, session: bytes, seeds: Sequence[bytes | bytearray], weights: Mapping[str, torch.Tensor]
) -> Iterator[DealtStep]:
    """Yield the material of every step in order.

    Args:
        session: public bytes that no other session has.
        seeds: both parties' 32-byte session seeds. Each pair serves one attempt at one inference.
        weights: from :func:`weight_masks`.
    """
    first, second = map(Prg, seeds)
    masks: dict[str, Secret] = dict.fromkeys([*plan.program.inputs, *plan.program.parameters])
    masks |= weights
    for step in plan.steps:
        writer = MaterialWriter(step.protocol.layout(), (step_stream(first, step), step_stream(second, step)))
        dealt = step.protocol.deal(session, writer.drawn, *(masks[name] for name in step.inputs))
        masks[step.name] = dealt.mask
        yield DealtStep(step.name, writer.write(dealt.sent), dealt.rounding)
