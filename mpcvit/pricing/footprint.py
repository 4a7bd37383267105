"""What a pass changes: the costs of a secure inference before and after, from the Programs of both models."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, Objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.builder import Precision
from mpcvit.export.factors import Factors
from mpcvit.export.model import export_model
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.traced.model import TracedModel
from mpcvit.models.vit import VisionTransformer
from mpcvit.pricing.random_export import PRECISION, random_images


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
        """Return what is left of each quantity, 1 for all of it; 1, too, where there was nothing."""
        was, now = asdict(self.before), asdict(self.after)
        return {name: now[name] / was[name] if was[name] else 1.0 for name in was}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def footprint(
    model: VisionTransformer | TracedModel,
    images: torch.Tensor | None = None,
    *,
    objective: Objective = DEFAULT_OBJECTIVE,
    factors: Factors = Factors.MERGED,
    precision: Precision | None = None,
    normalisation: Normalisation = NOISE,
) -> Footprint:
    """Return the footprint of ``model``'s export, with calibrated ranges where they cannot be proven.

    Args:
        images: normalised calibration pictures; by default a few of noise, which gives the same rounds and nearly the
            same bytes, as ranges decide only the length of keys and splines.
        objective: what the plan minimises.
        factors: as export takes them.
        precision: as export takes it; by default, with noise that of the search's probes.
        normalisation: of ``images``.
    """
    if images is None:
        assert isinstance(model, VisionTransformer)  # noqa: S101 - who measures other modules has pictures for them
        images, precision = random_images(model.config), precision or PRECISION
    exported = export_model(
        model, images, precision, factors=factors, normalisation=normalisation, allow_calibrated=True
    )
    cost = fast_cost(make_plan(exported.program, objective))
    return Footprint(
        parameters=sum(parameter.numel() for parameter in _weights(model).parameters()),
        rounds=cost.total.rounds,
        bytes_sent=cost.total.bytes_sent[0],
        material_bytes=sum(cost.total.material_bytes),
        macs=cost.total.macs,
        comparisons=cost.total.comparisons,
        weight_bytes=cost.weight_bytes,
    )


def _weights(model: VisionTransformer | TracedModel) -> nn.Module:
    return model.module if isinstance(model, TracedModel) else model


def effect(
    before: VisionTransformer | TracedModel,
    after: VisionTransformer | TracedModel,
    images: torch.Tensor | None = None,
    *,
    objective: Objective = DEFAULT_OBJECTIVE,
    factors: Factors = Factors.MERGED,
    precision: Precision | None = None,
    normalisation: Normalisation = NOISE,
) -> Effect:
    """Return what changes from one model to the other, with the same pictures, objective, factors and precision for
    both.
    """
    both = (
        footprint(model, images, objective=objective, factors=factors, precision=precision, normalisation=normalisation)
        for model in (before, after)
    )
    return Effect(*both)
