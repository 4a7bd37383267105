"""A model of another configuration with as much as possible of a model's weights."""

from __future__ import annotations

from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer
from mpcvit.train.run import copy_matching


def rebuilt(model: VisionTransformer, config: ViTConfig) -> VisionTransformer:
    """Return a model of ``config`` in eval mode, with the parameters of ``model`` wherever names and shapes agree."""
    result = VisionTransformer(config).to(model.pos_embed)
    copy_matching(model, result)
    return result.eval()
