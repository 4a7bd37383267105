"""What passes ask of the models that they are given."""

from __future__ import annotations

from mpcvit.errors import ConfigError
from mpcvit.models.block import FULL
from mpcvit.models.vit import VisionTransformer


def check_ordinary_layers(model: VisionTransformer, name: str) -> None:
    """Raise ConfigError if the model has layers of low rank; ``name`` is the pass'."""
    if any(block.ranks != FULL for block in model.config.blocks):
        raise ConfigError(
            f"layers of low rank before the pass '{name}'",
            expected="ordinary linear layers",
            remedy="Run this pass before 'mixed_rank'; 'minivit' and 'mixed_rank' exclude each other.",
        )


def check_own_weights(model: VisionTransformer, name: str) -> None:
    """Raise ConfigError if blocks share weights; ``name`` is the pass'."""
    if any(block.shares or block.transformations is not None for block in model.config.blocks):
        raise ConfigError(
            f"blocks that share weights before the pass '{name}'",
            expected="blocks with weights of their own",
            remedy="Run this pass before 'minivit'; 'minivit' and 'mixed_rank' exclude each other.",
        )
