"""A model's weights at a party: opened under masks once per load, for all inferences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.engines.masked.dealer import own_weight_mask
from mpcvit.engines.masked.plan import Plan
from mpcvit.engines.masked.wires import Masked, Opening, Wire
from mpcvit.engines.shared import shared
from mpcvit.program.reference import Weights, check_weights
from mpcvit.ring.prg import Prg


@dataclass(frozen=True, repr=False)
class FastWeights:
    """A model's parameters at one party, ready for the engine.

    Attributes:
        wires: parameters that products read, Masked; all others Shared.
    """

    wires: dict[str, Wire]


def open_weights(plan: Plan, weights: Weights, prg: Prg, exchange: Callable[[memoryview], memoryview]) -> FastWeights:
    """Open the masked parameters, once per model load: one message, 8 bytes per weight.

    Args:
        weights: this party's share of every parameter.
        prg: this party's generator for this load, seeded by the dealer. A new load or model version needs a new one.
        exchange: sends this party's bytes to the other, returns the other's.

    Raises:
        ShapeMismatch: the weight shares do not fit the Program.
    """
    check_weights(plan.program, weights)
    shares = {name: torch.from_numpy(np.asarray(share)) for name, share in weights.items()}
    wires: dict[str, Wire] = {name: shared(share) for name, share in shares.items()}
    masks = {name: own_weight_mask(plan, prg, name) for name in plan.masked_parameters}
    if not masks:
        return FastWeights(wires)
    flat = torch.cat([(shares[name] + mask).reshape(-1) for name, mask in masks.items()])
    opening = Opening(flat.numpy().view(np.uint64))
    hats = torch.from_numpy(opening.combine(exchange(opening.share.data.cast("B"))).view(np.int64))
    for (name, mask), hat in zip(masks.items(), hats.split([mask.numel() for mask in masks.values()]), strict=True):
        wires[name] = Masked(hat.reshape(mask.shape), mask)
    return FastWeights(wires)
