"""What widths cost on secret shares, for :func:`mpcvit.quantize.MixedPrecision`.

Linear layers cost the same at any width, and so, nearly, do rounds and openings; what shrinks is the keys that the
dealer makes for gates. A plan's material is the sum of its steps', and a step's depends on the width at its own gate
alone, so one export for every width tells what any mixture deals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import Objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.errors import ConfigError
from mpcvit.export.builder import Precision
from mpcvit.export.exported import Exported
from mpcvit.export.model import export_model
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.quantized.lower import lower, narrowing_layer
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.allocate.mixed_precision import WidthCost
from mpcvit.quantize.config import Bits, QuantizeConfig
from mpcvit.quantize.quantize import quantize

#: Behind the layers' names: what no layer's width changes.
_REST = ""


def dealt_bytes(
    model: VisionTransformer,
    start: QuantizeConfig,
    images: torch.Tensor,
    goal: Objective,
    lowest: int,
    on_width: Callable[[int], None] = lambda width: None,
    normalisation: Normalisation = NOISE,
    *,
    allow_calibrated: bool = False,
) -> WidthCost:
    """Return a cost of widths: bytes that the dealer sends to both parties for one picture.

    Quantizes and exports the model once for every width of activations from ``lowest``, or a narrower one that
    ``start`` has, to the widest in ``start``.

    Args:
        start: the method and the widest widths.
        images: calibration pictures, float [count, channels, size, size].
        goal: what plans minimise.
        lowest: least activation bits that the cost can be asked for.
        on_width: called with each width before its export, which takes seconds.
        normalisation: of ``images``.
        allow_calibrated: as :func:`~mpcvit.export.model.export_model` takes it.

    Raises:
        ConfigError: ``lowest`` is more than the widest.
    """
    given = [start.bits.activation, *(bits.activation for _, bits in start.layers)]
    widest = max(given)
    if lowest > widest:
        raise ConfigError(f"{lowest} bits at least", expected=f"at most {widest}, the widest", remedy="Lower it.")
    by_width: dict[int, dict[str, int]] = {}
    for width in range(widest, min(lowest, *given) - 1, -1):
        on_width(width)
        bits = replace(start.bits, activation=width)
        config = replace(start, bits=bits, layers=(), reconstruct=False)
        lowered = lower(quantize(model, config, images))
        precision = Precision(steps=lowered.steps)
        exported = export_model(
            lowered.model, images, precision, normalisation=normalisation, allow_calibrated=allow_calibrated
        )
        by_width[width] = _by_layer(exported, goal)
    rest = by_width[widest][_REST]

    def cost(widths: Mapping[str, Bits]) -> float:
        return rest + sum(by_width[bits.activation].get(name, 0) for name, bits in widths.items())

    return cost


def _by_layer(exported: Exported, goal: Objective) -> dict[str, int]:
    """Return the bytes by the layer whose width they depend on."""
    dealt: dict[str, int] = {}
    plan = make_plan(exported.program, goal)
    costs = fast_cost(plan).steps
    for step in plan.steps:
        part, its_cost = exported.parts.get(step.node), costs[step.name]
        layer = _REST if part is None else narrowing_layer(part) or _REST
        dealt[layer] = dealt.get(layer, 0) + sum(its_cost.material_bytes)
    return dealt
