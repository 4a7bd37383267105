"""What a plan does, counted by part of the model: the exact numbers that a price is made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.plan import Plan, PlannedStep
from mpcvit.engines.masked.protocols.masked_product import MaskedProduct
from mpcvit.export.parts import Part, Role

_MLP = frozenset({Role.MLP, Role.ACTIVATION})


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What one party does online for a part of an inference.

    Attributes:
        rounds: message exchanges on the critical path.
        bytes_sent: by each party.
        macs: multiply-accumulates in Z_2^64; those of a product of two activations count twice, as they are run twice.
        gate_s: the protocols' own rough seconds for all but products (comparisons, splines).
        steps: protocol runs.
        elements: values that the steps write.
        material_bytes: what the dealer sends to both parties together, ahead of the inference.
    """

    rounds: int = 0
    bytes_sent: int = 0
    macs: int = 0
    gate_s: float = 0.0
    steps: int = 0
    elements: int = 0
    material_bytes: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        """Return the sum: both, one after the other."""
        return Amounts(**{name: getattr(self, name) + getattr(other, name) for name in _FIELDS})

    def towards(self, other: Amounts, share: float) -> Amounts:
        """Interpolate between these amounts (``share`` 0) and the other ones (1)."""

        def between(name: str) -> float:
            low, high = getattr(self, name), getattr(other, name)
            value = float(low + share * (high - low))
            return value if name == "gate_s" else round(value)

        return Amounts(**{name: between(name) for name in _FIELDS})  # type: ignore[arg-type]  # whole where they are ints

    def with_rounds(self, rounds: int) -> Amounts:
        """Return the same work in ``rounds`` rounds."""
        return Amounts(**{**asdict(self), "rounds": rounds})


_FIELDS = tuple(field.name for field in fields(Amounts))


@dataclass(frozen=True, kw_only=True)
class BlockAmounts:
    """A block's amounts.

    Attributes:
        shared: of the attention, whatever the heads do: norm, qkv, projection, residual.
        groups: per kind, of its heads; groups run at the same time and share rounds.
        mlp: norm, linear layers, activation, residual.
    """

    shared: Amounts
    groups: dict[str, Amounts]
    mlp: Amounts

    @property
    def total(self) -> Amounts:
        """Of the whole block."""
        return self.shared + in_parallel(self.groups.values()) + self.mlp


@dataclass(frozen=True, kw_only=True)
class ModelAmounts:
    """A whole model's amounts: everything before the blocks, the blocks, and everything behind them."""

    stem: Amounts
    blocks: tuple[BlockAmounts, ...]
    head: Amounts

    @property
    def total(self) -> Amounts:
        """Of the whole inference."""
        return sum((block.total for block in self.blocks), start=self.stem + self.head)


def in_parallel(parts: Iterable[Amounts]) -> Amounts:
    """Return all ``parts`` at the same time: work adds up, rounds are those of the longest."""
    parts = list(parts)
    total = sum(parts, start=Amounts())
    return total.with_rounds(max((part.rounds for part in parts), default=0))


def plan_amounts(plan: Plan, parts: Mapping[str, Part]) -> ModelAmounts:
    """Return the amounts of ``plan``, part by part.

    Their total has exactly the plan's rounds and bytes, but for the setup.

    Args:
        parts: where the nodes of its Program come from; a :class:`~mpcvit.models.vit.VisionTransformer`'s.
    """
    work, steps = _work(plan), _by_part(plan, parts)
    start = _end(plan, steps.stem)
    stem = _sum(work, steps.stem).with_rounds(start)
    blocks = []
    for members in steps.blocks:
        block, start = _block(plan, work, members, start)
        blocks.append(block)
    head = _sum(work, steps.head).with_rounds(len(plan.messages) - start)
    return ModelAmounts(stem=stem, blocks=tuple(blocks), head=head)


@dataclass(frozen=True)
class _Steps:
    """Names of steps by the place of what they compute; those of blocks with their parts."""

    stem: list[str]
    blocks: list[list[tuple[str, Part]]]
    head: list[str]


def _by_part(plan: Plan, parts: Mapping[str, Part]) -> _Steps:
    """Return the steps in order; openings of inputs belong to the stem, and the reveal to the head."""
    stem, head, blocks = list[str](), list[str](), defaultdict[int, list[tuple[str, Part]]](list)
    for step in plan.steps:
        part = parts.get(step.node, Part(Role.STEM if step.node else Role.HEAD))
        if part.block is not None:
            blocks[part.block].append((step.name, part))
        else:
            (stem if part.role is Role.STEM else head).append(step.name)
    return _Steps(stem, [blocks[number] for number in sorted(blocks)], head)


def _block(
    plan: Plan, work: Mapping[str, Amounts], steps: list[tuple[str, Part]], start: int
) -> tuple[BlockAmounts, int]:
    """Return a block's amounts, and the round after which it is done."""
    mlp = [name for name, part in steps if part.role in _MLP]
    attention = [(name, part.kind) for name, part in steps if part.role not in _MLP]
    members = defaultdict[str, list[str]](list)
    for name, kind in attention:
        if kind is not None:
            members[kind].append(name)
    names = [name for name, _ in attention]
    before = next(index for index, (_, kind) in enumerate(attention) if kind is not None)
    fork, middle, end = _end(plan, names[:before]), _end(plan, names), _end(plan, [*names, *mlp])
    groups = {kind: _sum(work, group).with_rounds(_end(plan, group) - fork) for kind, group in members.items()}
    shared = _sum(work, [name for name, kind in attention if kind is None])
    shared = shared.with_rounds(middle - start - in_parallel(groups.values()).rounds)
    return BlockAmounts(shared=shared, groups=groups, mlp=_sum(work, mlp).with_rounds(end - middle)), end


def _end(plan: Plan, names: Iterable[str]) -> int:
    """Return the round after which all of these steps are done."""
    return max((plan.depths[name] for name in names), default=0)


def _work(plan: Plan) -> dict[str, Amounts]:
    """Return every step's amounts, rounds apart."""
    costs = fast_cost(plan).steps
    types = plan.program.types
    return {
        step.name: Amounts(
            bytes_sent=costs[step.name].bytes_sent[0],
            macs=costs[step.name].macs * (2 if _runs_twice(plan, step) else 1),
            gate_s=0.0 if isinstance(step.protocol, MaskedProduct) else step.protocol.online_work_s(),
            steps=1,
            elements=types[step.name].size if step.name in types else types[_opened(plan, step)].size,
            material_bytes=sum(costs[step.name].material_bytes),
        )
        for step in plan.steps
    }


def _runs_twice(plan: Plan, step: PlannedStep) -> bool:
    """Return whether a product multiplies two activations: then neither half of it can be done ahead."""
    return isinstance(step.protocol, MaskedProduct) and step.inputs[-1] not in plan.program.parameters


def _opened(plan: Plan, step: PlannedStep) -> str:
    """Return the Program's value that an inserted step opens or reveals."""
    name = step.inputs[0].removesuffix("/open")
    return name if name in plan.program.types else plan.program.output


def _sum(work: Mapping[str, Amounts], names: Iterable[str]) -> Amounts:
    return sum((work[name] for name in names), start=Amounts())
