"""The party executor: a plan on masked wires, every opening of one depth in one message (DESIGN 4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mpcvit.ops.protocol import Known, Prepared
from mpcvit.program.fast_dealer import FIRST, Attempts, own_attempts, own_weight_mask, step_stream
from mpcvit.program.plan import OUTPUT, Plan, PlannedStep
from mpcvit.program.reference import Weights, check_weights
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg
from mpcvit.session.link import Link
from mpcvit.session.node_material import NodeMaterial
from mpcvit.session.wires import Masked, Opening, Reopen, Step, Wire, shared


class PlanMaterial(ABC):
    """Where a party's material for one session comes from."""

    @property
    @abstractmethod
    def seed(self) -> bytes:
        """This party's 32-byte session seed."""

    @property
    @abstractmethod
    def session(self) -> bytes:
        """Public bytes that no other session has."""

    @abstractmethod
    def read(self, start: int, count: int) -> memoryview:
        """``count`` bytes from position ``start`` of all steps' material, which lies in step order."""

    @abstractmethod
    def again(self, attempts: Attempts, ambiguous: Collection[str]) -> Mapping[str, bytes]:
        """Ask the dealer for spare masks: the material of every step to be dealt again, by name.

        Args:
            attempts: how often openings have been ambiguous so far, in this session.
            ambiguous: those that just were.
        """


@dataclass(frozen=True, repr=False)
class FastWeights:
    """A model's parameters at one party, ready for the engine.

    Attributes:
        wires: parameters that products read, Masked; all others Shared.
    """

    wires: dict[str, Wire]


def open_weights(plan: Plan, weights: Weights, prg: Prg, exchange: Callable[[memoryview], memoryview]) -> FastWeights:
    """Open the masked parameters, once per model load: one message, 8 bytes per weight.

    Args:
        weights: this party's share of every parameter.
        prg: this party's generator for this load, seeded by the dealer. A new load or model version needs a new one.
        exchange: sends this party's bytes to the other, returns the other's.

    Raises:
        ShapeMismatch: the weight shares do not fit the Program.
    """
    check_weights(plan.program, weights)
    wires: dict[str, Wire] = {name: shared(torch.from_numpy(np.asarray(share))) for name, share in weights.items()}
    masks = {name: own_weight_mask(plan, prg, name) for name in plan.masked_parameters}
    if not masks:
        return FastWeights(wires)
    flat = torch.cat([(wires[name].share + mask).reshape(-1) for name, mask in masks.items()])
    opening = Opening(flat.numpy().view(np.uint64))
    hats = torch.from_numpy(opening.combine(exchange(opening.share.data.cast("B"))).view(np.int64))
    for (name, mask), hat in zip(masks.items(), hats.split([mask.numel() for mask in masks.values()]), strict=True):
        wires[name] = Masked(hat.reshape(mask.shape), mask)
    return FastWeights(wires)


class PreparedPlan:
    """One session's material at one party, with everything done that does not depend on the input.

    Args:
        plan: both parties' and the dealer's.
        party: 0 or 1.
        material: of this session; used up.
        weights: opened under the masks that the material was dealt for.
        expansion_bytes: how much may be expanded now; the rest is expanded when its step starts.
    """

    def __init__(
        self, plan: Plan, party: int, material: PlanMaterial, weights: FastWeights, expansion_bytes: int
    ) -> None:
        self.plan = plan
        self.party = party
        self.weights = weights
        self._material = material
        self._prg = Prg(material.seed)
        self._ready: dict[str, Prepared] = {}
        self._late: dict[str, int] = {}
        self._attempts: dict[str, int] = {}
        self._again: dict[str, memoryview] = {}
        masks: dict[str, Known] = dict.fromkeys(plan.program.inputs)
        masks |= {name: wire if isinstance(wire, Masked) else None for name, wire in weights.wires.items()}
        position = 0
        for step in plan.steps:
            expansion_bytes -= step.protocol.expanded_bytes()
            if step.protocol.expanded_bytes() and expansion_bytes < 0:
                self._late[step.name], masks[step.name] = position, None
            else:
                prepared = self._prepare(step, FIRST, position, [masks[name] for name in step.inputs])
                self._ready[step.name], masks[step.name] = prepared, prepared.mask
            position += step.protocol.material()[party]

    def take(self, step: PlannedStep, wires: list[Wire]) -> Prepared:
        """What ``step`` needs, once; dealt again if a mask that it reads was replaced."""
        if step.name in self._again:
            self._ready.pop(step.name, None)
            return self._prepare_again(step, wires)
        if step.name in self._late:
            return self._prepare(step, FIRST, self._late.pop(step.name), self._known(step, wires), late=True)
        return self._ready.pop(step.name)

    def reopen(self, steps: list[PlannedStep]) -> dict[str, Prepared]:
        """Spare masks for openings that were ambiguous."""
        for step in steps:
            self._attempts[step.name] = self._attempts.get(step.name, 0) + 1
        dealt = self._material.again(self._attempts, [step.name for step in steps])
        self._again |= {name: memoryview(sent) for name, sent in dealt.items()}
        return {step.name: self._prepare_again(step, []) for step in steps}

    def _prepare(
        self, step: PlannedStep, attempts: Attempts, position: int, known: list[Known], *, late: bool = False
    ) -> Prepared:
        sent = self._material.read(position, step.protocol.material()[self.party])
        taken = NodeMaterial(self.party, step_stream(self._prg, step, attempts), sent, self._material.session, late)
        prepared = step.protocol.prepare(taken, *known)
        taken.finish()
        return prepared

    def _prepare_again(self, step: PlannedStep, wires: list[Wire]) -> Prepared:
        stream = step_stream(self._prg, step, own_attempts(self.plan, step, self._attempts))
        taken = NodeMaterial(self.party, stream, self._again.pop(step.name), self._material.session)
        prepared = step.protocol.prepare(taken, *self._known(step, wires))
        if step.protocol.leaves_offset:
            shape = (1, *self.plan.program.types[step.name].shape)
            prepared = replace(prepared, extra=taken.share(shape))
        taken.finish()
        return prepared

    def _known(self, step: PlannedStep, wires: list[Wire]) -> list[Known]:
        """What is known of ``wires`` before the inference. Empty for openings, which need nothing."""
        return [
            (wire if name in self.weights.wires else wire.mask) if isinstance(wire, Masked) else None
            for name, wire in zip(step.inputs, wires, strict=False)
        ]


Report = Callable[[int, int], None]


def run_fast(
    link: Link,
    prepared: PreparedPlan,
    inputs: Mapping[str, Codes],
    progress: Report = lambda done, total: None,
) -> Codes:
    """This party's share of the output.

    Args:
        prepared: of this session; used up.
        inputs: this party's share of every input, without batch axis.
        progress: called with (rounds done, rounds in total) after every round.

    Raises:
        ProtocolViolation, PeerLost, PeerTimeout, DealerLost, DealerTimeout: as link and material say.
    """
    return _Run(link, prepared, inputs, progress).run()


@dataclass(slots=True)
class _Active:
    """A step that waits for an opening."""

    step: PlannedStep
    generator: Step
    asked: Opening | Reopen


class _Run:
    """Steps start as soon as their inputs are there; when none can go on, all openings travel in one message."""

    def __init__(self, link: Link, prepared: PreparedPlan, inputs: Mapping[str, Codes], progress: Report) -> None:
        self._link, self._prepared, self._progress = link, prepared, progress
        self._plan = plan = prepared.plan
        self._wires: dict[str, Wire] = dict(prepared.weights.wires)
        self._wires |= {n: shared(torch.from_numpy(np.asarray(codes))[None]) for n, codes in inputs.items()}
        self._missing = {step.name: len(set(step.inputs) - self._wires.keys()) for step in plan.steps}
        self._readers: dict[str, list[PlannedStep]] = {}
        self._uses: dict[str, int] = {}
        for step in plan.steps:
            for name in set(step.inputs):
                self._readers.setdefault(name, []).append(step)
                self._uses[name] = self._uses.get(name, 0) + 1
        self._startable = deque(step for step in plan.steps if not self._missing[step.name])
        self._active: list[_Active] = []

    def run(self) -> Codes:
        total, rounds = len(self._plan.messages), 0
        self._start_all()
        while self._active:
            waiting = sorted(self._active, key=lambda active: self._plan.step_index[active.step.name])
            self._active = []
            for active, opened in zip(waiting, self._exchange(waiting), strict=True):
                self._advance(active.step, active.generator, opened)
            self._replace_masks()
            self._start_all()
            rounds += 1
            self._progress(min(rounds, total), total)
        output: Codes = self._wires[OUTPUT].share[0].contiguous().numpy()
        return output

    def _start_all(self) -> None:
        while self._startable:
            step = self._startable.popleft()
            wires = [self._wires[name] for name in step.inputs]
            prepared = self._prepared.take(step, wires)
            generator = step.protocol.run(self._prepared.party, prepared, *wires)
            self._advance(step, generator if prepared.extra is None else _less(generator, prepared.extra), None)

    def _advance(self, step: PlannedStep, generator: Step, opened: Any) -> None:
        try:
            asked = generator.send(opened)
        except StopIteration as stop:
            self._finish(step, stop.value)
        else:
            self._active.append(_Active(step, generator, asked))

    def _finish(self, step: PlannedStep, wire: Wire) -> None:
        self._wires[step.name] = wire
        for name in set(step.inputs):
            self._uses[name] -= 1
            if not self._uses[name] and name not in self._prepared.weights.wires:
                del self._wires[name]
        for reader in self._readers.get(step.name, []):
            self._missing[reader.name] -= 1
            if not self._missing[reader.name]:
                self._startable.append(reader)

    def _exchange(self, waiting: list[_Active]) -> list[Any]:
        """One message with all openings; what each opened."""
        parts = [active.asked.share for active in waiting if isinstance(active.asked, Opening)]
        tag = waiting[0].step.name if len(waiting) == 1 else f"{waiting[0].step.name}+{len(waiting) - 1}"
        payload = b"".join(part.data.cast("B") for part in parts)
        received = memoryview(self._link.exchange(tag, payload)[1 - self._link.index])
        opened, position = [], 0
        for active, part in zip(waiting, parts, strict=True):
            assert isinstance(active.asked, Opening)  # noqa: S101 - masks were replaced before
            opened.append(active.asked.combine(received[position : position + part.nbytes]))
            position += part.nbytes
        return opened

    def _replace_masks(self) -> None:
        """Give every ambiguous opening a spare mask; it opens again with the next message."""
        ambiguous = [active for active in self._active if isinstance(active.asked, Reopen)]
        if not ambiguous:
            return
        self._active = [active for active in self._active if isinstance(active.asked, Opening)]
        spare = self._prepared.reopen([active.step for active in ambiguous])
        for active in ambiguous:
            self._advance(active.step, active.generator, spare[active.step.name])


def _less(generator: Step, extra: torch.Tensor) -> Step:
    """The step with an offset taken off its result, so that it is the one that later steps were dealt for."""
    wire = yield from generator
    return shared(wire.share - extra)
