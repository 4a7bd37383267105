"""Export of a model of any family."""

from __future__ import annotations

import torch

from mpcvit.export.builder import Precision
from mpcvit.export.efficientformer import export_efficientformer
from mpcvit.export.exported import Exported
from mpcvit.export.factors import Factors
from mpcvit.export.vit import export_vit
from mpcvit.models.efficientformer import EfficientFormer
from mpcvit.models.files import FloatModel
from mpcvit.wire.reveal import LOGITS, Reveal


def export_model(
    model: FloatModel,
    images: torch.Tensor,
    precision: Precision | None = None,
    reveal: Reveal = LOGITS,
    factors: Factors = Factors.MERGED,
) -> Exported:
    """The Program of ``model``; see :func:`mpcvit.export.vit.export_vit`. EfficientFormers have no factors."""
    if isinstance(model, EfficientFormer):
        return export_efficientformer(model, images, precision, reveal)
    return export_vit(model, images, precision, reveal, factors)
