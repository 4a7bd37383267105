"""What is left of dynamic prompts after folding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.export.affine import Affine
from mpcvit.export.normalise import Division
from mpcvit.models.dynamic_prompts import DynamicPrompts


@dataclass(frozen=True)
class FoldedPrompts:
    """Dynamic prompts, float64; W is their bottleneck's width.

    Attributes:
        norm: what is left of the norm of the patches.
        down: [D, W] behind the norm's division, the norm's gain and bias folded in.
        queries: [W, P], scaled.
        up: [W, D] without the mean of what it writes; a bias [P, D] per prompt.
    """

    norm: Division | None
    down: Affine
    queries: torch.Tensor
    up: Affine


def fold_prompts(prompts: DynamicPrompts) -> FoldedPrompts:
    """Return the folded weights of ``prompts``."""
    queries = prompts.queries.detach().double()
    up = Affine.of(prompts.up)
    up = Affine(up.weight, up.bias + prompts.base.detach().double()).centred()
    return FoldedPrompts(
        Division.of(prompts.norm),
        Affine.of(prompts.down).after(prompts.norm),
        queries.T * queries.shape[-1] ** -0.5,
        up,
    )
