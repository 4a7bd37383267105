"""DVT's denoiser (Yang et al., ECCV 2024): one more block, with positions of its own, behind a trained model.

The block learns to take away what belongs to places. DVT's targets are features that a neural field per picture has
cleaned; here those of the objective ``self_distillation`` serve, with the rest of the model frozen
(``trained: ["blocks.N.*", "denoiser_embed"]``, N being the new block's number).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

import torch

from mpcvit.errors import ConfigError
from mpcvit.models.block import BlockConfig
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.vit import Block, VisionTransformer
from mpcvit.train.token_hooks.token_hook import TokenHook


@dataclass(frozen=True, kw_only=True)
class Denoiser(TokenHook):
    """An ordinary block behind the last one, and a position embedding before it. At first it changes nothing.

    Attributes:
        heads: the kinds of its heads; as in the block before it if empty.
        hidden: width of its MLP; as in the block before it if 0.
    """

    kind: Literal["denoiser"] = "denoiser"
    heads: tuple[AttentionKind, ...] = ()
    hidden: int = 0

    def extend(self, config: ViTConfig) -> ViTConfig:
        if config.denoiser:
            raise ConfigError(
                "a denoiser for a model that has one",
                expected="a model without a denoiser",
                remedy="Train it on without this hook.",
            )
        last = config.blocks[-1]
        block = BlockConfig(
            heads=self.heads or last.heads, activation=last.activation, hidden=self.hidden or last.hidden
        )
        return replace(config, blocks=(*config.blocks, block), denoiser=True)

    @torch.no_grad()
    def start(self, model: VisionTransformer) -> None:
        block = cast(Block, model.blocks[-1])
        for layer in (block.attn.proj, block.mlp.fc2):
            for parameter in layer.parameters():
                parameter.zero_()
