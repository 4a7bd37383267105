"""EViT (Liang et al., ICLR 2022): behind the attention the best tokens stay, the others become one.

Axes: B batch, H heads, N tokens, K kept tokens, D width (of a head where heads are meant).

As in the source with ``Ranking.ATTENTION``: tokens are ranked by a_j, the mean over heads of softmax_j <q_r, k_j>, and
what is dropped becomes sum_j a_j x_j, not divided by the sum of its weights.

``Ranking.PRODUCTS`` is cheaper under MPC: tokens are ranked by sum_h <q_r, k_j>, in which softmax is monotone for one
head, and what is dropped becomes its plain mean, which is local on shares. At a ratio of 0.7, some 86 % of the tokens
that one keeps are kept by the other.

Differences to the source with either:

* r is the class token; without one, the mean query. Scores are softmaxed for the ranking whatever the kind of heads.
* A token that was fused in an earlier block is a candidate like any other.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.models.kinds import Ranking, ReductionKind
from mpcvit.models.reduction.ordering import ordered
from mpcvit.models.reduction.reduction import TokenReduction
from mpcvit.models.token_flow import Tokens


class EvitReduction(TokenReduction):
    """Keeps K of the tokens, the class token first, then the best in order, and appends one for the others.

    Has no parameters. Gradients reach the tokens, and with ``Ranking.ATTENTION`` the weights of what is dropped.

    Args:
        before, after: the tokens that come in and go out, which are K + 1.

    Attributes:
        ranking: of the tokens.
    """

    kind: ClassVar[ReductionKind] = ReductionKind.EVIT

    def __init__(self, dim: int, before: Tokens, after: Tokens) -> None:
        super().__init__(dim, before, after)
        self.chosen = after.count - 1 - before.own
        self.ranking = Ranking.PRODUCTS

    def forward(self, x_BND: torch.Tensor, *attention: torch.Tensor) -> torch.Tensor:
        """Return [B, K + 1, D], ranked by the queries and keys of the attention before."""
        q_BHND, k_BHND = attention
        rest_BND = x_BND[:, self.own :]
        if self.ranking is Ranking.PRODUCTS:
            best_BND = ordered(rest_BND, evit_scores(q_BHND, k_BHND, self.own))
            fused_B1D = best_BND[:, self.chosen :].mean(dim=1, keepdim=True)
        else:
            weights_BN = evit_weights(q_BHND, k_BHND, self.own)
            best_BND = ordered(rest_BND, weights_BN)
            weights_BN1 = ordered(weights_BN[..., None], weights_BN)
            fused_B1D = (weights_BN1 * best_BND)[:, self.chosen :].sum(dim=1, keepdim=True)
        return torch.cat([x_BND[:, : self.own], best_BND[:, : self.chosen], fused_B1D], dim=1)


def evit_scores(q_BHND: torch.Tensor, k_BHND: torch.Tensor, own: int) -> torch.Tensor:
    """Return [B, N - own]: how much every token but the first ``own`` is asked for by all heads together."""
    return _products(q_BHND, k_BHND, own).sum(dim=1)[:, own:]


def evit_weights(q_BHND: torch.Tensor, k_BHND: torch.Tensor, own: int) -> torch.Tensor:
    """Return [B, N - own]: the mean over heads of the attention that every token but the first ``own`` gets."""
    return _products(q_BHND, k_BHND, own).softmax(dim=-1).mean(dim=1)[:, own:]


def _products(q_BHND: torch.Tensor, k_BHND: torch.Tensor, own: int) -> torch.Tensor:
    """Return [B, H, N]: products of all keys with the query of the class token; without one, with the mean query."""
    reader_BH1D = q_BHND[:, :, :1] if own else q_BHND.mean(dim=-2, keepdim=True)
    products: torch.Tensor = (reader_BH1D @ k_BHND.mT).squeeze(2)
    return products
