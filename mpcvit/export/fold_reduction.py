"""What is left of a block's token reduction after folding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.export.affine import Affine
from mpcvit.export.normalise import Division
from mpcvit.models.kinds import Ranking, ReductionKind
from mpcvit.models.reduction.spvit import SpvitReduction
from mpcvit.models.token_flow import Reduction, Tokens
from mpcvit.models.vit import Block


@dataclass(frozen=True)
class FoldedSelector:
    """An SPViT selector, float64; W is its width.

    Attributes:
        norm: what is left of its norm.
        embed: [D, W] behind the norm's division, the norm's gain and bias folded in.
        local: [W/2, W/2], of the first half of what ``embed`` gives.
        average: [W/2, W/2], of the *sum* over tokens of the second half: divided by their number.
        bias: [W/2].
        score: [W/2, 1]. Its bias changes no order, and is left out.
    """

    norm: Division | None
    embed: Affine
    local: torch.Tensor
    average: torch.Tensor
    bias: torch.Tensor
    score: torch.Tensor


@dataclass(frozen=True)
class FoldedReduction:
    """One block's reduction.

    Attributes:
        before, after: the tokens that it reads and leaves.
        selector: of ``spvit``.
        ranking: of ``evit``.
        head_dim: width of the block's heads.
    """

    kind: ReductionKind
    before: Tokens
    after: Tokens
    selector: FoldedSelector | None
    ranking: Ranking
    head_dim: int

    @property
    def chosen(self) -> int:
        """Tokens that a selection keeps besides the class token and the one that it adds."""
        return self.after.count - 1 - self.before.own


def fold_reduction(block: Block, reduction: Reduction | None, before: Tokens) -> FoldedReduction | None:
    """Return the reduction of ``block``, which reads the tokens ``before``; None if there is none."""
    if reduction is None:
        return None
    selector = _fold_selector(block.entry, before) if isinstance(block.entry, SpvitReduction) else None
    after = before.reduced(reduction)
    return FoldedReduction(reduction.kind, before, after, selector, reduction.ranking, block.attn.head_dim)


def _fold_selector(selector: SpvitReduction, tokens: Tokens) -> FoldedSelector:
    mix, part = Affine.of(selector.mix), selector.part
    return FoldedSelector(
        Division.of(selector.norm),
        Affine.of(selector.embed).after(selector.norm),
        mix.weight[:part],
        mix.weight[part:] / (tokens.count - tokens.own),
        mix.bias,
        Affine.of(selector.score).weight,
    )
