"""What a plan does, counted by part of the model: the exact numbers that a price is made of.

Names of nodes come from :mod:`mpcvit.export.vit`: ``block0.attn.softmax.scores`` belongs to block 0, to its attention,
and there to the group of softmax heads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mpcvit.models.config import AttentionKind
from mpcvit.ops.masked_product import MaskedProduct
from mpcvit.program.fast_cost import fast_cost
from mpcvit.program.plan import Plan, PlannedStep

_BLOCK = re.compile(r"block(\d+)\.(.*)")
_ATTENTION = re.compile(r"(attn|residual1|rows|reduce)\b")
_GROUP = re.compile(rf"attn\.({'|'.join(AttentionKind)})[./]")


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
        """Both, one after the other."""
        return Amounts(**{name: getattr(self, name) + getattr(other, name) for name in _FIELDS})

    def towards(self, other: Amounts, share: float) -> Amounts:
        """Between these amounts (``share`` 0) and the other ones (1)."""

        def between(name: str) -> float:
            low, high = getattr(self, name), getattr(other, name)
            value = float(low + share * (high - low))
            return value if name == "gate_s" else round(value)

        return Amounts(**{name: between(name) for name in _FIELDS})  # type: ignore[arg-type]  # whole where they are ints

    def with_rounds(self, rounds: int) -> Amounts:
        """The same work in ``rounds`` rounds."""
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

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict that :meth:`from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> BlockAmounts:
        """What :meth:`to_json` wrote."""
        groups = {kind: Amounts(**amounts) for kind, amounts in document["groups"].items()}
        return cls(shared=Amounts(**document["shared"]), groups=groups, mlp=Amounts(**document["mlp"]))


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

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict that :meth:`from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ModelAmounts:
        """What :meth:`to_json` wrote."""
        return cls(
            stem=Amounts(**document["stem"]),
            blocks=tuple(map(BlockAmounts.from_json, document["blocks"])),
            head=Amounts(**document["head"]),
        )


def in_parallel(parts: Iterable[Amounts]) -> Amounts:
    """All ``parts`` at the same time: work adds up, rounds are those of the longest."""
    parts = list(parts)
    total = sum(parts, start=Amounts())
    return total.with_rounds(max((part.rounds for part in parts), default=0))


def plan_amounts(plan: Plan) -> ModelAmounts:
    """The amounts of ``plan``, part by part. Their total has exactly the plan's rounds and bytes, but for the setup."""
    work = _work(plan)
    names = [step.name for step in plan.steps]
    inside = [index for index, name in enumerate(names) if _BLOCK.match(name)]
    depth = 1 + max(int(match[1]) for name in names if (match := _BLOCK.match(name)))
    stem, head = names[: inside[0]], names[inside[-1] + 1 :]
    blocks = []
    start = _end(plan, stem)
    stem_amounts = _sum(work, stem).with_rounds(start)
    for number in range(depth):
        block, end = _block(plan, work, [name for name in names if name.startswith(f"block{number}.")], start)
        blocks.append(block)
        start = end
    head_amounts = _sum(work, head).with_rounds(len(plan.messages) - start)
    return ModelAmounts(stem=stem_amounts, blocks=tuple(blocks), head=head_amounts)


def _block(plan: Plan, work: Mapping[str, Amounts], names: list[str], start: int) -> tuple[BlockAmounts, int]:
    """A block's amounts, and the round after which it is done."""
    attention = [name for name in names if _ATTENTION.match(_inside(name))]
    mlp = [name for name in names if not _ATTENTION.match(_inside(name))]
    members: dict[str, list[str]] = {}
    for name in attention:
        found = _GROUP.match(_inside(name))
        if found:
            members.setdefault(found[1], []).append(name)
    grouped = {name for group in members.values() for name in group}
    shared_names = [name for name in attention if name not in grouped]
    before = next(index for index, name in enumerate(attention) if name in grouped)
    fork, middle, end = _end(plan, attention[:before]), _end(plan, attention), _end(plan, names)
    groups = {kind: _sum(work, group).with_rounds(_end(plan, group) - fork) for kind, group in members.items()}
    shared = _sum(work, shared_names).with_rounds(middle - start - in_parallel(groups.values()).rounds)
    return BlockAmounts(shared=shared, groups=groups, mlp=_sum(work, mlp).with_rounds(end - middle)), end


def _end(plan: Plan, names: Iterable[str]) -> int:
    """The round after which all of these steps are done."""
    return max((plan.depths[name] for name in names), default=0)


def _inside(name: str) -> str:
    """A step's name without its block."""
    found = _BLOCK.match(name)
    return found[2] if found else name


def _work(plan: Plan) -> dict[str, Amounts]:
    """Every step's amounts, rounds apart."""
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
    """Whether a product multiplies two activations: then neither half of it can be done ahead."""
    return isinstance(step.protocol, MaskedProduct) and step.inputs[-1] not in plan.program.parameters


def _opened(plan: Plan, step: PlannedStep) -> str:
    """The Program's value that an inserted step opens or reveals."""
    name = step.inputs[0].removesuffix("/open")
    return name if name in plan.program.types else plan.program.output


def _sum(work: Mapping[str, Amounts], names: Iterable[str]) -> Amounts:
    return sum((work[name] for name in names), start=Amounts())
