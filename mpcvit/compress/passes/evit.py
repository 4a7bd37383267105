"""EViT (Liang et al., ICLR 2022) on a trained model; see :mod:`mpcvit.models.reduction.evit`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mpcvit.compress.tokens.selection import TokenSelection
from mpcvit.models.kinds import Ranking, ReductionKind
from mpcvit.models.token_flow import Reduction, Tokens


@dataclass(frozen=True, kw_only=True)
class EvitPass(TokenSelection):
    """Keep the tokens that the attention of some blocks reads most, and one for the others. No new weights.

    The model is usable as it is, and better after some epochs of training. EViT trains from the start and lowers the
    ratio slowly, which a configuration's fixed counts do not allow.

    Attributes:
        ranking: ``attention`` as in the paper, or ``products``, which costs less under MPC.
    """

    name: ClassVar[str] = "evit"
    kind: ClassVar[ReductionKind] = ReductionKind.EVIT
    ranking: Ranking = Ranking.PRODUCTS

    def reduction(self, tokens: Tokens) -> Reduction | None:
        found = super().reduction(tokens)
        return None if found is None else replace(found, ranking=self.ranking)
