"""EViT (Liang et al., ICLR 2022) on a trained model; see :mod:`mpcvit.models.reduction.evit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcvit.compress.tokens.selection import TokenSelection
from mpcvit.models.kinds import ReductionKind


@dataclass(frozen=True, kw_only=True)
class EvitPass(TokenSelection):
    """Keep the tokens that the attention of some blocks reads most, and the mean of the others. No new weights.

    The model is usable as it is, and better after some epochs of training. EViT trains from the start and lowers the
    ratio slowly, which a configuration's fixed counts do not allow.
    """

    name: ClassVar[str] = "evit"
    kind: ClassVar[ReductionKind] = ReductionKind.EVIT
