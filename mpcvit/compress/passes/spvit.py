"""SPViT (Kong et al., ECCV 2022) on a trained model; see :mod:`mpcvit.models.reduction.spvit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.compress.compression import Notify
from mpcvit.compress.tokens.selection import TokenSelection
from mpcvit.compress.tokens.selector_imitation import imitate_scores
from mpcvit.models.kinds import ReductionKind
from mpcvit.models.vit import VisionTransformer


@dataclass(frozen=True, kw_only=True)
class SpvitPass(TokenSelection):
    """Selectors before some blocks, and a package token for what each drops.

    Selectors are new, and begin as imitations of EViT's scores
    (:mod:`mpcvit.compress.tokens.selector_imitation`). What else is different here (fixed counts, one
    selector for all heads, a plain mean as the package) the module says.

    Attributes:
        seed: of the weights that selectors are fitted from.
    """

    name: ClassVar[str] = "spvit"
    kind: ClassVar[ReductionKind] = ReductionKind.SPVIT
    seed: int = 0

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.seed)
            smaller = super().apply(model, images, report)
        imitate_scores(model, smaller, self.blocks, images, report)
        return smaller
