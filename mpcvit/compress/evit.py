"""EViT (Liang et al., ICLR 2022) on a trained model; see :mod:`mpcvit.models.reduction.evit`."""

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
class Evit(Compression):
    """Keep the tokens that the attention of some blocks reads most, and the mean of the others. No new weights.

    The model is usable as it is, and better after some epochs of training. EViT trains from the start and lowers the
    ratio slowly, which a configuration's fixed counts do not allow.

    Attributes:
        ratio: of the tokens that come into each block (but for a class token), the share that is kept, rounded up; in
            (0, 1]. 1 changes nothing.
        blocks: where, ascending. EViT: 3, 6 and 9 of DeiT's 12.

    Raises:
        ConfigError: the ratio or the blocks cannot be.
    """

    name: ClassVar[str] = "evit"
    ratio: float
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        check_blocks(self.blocks)

    def apply(self, model: VisionTransformer, images: torch.Tensor) -> VisionTransformer:
        choose = partial(selection, ReductionKind.EVIT, self.ratio)
        return reduced(model, with_reductions(model.config, self.blocks, choose))
