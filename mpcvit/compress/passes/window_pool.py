"""Window pooling on a trained model; see :mod:`mpcvit.models.reduction.window_pool`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.compress.compression import Compression, Notify
from mpcvit.compress.tokens.reduction import check_blocks, reduced, with_reductions
from mpcvit.errors import ConfigError
from mpcvit.models.kinds import ReductionKind
from mpcvit.models.token_flow import Reduction, Tokens
from mpcvit.models.vit import VisionTransformer


@dataclass(frozen=True, kw_only=True)
class WindowPoolPass(Compression):
    """Average windows of patches before some blocks. No new weights, and nothing to pay for under MPC.

    Attributes:
        blocks: where, ascending.
        window: side of a window in patches, at least 2.

    Raises:
        ConfigError: the window or the blocks cannot be.
    """

    name: ClassVar[str] = "window_pool"
    blocks: tuple[int, ...]
    window: int = 2

    def __post_init__(self) -> None:
        check_blocks(self.blocks)
        if self.window < 2:
            raise ConfigError(
                f"windows of {self.window} x {self.window} patches", expected="at least 2 x 2", remedy="Use wider ones."
            )

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        return reduced(model, with_reductions(model.config, self.blocks, self._pooled))

    def _pooled(self, tokens: Tokens) -> Reduction:
        if tokens.side is None or tokens.side % self.window:
            grid = "tokens that are no grid" if tokens.side is None else f"{tokens.side} x {tokens.side} patches"
            raise ConfigError(
                f"windows of {self.window} x {self.window} patches on {grid}",
                expected="a grid that the windows divide",
                remedy="Choose another window, or blocks before tokens are selected.",
            )
        return Reduction(kind=ReductionKind.WINDOW_POOL, keep=tokens.own + (tokens.side // self.window) ** 2)
