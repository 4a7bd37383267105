"""A small model with several budgets, for tests."""

from __future__ import annotations

from functools import cache

import torch

from mpcvit.export.budgets.export import ExportedBudget, export_budgets
from mpcvit.export.exported import Exported
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.prefix import Prefix
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.budgets import BudgetProgram
from mpcvit.store.exported import Description, ModelFolder
from tests.support.columns import varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE, QUICK
from tests.support.models import make_model

#: Kinds in an order that folding changes, so that the first head's columns are not the first ones.
CONFIG: ViTConfig = varied(
    BASE,
    heads=((AttentionKind.SCALING, AttentionKind.SQUARE, AttentionKind.SCALING),) * 2,
    activation=(Activation.RELU, Activation.QUAD),
)
BUDGETS = {
    "fast": Prefix(depth=1),
    "thin": Prefix(heads=2, hidden=6),
}


@cache
def budget_model() -> tuple[VisionTransformer, torch.Tensor]:
    """The model, and normalised pictures."""
    return make_model(CONFIG, gain=1.5), make_images(CONFIG, 16)


@cache
def exported_budgets() -> tuple[Exported, dict[str, ExportedBudget]]:
    """Its Programs, with calibrated ranges."""
    model, images = budget_model()
    return export_budgets(model, BUDGETS, images, QUICK)


def budget_folder() -> ModelFolder:
    """The model as it is exported."""
    whole, parts = exported_budgets()
    budgets = {name: BudgetProgram(part.exported.program, part.views, part.own) for name, part in parts.items()}
    description = Description(
        name="elastic", version="1", labels=("a", "b", "c"), mean=(0.5,) * 3, std=(0.25,) * 3, reveal=whole.reveal
    )
    return ModelFolder(description, whole.program, whole.weights, budgets)
