"""What a pass changes: the costs of a secure inference before and after, from the Programs of both models."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from mpcvit.export.builder import Precision
from mpcvit.export.factors import Factors
from mpcvit.export.vit import export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.fast_cost import fast_cost
from mpcvit.program.objective import DEFAULT_OBJECTIVE, Objective
from mpcvit.program.plan import make_plan
from mpcvit.search.price import PRECISION, random_images


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a model takes, exactly, on the fast engine.

    Attributes:
        parameters: numbers in the float model; what blocks share counts once.
        rounds: message exchanges of one inference, setup included.
        bytes_sent: by each party in one inference.
        material_bytes: that the dealer sends to both parties together for one inference.
        macs: multiply-accumulates in the ring.
        comparisons: elements that go through a secure comparison.
        weight_bytes: that each party sends once per model load.
    """

    parameters: int
    rounds: int
    bytes_sent: int
    material_bytes: int
    macs: int
    comparisons: int
    weight_bytes: int


@dataclass(frozen=True)
class Effect:
    """Two footprints."""

    before: Footprint
    after: Footprint

    def shares(self) -> dict[str, float]:
        """What is left of each quantity, 1 for all of it; 1, too, where there was nothing."""
        was, now = asdict(self.before), asdict(self.after)
        return {name: now[name] / was[name] if was[name] else 1.0 for name in was}

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)


def footprint(
    model: VisionTransformer,
    images: torch.Tensor | None = None,
    *,
    objective: Objective = DEFAULT_OBJECTIVE,
    factors: Factors = Factors.MERGED,
    precision: Precision | None = None,
) -> Footprint:
    """The footprint of ``model``'s export.

    Args:
        images: normalised calibration pictures; by default a few of noise, which gives the same rounds and nearly the
            same bytes, as ranges decide only the length of keys and splines.
        objective: what the plan minimises.
        factors: as export takes them.
        precision: as export takes it; by default, with noise that of the search's probes.
    """
    if images is None:
        images, precision = random_images(model.config), precision or PRECISION
    cost = fast_cost(make_plan(export_vit(model, images, precision, factors=factors).program, objective))
    return Footprint(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        rounds=cost.total.rounds,
        bytes_sent=cost.total.bytes_sent[0],
        material_bytes=sum(cost.total.material_bytes),
        macs=cost.total.macs,
        comparisons=cost.total.comparisons,
        weight_bytes=cost.weight_bytes,
    )


def effect(
    before: VisionTransformer,
    after: VisionTransformer,
    images: torch.Tensor | None = None,
    *,
    objective: Objective = DEFAULT_OBJECTIVE,
    factors: Factors = Factors.MERGED,
    precision: Precision | None = None,
) -> Effect:
    """What changes from one model to the other, with the same pictures, objective, factors and precision for both."""
    both = (
        footprint(model, images, objective=objective, factors=factors, precision=precision) for model in (before, after)
    )
    return Effect(*both)
