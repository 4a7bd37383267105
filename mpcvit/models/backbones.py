"""The backbones of float models: one row each.

How one is exported is in the module of :mod:`mpcvit.export` that has its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpcvit.models.config import ViTConfig
from mpcvit.models.efficientformer import EfficientFormer, EfficientFormerConfig
from mpcvit.models.segmenter import Segmenter, SegmenterConfig
from mpcvit.models.vit import VisionTransformer

FloatModel = VisionTransformer | EfficientFormer | Segmenter


@dataclass(frozen=True)
class ModelFamily:
    """A family of models.

    Attributes:
        config: a frozen dataclass whose class attribute ``family`` names it on disk.
        model: made of a ``config``, which it has as an attribute; takes normalised pictures and gives logits, of one
            or of every place.
    """

    config: type[Any]
    model: type[Any]


BACKBONES: dict[str, ModelFamily] = {
    ViTConfig.family: ModelFamily(ViTConfig, VisionTransformer),
    EfficientFormerConfig.family: ModelFamily(EfficientFormerConfig, EfficientFormer),
    SegmenterConfig.family: ModelFamily(SegmenterConfig, Segmenter),
}
