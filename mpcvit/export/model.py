"""Export of a model of any family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import TypeVar

import torch

from mpcvit.errors import RangeError
from mpcvit.export.builder import Precision
from mpcvit.export.exported import Exported
from mpcvit.export.factors import Factors
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.traced.model import TracedModel
from mpcvit.models.backbones import FloatModel
from mpcvit.wire.reveal import LOGITS, Disclosure

Result = TypeVar("Result")


def export_model(
    model: FloatModel | TracedModel,
    images: torch.Tensor,
    precision: Precision | None = None,
    reveal: Disclosure = LOGITS,
    factors: Factors = Factors.MERGED,
    normalisation: Normalisation = NOISE,
    *,
    allow_calibrated: bool = False,
) -> Exported:
    """Return the Program of ``model``; see :func:`mpcvit.export.vit.export_vit`.

    Args:
        allow_calibrated: export a model whose ranges cannot be proven with calibrated ones.

    Raises:
        InputError, ProgramError, RangeError: as there.
    """

    def export(chosen: Precision) -> Exported:
        return family.EXPORT(model, images, chosen, reveal, factors, normalisation)  # type: ignore[no-any-return]

    family = import_module(f"mpcvit.export.{model.config.family}")
    return proven_or_calibrated(export, precision or Precision(), allow_calibrated=allow_calibrated)


def proven_or_calibrated(export: Callable[[Precision], Result], chosen: Precision, *, allow_calibrated: bool) -> Result:
    """Return what ``export`` makes with ``chosen``, or with calibrated ranges where they cannot be proven.

    Raises:
        RangeError: they cannot, and calibrated ones are not allowed.
    """
    try:
        return export(chosen)
    except RangeError:
        if not allow_calibrated or chosen.calibrated:
            raise
    return export(replace(chosen, calibrated=True))
