"""EViT (Liang et al., ICLR 2022): behind the attention the best tokens stay, the others become one.

Axes: B batch, H heads, N tokens, K kept tokens, D width (of a head where heads are meant).

Differences to the source, all for the sake of MPC or of other kinds of heads:

* Tokens are ranked by sum_h <q_r, k_j>, not by softmaxed weights: scores exist, and mean the same, for every attention
  kind, and softmax is monotone in each of them for one head. r is the class token; without one, the mean query.
* The dropped tokens become their plain mean, not a sum weighted by scores: that is local on shares.
* A token that was fused in an earlier block is a candidate like any other.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.models.kinds import ReductionKind
from mpcvit.models.reduction.ordering import ordered
from mpcvit.models.reduction.reduction import TokenReduction
from mpcvit.models.token_flow import Tokens


class EvitReduction(TokenReduction):
    """Keeps K of the tokens, the class token first, then the best in order, and appends the mean of the others.

    Has no parameters. Gradients reach the tokens, not the scores, as in the source without its weights.

    Args:
        before, after: the tokens that come in and go out, which are K + 1.
    """

    kind: ClassVar[ReductionKind] = ReductionKind.EVIT

    def __init__(self, dim: int, before: Tokens, after: Tokens) -> None:
        super().__init__(dim, before, after)
        self.chosen = after.count - 1 - before.own

    def forward(self, x_BND: torch.Tensor, *attention: torch.Tensor) -> torch.Tensor:
        """Return [B, K + 1, D], ranked by the queries and keys of the attention before."""
        q_BHND, k_BHND = attention
        best_BND = ordered(x_BND[:, self.own :], evit_scores(q_BHND, k_BHND, self.own))
        kept_BKD, dropped_BMD = best_BND[:, : self.chosen], best_BND[:, self.chosen :]
        return torch.cat([x_BND[:, : self.own], kept_BKD, dropped_BMD.mean(dim=1, keepdim=True)], dim=1)


def evit_scores(q_BHND: torch.Tensor, k_BHND: torch.Tensor, own: int) -> torch.Tensor:
    """Return [B, N - own]: how much every token but the class token is asked for.

    ``own`` is 1 with a class token, or 0.
    """
    reader_BH1D = q_BHND[:, :, :1] if own else q_BHND.mean(dim=-2, keepdim=True)
    scores: torch.Tensor = (reader_BH1D @ k_BHND.mT).sum(dim=1).squeeze(1)
    return scores[:, own:]
