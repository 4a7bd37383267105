"""SPViT (Kong et al., ECCV 2022) on a trained model; see :mod:`mpcvit.models.reduction.spvit`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from mpcvit.compress.compression import Compression
from mpcvit.compress.token_reduction import check_blocks, check_ratio, reduced, selection, with_reductions
from mpcvit.models.config import ReductionKind
from mpcvit.models.vit import VisionTransformer


@dataclass(frozen=True, kw_only=True)
class Spvit(Compression):
    """Selectors before some blocks, and a package token for what each drops.

    Selectors are new, with random weights of torch's generator: until they are trained they choose at random. SPViT
    trains 30 epochs with the unreduced model as teacher.

    Attributes:
        ratio: of the tokens that come into each block (but for a class token), the share that is kept, rounded up; in
            (0, 1]. 1 changes nothing.
        blocks: where, ascending. SPViT: 3, 6 and 9 of DeiT's 12.

    Raises:
        ConfigError: the ratio or the blocks cannot be.
    """

    name: ClassVar[str] = "spvit"
    ratio: float
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        check_blocks(self.blocks)

    def apply(self, model: VisionTransformer, images: torch.Tensor) -> VisionTransformer:
        choose = partial(selection, ReductionKind.SPVIT, self.ratio)
        return reduced(model, with_reductions(model.config, self.blocks, choose))
