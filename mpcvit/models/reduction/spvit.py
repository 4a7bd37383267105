"""SPViT (Kong et al., ECCV 2022): a small network scores tokens before a block, and what is dropped becomes a package.

Axes: B batch, N tokens but for a class token, K kept tokens, D width, W width of the selector.

Differences to the source:

* How many tokens stay is fixed for every picture, in training as in use. SPViT pulls the *batch's mean* ratio towards a
  target with a loss, so that pictures differ; under MPC that would show how much there is to see in each.
* So there is no keep-or-drop pair of logits with hard Gumbel-softmax per token, but one logit, and in training the
  tokens with the largest logits plus Gumbel noise: a sample of K tokens without replacement (Kool et al., ICML 2019).
  Gradients go straight through: a kept token counts as if multiplied by its keep probability, a dropped one by the
  rest. Dropped tokens are gone, so that attention needs no mask. Through logits no gradient goes to the stream.
* One selector of width D/4 for the whole token, not one per head with an average by head weights (whose released code
  shares one module among all heads): every GELU of it is a spline under MPC.
* The package is the plain mean of what was dropped, not weighted by probabilities, and later a candidate like others.
* No noise in use; the released code adds it always.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import gelu

from mpcvit.models.kinds import ReductionKind
from mpcvit.models.norm import LayerNorm
from mpcvit.models.reduction.ordering import ordered
from mpcvit.models.reduction.reduction import TokenReduction
from mpcvit.models.token_flow import Tokens

#: The stream's width in parts of the selector's.
_SHRINKING = 4


class SpvitReduction(TokenReduction):
    """Keeps K of the tokens, the class token first, then the best in order, and appends the mean of the others.

    A token's logit is mlp([local, global]): both are halves of gelu(linear(norm(x))), the second one averaged over
    tokens.

    Args:
        dim: D.
        before, after: the tokens that come in and go out, which are K + 1.
    """

    kind: ClassVar[ReductionKind] = ReductionKind.SPVIT

    def __init__(self, dim: int, before: Tokens, after: Tokens) -> None:
        super().__init__(dim, before, after)
        self.chosen = after.count - 1 - before.own
        self.part = max(dim // (2 * _SHRINKING), 1)
        self.norm = LayerNorm(dim)
        self.embed = nn.Linear(dim, 2 * self.part)
        self.mix = nn.Linear(2 * self.part, self.part)
        self.score = nn.Linear(self.part, 1)

    def logits(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Return [B, N]: how much every token is to be kept."""
        h_BNW = gelu(self.embed(self.norm(x_BND)))
        local, average = h_BNW[..., : self.part], h_BNW[..., self.part :].mean(dim=-2, keepdim=True)
        mixed = gelu(self.mix(torch.cat([local, average.expand_as(local)], dim=-1)))
        logits: torch.Tensor = self.score(mixed).squeeze(-1)
        return logits

    def forward(self, x_BND: torch.Tensor, *attention: torch.Tensor) -> torch.Tensor:
        """Return [B, K + 1, D]."""
        own, rest = x_BND[:, : self.own], x_BND[:, self.own :]
        logits_BN = self.logits(rest.detach())
        scores_BN = logits_BN - torch.empty_like(logits_BN).exponential_().log() if self.training else logits_BN
        best = ordered(rest, scores_BN)
        kept, dropped = best[:, : self.chosen], best[:, self.chosen :]
        if self.training:
            chance = ordered(logits_BN[..., None], scores_BN).sigmoid()
            gradient = chance - chance.detach()  # 0, with the gradient of the chance
            kept, dropped = kept * (1 + gradient[:, : self.chosen]), dropped * (1 - gradient[:, self.chosen :])
        return torch.cat([own, kept, dropped.mean(dim=1, keepdim=True)], dim=1)
