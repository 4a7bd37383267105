"""What EViT and SPViT have in common as passes: blocks, and the share of the tokens that each of them keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.compress.compression import Compression, Notify
from mpcvit.compress.tokens.reduction import check_blocks, check_ratio, reduced, selection, with_reductions
from mpcvit.models.kinds import ReductionKind
from mpcvit.models.token_flow import Reduction, Tokens
from mpcvit.models.vit import VisionTransformer


@dataclass(frozen=True, kw_only=True)
class TokenSelection(Compression):
    """Selections of one kind.

    Attributes:
        kind: of them.
        ratio: of the tokens that come into each block (but for a class token), the share that is kept, rounded up; in
            (0, 1]. 1 changes nothing.
        blocks: where, ascending. The sources: 3, 6 and 9 of DeiT's 12.

    Raises:
        ConfigError: the ratio or the blocks cannot be.
    """

    kind: ClassVar[ReductionKind]
    ratio: float
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        check_blocks(self.blocks)

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        return reduced(model, with_reductions(model.config, self.blocks, self.reduction))

    def reduction(self, tokens: Tokens) -> Reduction | None:
        """Return what reduces ``tokens``; None for nothing."""
        return selection(self.kind, self.ratio, tokens)
