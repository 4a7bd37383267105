"""Export of a ViT with several budgets: the whole model, and its first parts on the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.errors import ConfigError, ProgramError
from mpcvit.export.answer import check_reveal
from mpcvit.export.budgets.narrow import narrowed
from mpcvit.export.budgets.slices import views_of
from mpcvit.export.builder import Precision
from mpcvit.export.exported import Exported, begin
from mpcvit.export.factors import Factors
from mpcvit.export.fold import fold
from mpcvit.export.folded import FoldedViT
from mpcvit.export.model import proven_or_calibrated
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.traced.model import TracedModel
from mpcvit.export.vit import lower_vit
from mpcvit.models.backbones import FloatModel
from mpcvit.models.prefix import Prefix, prefixed
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.views import View
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.reveal import LOGITS, Disclosure, RevealKind


@dataclass(frozen=True)
class ExportedBudget:
    """One more Program of a model's weights.

    Attributes:
        exported: the Program, and all its weights.
        views: its parameters that are slices of the whole model's.
        own: its other parameters.
    """

    exported: Exported
    views: dict[str, View]
    own: dict[str, Codes]


@torch.no_grad()
def export_budgets(
    model: VisionTransformer,
    budgets: Mapping[str, Prefix],
    images: torch.Tensor,
    precision: Precision | None = None,
    reveal: Disclosure = LOGITS,
    factors: Factors = Factors.MERGED,
    normalisation: Normalisation = NOISE,
) -> tuple[Exported, dict[str, ExportedBudget]]:
    """Return the Program of ``model`` as :func:`~mpcvit.export.vit.export_vit` makes it, and one for each budget.

    Ranges of every Program are proven, or calibrated, for that Program. Its matrices are the whole model's codes, or
    slices of them.

    Args:
        budgets: by name, how much of the model is left.
        images, precision, reveal, factors, normalisation: as ``export_vit`` takes them.

    Raises:
        ConfigError: a budget does not fit the model, or the model matches with a reference, which is put in later.
        InputError, ProgramError, RangeError: of ``export_vit``.
    """
    if reveal.kind is RevealKind.MATCH:
        raise ConfigError("budgets of a model that matches", expected="other answers", remedy="Leave --budget out.")
    parts = {name: prefixed(model, prefix) for name, prefix in budgets.items()}
    check_reveal(reveal, model.config.classes)
    folded = fold(model, factors)
    b, image = begin(images, model.config.input_shape, normalisation, precision)
    whole = lower_vit(b, image, folded, model, normalisation, reveal)

    def export(part: VisionTransformer) -> ExportedBudget:
        b, image = begin(images, model.config.input_shape, normalisation, precision, whole.units)
        narrow = narrowed(folded, fold(part, factors))
        for slice_, of in narrow.parts:
            b.part_of(slice_, of)
        return _split(whole, lower_vit(b, image, narrow.folded, part, normalisation, reveal), folded, part)

    return whole, {name: export(part) for name, part in parts.items()}


def export_model_budgets(
    model: FloatModel | TracedModel,
    budgets: Mapping[str, Prefix],
    images: torch.Tensor,
    precision: Precision,
    reveal: Disclosure = LOGITS,
    factors: Factors = Factors.MERGED,
    normalisation: Normalisation = NOISE,
    *,
    allow_calibrated: bool = False,
) -> tuple[Exported, dict[str, ExportedBudget]]:
    """Return what :func:`export_budgets` does, with calibrated ranges where they are allowed and cannot be proven.

    Raises:
        ConfigError: the model is no ViT of ours, or a budget does not fit it.
        InputError, ProgramError, RangeError: of the export.
    """
    if not isinstance(model, VisionTransformer):
        raise ConfigError(
            f"budgets of a model of the family '{model.config.family}'",
            expected="a ViT, trained by mpcvit or imported from timm as one of ours",
            remedy="Leave --budget out.",
        )
    return proven_or_calibrated(
        lambda chosen: export_budgets(model, budgets, images, chosen, reveal, factors, normalisation),
        precision,
        allow_calibrated=allow_calibrated,
    )


def _split(whole: Exported, part: Exported, folded: FoldedViT, model: VisionTransformer) -> ExportedBudget:
    """Return what of ``part`` is ``whole``'s, once it is certain that it is."""
    views = views_of(whole.program, part.program, folded.config, model.config)
    for name, view in views.items():
        stored, kind = whole.program.parameters[view.stored].qtype, part.program.parameters[name].qtype
        same = stored == kind and np.array_equal(view.read(whole.weights[view.stored]), part.weights[name])
        if not same:
            raise ProgramError(
                f"'{name}' of a budget, which is no slice of '{view.stored}'",
                expected="the same codes",
                remedy="This is a bug in the export; please report it with the model's configuration.",
            )
    own = {name: codes for name, codes in part.weights.items() if name not in views}
    return ExportedBudget(part, views, own)
