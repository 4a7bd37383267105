"""The party executor: a plan on masked wires, every opening of one depth in one message (docs/protocols.md)."""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import mpcvit.engines.crypten.context  # noqa: F401  a party without crypten ends when it starts
from mpcvit.engines.masked.dealer import step_stream
from mpcvit.engines.masked.material import read_material
from mpcvit.engines.masked.plan import OUTPUT, Plan, PlannedStep
from mpcvit.engines.masked.plan_material import PlanMaterial
from mpcvit.engines.masked.protocol import Known, Prepared, Side
from mpcvit.engines.masked.weights import FastWeights
from mpcvit.engines.masked.wires import Agreement, Guard, Masked, Opening, Step, Wire, share_of
from mpcvit.engines.masked.word_digest import DIGEST_BYTES, WordDigest
from mpcvit.engines.shared import shared
from mpcvit.engines.step_report import StepReport
from mpcvit.errors import MpcvitError
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg
from mpcvit.transport.link import Link
from mpcvit.wire.result_share import ResultShare


class PreparedPlan:
    """One session's material at one party, with everything done that does not depend on the input.

    Args:
        plan: both parties' and the dealer's.
        party: 0 or 1.
        material: of this session; used up.
        weights: opened under the masks that the material was dealt for.
    """

    def __init__(self, plan: Plan, party: int, material: PlanMaterial, weights: FastWeights) -> None:
        self.plan = plan
        self.party = party
        self.weights = weights
        self._ready: dict[str, Prepared] = {}
        masks: dict[str, Known] = dict.fromkeys(plan.program.inputs)
        masks |= {name: wire if isinstance(wire, Masked) else None for name, wire in weights.wires.items()}
        prg, side, position = Prg(material.seed), Side(party, material.session), 0
        for step in plan.steps:
            length = step.protocol.material()[party]
            sent = material.read(position, length)
            taken = read_material(step.protocol.layout(), party, step_stream(prg, step), sent)
            prepared = step.protocol.prepare(side, taken, *(masks[name] for name in step.inputs))
            self._ready[step.name], masks[step.name] = prepared, prepared.mask
            position += length

    def take(self, step: PlannedStep) -> Prepared:
        """Return what ``step`` needs, once."""
        return self._ready.pop(step.name)


def run_fast(
    link: Link,
    prepared: PreparedPlan,
    inputs: Mapping[str, Codes],
    common: bytes,
    progress: StepReport = lambda done, total: None,
) -> ResultShare:
    """Return this party's share of the output, under a fresh sharing of zero: with the other it says no more than their
    sum.

    Args:
        prepared: of this attempt; used up.
        inputs: this party's share of every input, without batch axis.
        common: 32 bytes that both parties know and nobody else, fresh for this run; see :func:`common_seed`.
        progress: called with (rounds done, rounds in total) after every round.

    Raises:
        AmbiguousOpening: start again, with other material and another common seed. The other party raises it, too.
        InputOutOfRange: what the client shared is no picture. The other party raises it, too.
        ProtocolViolation, PeerLost, PeerTimeout, DealerLost: as link and material say.
    """
    run = _Run(link, prepared, inputs, common, progress)
    share = run.run()
    zero = Prg(common).stream("zero").ring(share.shape)
    return ResultShare(share + zero if prepared.party == 0 else share - zero, run.guards_digest())


@dataclass(slots=True)
class _Active:
    """A step that waits for an opening."""

    step: PlannedStep
    generator: Step
    asked: Opening


class _Run:
    """Steps start as soon as their inputs are there; when none can go on, all openings travel in one message."""

    def __init__(
        self, link: Link, prepared: PreparedPlan, inputs: Mapping[str, Codes], common: bytes, progress: StepReport
    ) -> None:
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
        self._digest = WordDigest(common, "agreement")
        self._agreements: list[tuple[bytes, MpcvitError]] = []
        self._guard_digest = WordDigest(common, "guard")
        self._guards: dict[str, list[bytes]] = {}

    def run(self) -> Codes:
        total, rounds = len(self._plan.messages), 0
        self._start_all()
        while self._active or self._agreements:
            waiting = sorted(self._active, key=lambda active: self._plan.step_index[active.step.name])
            self._active = []
            for active, opened in zip(waiting, self._exchange(waiting), strict=True):
                self._advance(active.step, active.generator, opened)
            self._start_all()
            rounds += 1
            self._progress(rounds, total)
        output: Codes = share_of(self._wires[OUTPUT], self._prepared.party)[0].contiguous().numpy()
        return output

    def _start_all(self) -> None:
        while self._startable:
            step = self._startable.popleft()
            wires = [self._wires[name] for name in step.inputs]
            prepared = self._prepared.take(step)
            self._advance(step, step.protocol.run(self._prepared.party, prepared, *wires), None)

    def _advance(self, step: PlannedStep, generator: Step, opened: Any) -> None:
        try:
            asked = generator.send(opened)
            while not isinstance(asked, Opening):
                self._note(step, asked)
                asked = generator.send(None)
        except StopIteration as stop:
            self._finish(step, stop.value)
        else:
            self._active.append(_Active(step, generator, asked))

    def _note(self, step: PlannedStep, asked: Agreement | Guard) -> None:
        if isinstance(asked, Guard):
            self._guards.setdefault(step.name, []).append(self._guard_digest.of(step.name, asked.words))
        else:
            self._agreements.append((self._digest.of(step.name, asked.words), asked.otherwise))

    def guards_digest(self) -> bytes:
        """Return one digest of all guards, in the order of the plan."""
        in_order = sorted(self._guards, key=self._plan.step_index.__getitem__)
        return self._guard_digest.of_all([digest for name in in_order for digest in self._guards[name]])

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
        """Return one message with all openings, then the digests of all agreements; what each opened.

        Raises:
            MpcvitError: of an agreement that there is not.
        """
        parts = [active.asked.share for active in waiting]
        agreements, self._agreements = self._agreements, []
        names = [*(active.step.name for active in waiting), *(["agreement"] * len(agreements))]
        tag = names[0] if len(names) == 1 else f"{names[0]}+{len(names) - 1}"
        payload = b"".join([*(part.data.cast("B") for part in parts), *(digest for digest, _ in agreements)])
        received = memoryview(self._link.exchange(tag, payload)[1 - self._link.index])
        theirs = received[len(payload) - DIGEST_BYTES * len(agreements) :]
        for number, (digest, otherwise) in enumerate(agreements):
            if not hmac.compare_digest(digest, theirs[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]):
                raise otherwise
        opened, position = [], 0
        for active, part in zip(waiting, parts, strict=True):
            opened.append(active.asked.combine(received[position : position + part.nbytes]))
            position += part.nbytes
        return opened
