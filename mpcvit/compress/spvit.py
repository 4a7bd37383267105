"""SPViT (Kong et al., ECCV 2022) on a trained model; see :mod:`mpcvit.models.reduction.spvit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcvit.compress.token_selection import TokenSelection
from mpcvit.models.config import ReductionKind


@dataclass(frozen=True, kw_only=True)
class Spvit(TokenSelection):
    """Selectors before some blocks, and a package token for what each drops.

    Selectors are new, with random weights of torch's generator: until they are trained they choose at random. SPViT
    trains 30 epochs with the unreduced model as teacher.
    """

    name: ClassVar[str] = "spvit"
    kind: ClassVar[ReductionKind] = ReductionKind.SPVIT
