"""Small models that tests search, and their prices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from mpcvit.export.builder import Precision
from mpcvit.link_profile import LinkProfile
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis
from mpcvit.pricing.table import PriceTable
from mpcvit.search.relaxed import RelaxedViT
from mpcvit.search.trial import Trial
from tests.support.columns import configured

SM, RS, SC = AttentionKind.SOFTMAX, AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING
GELU, RELU, NONE = Activation.GELU, Activation.RELU, Activation.IDENTITY


def config(heads: tuple[AttentionKind, ...] = (RS, RS), activation: Activation = RELU, depth: int = 2) -> ViTConfig:
    """A model for 8 x 8 pictures."""
    return configured(
        image_size=8,
        patch_size=2,
        classes=4,
        dim=16,
        hidden=24,
        heads=(heads,) * depth,
        activation=(activation,) * depth,
    )


#: Coarse splines of normalisers are fitted in a quarter of the time.
COARSE = Precision(margin=1.5, relative=2.0**-6, calibrated=True)


def table(
    profile: LinkProfile, folder: Path | None = None, on_probe: Callable[[str], None] = lambda what: None
) -> PriceTable:
    """Prices of coarse exports."""
    return PriceTable(profile, folder, on_probe, COARSE)


def relaxed(axis: GateAxis | None = GateAxis.TOKEN) -> RelaxedViT:
    """A relaxed model of two blocks of two heads."""
    torch.manual_seed(0)
    return RelaxedViT(config(), pair=(RS, SC), gate_axis=axis)


def trial(number: int, prices: PriceTable, accuracy: float) -> Trial:
    """A trial of some configuration."""
    one = config((RS, SC) if number % 2 else (SC, SC), RELU if number % 3 else NONE)
    return Trial(name=f"t{number}", method="test", config=one, accuracy=accuracy, epochs=2, price=prices.price(one))
