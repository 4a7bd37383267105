"""The folded weights of a model's first part, cut from those of the whole, so that both become the same codes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mpcvit.errors import ProgramError
from mpcvit.export.affine import Affine
from mpcvit.export.budgets.slices import head_columns, thirds
from mpcvit.export.fold_mlp import FoldedMlp
from mpcvit.export.folded import FoldedBlock, FoldedViT
from mpcvit.models.block import BlockConfig
from mpcvit.program.views import Runs

#: Between a slice of folded weights and the folded slice, relative to the largest: the order of sums.
_SAME = 1e-9

#: A slice, and what it is part of.
Pairs = list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Narrowed:
    """A folded part of a model.

    Attributes:
        folded: its matrices are the whole's, or slices of them.
        parts: the slices.
    """

    folded: FoldedViT
    parts: Pairs


def narrowed(whole: FoldedViT, part: FoldedViT) -> Narrowed:
    """Return ``part`` with the matrices of ``whole``.

    Args:
        part: of the first part of the model that ``whole`` was folded from.

    Raises:
        ProgramError: a matrix is no slice of the whole's (a bug).
    """
    parts: Pairs = []
    width = whole.config.head_dim
    blocks = [
        _block(parts, whole.blocks[number], part.blocks[number], before, after, width)
        for number, (before, after) in enumerate(zip(whole.config.blocks, part.config.blocks, strict=False))
    ]
    return Narrowed(replace(part, blocks=tuple(blocks), embed=whole.embed, head=whole.head), parts)


def _block(
    parts: Pairs, whole: FoldedBlock, part: FoldedBlock, before: BlockConfig, after: BlockConfig, width: int
) -> FoldedBlock:
    if before == after:
        return replace(whole, tokens=part.tokens)
    columns = head_columns(before, after, width)
    qkv, proj, mlp = whole.qkv, whole.proj, whole.mlp
    if columns:
        qkv = _cut(parts, whole.qkv, part.qkv, (), thirds(columns, before.inner(width)))
        proj = _cut(parts, whole.proj, part.proj, columns, ())
    if before.hidden != after.hidden:
        mlp = _mlp(parts, whole.mlp, part.mlp, ((0, after.hidden),))
    return replace(part, qkv=qkv, proj=proj, mlp=mlp)


def _mlp(parts: Pairs, whole: FoldedMlp, part: FoldedMlp, hidden: Runs) -> FoldedMlp:
    if whole.activated is None or part.activated is None:
        raise _no_slice()
    fc1 = _cut(parts, whole.activated.fc1, part.activated.fc1, (), hidden)
    fc2 = _cut(parts, whole.activated.fc2, part.activated.fc2, hidden, ())
    return replace(part, activated=replace(part.activated, fc1=fc1, fc2=fc2))


def _cut(parts: Pairs, whole: Affine, part: Affine, rows: Runs, columns: Runs) -> Affine:
    """Return ``part`` with a slice of the whole's matrix. Its bias stays: sums over what was cut are folded into it."""
    weight = whole.weight
    for axis, runs in enumerate((rows, columns)):
        if runs:
            weight = torch.cat([weight.narrow(axis, start, stop - start) for start, stop in runs], dim=axis)
    scale = max(float(weight.abs().max()), 1e-300)
    if weight.shape != part.weight.shape or float((weight - part.weight).abs().max()) > _SAME * scale:
        raise _no_slice()
    parts.append((weight, whole.weight))
    return replace(part, weight=weight)


def _no_slice() -> ProgramError:
    return ProgramError(
        "a part of a model whose folded weights are no slice of the whole's",
        expected="the same weights",
        remedy="This is a bug in the export; please report it with the model's configuration.",
    )
