"""The model that an exported one is compared with."""

from __future__ import annotations

from pathlib import Path

from mpcvit.export.quantized.lower import lower
from mpcvit.models.backbones import FloatModel
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.quantized import QUANTIZED_FOLDER, load_quantized
from mpcvit.store.trained import load_any_model


def real_model(folder: Path) -> FloatModel:
    """Return what the export in ``folder`` is in real arithmetic: the trained model, or what is exported of a quantized
    one.

    Raises:
        ModelFileError: the float weights are missing or damaged.
    """
    if (folder / QUANTIZED_FOLDER).is_dir():
        quantized, _ = load_quantized(folder / QUANTIZED_FOLDER)
        lowered = lower(quantized).model
        assert isinstance(lowered, VisionTransformer)  # noqa: S101 - as what was quantized
        return lowered
    return load_any_model(folder)
