"""MPCViT+'s second search (Zeng et al., ICCV 2023): at which tokens or channels the activation is needed.

Behind the first layer of an MLP, h becomes beta * act(h) + (1 - beta) * h with a beta per token (the released form) or
per channel. Penalty and discretisation are those of the heads; the authors have not published theirs. Where a whole
block loses its activation, export fuses its two linear layers.
"""

from __future__ import annotations

from dataclasses import replace

from mpcvit.models.config import Activation, Gate, ViTConfig
from mpcvit.search.discretise import keep_top
from mpcvit.search.price import PriceTable
from mpcvit.search.relaxed import RelaxedViT
from mpcvit.search.supernet import relative


def gate_weights(prices: PriceTable, config: ViTConfig) -> list[list[float]]:
    """Per block, one for all its positions: the seconds that its MLP saves without activation, relative to the mean."""
    bare = replace(config, activations=(Activation.IDENTITY,) * config.depth, gates=())
    saved = [prices.mlp_seconds(config, block) - prices.mlp_seconds(bare, block) for block in range(config.depth)]
    return [[weight] for weight in relative(saved)]


def gates_by_mu(model: RelaxedViT, mu: float) -> ViTConfig:
    """The configuration in which the top share ``mu`` of all positions keeps its activation."""
    return gated(model, keep_top(model.gate_switches, mu))


def gated(model: RelaxedViT, kept: list[list[bool]]) -> ViTConfig:
    """``model``'s configuration with the activation where ``kept`` says so, block by block."""
    config, axis = model.config, model.gate_axis
    assert axis is not None  # noqa: S101 - a model with relaxed gates
    activations = list(config.activations)
    gates: list[Gate | None] = [None] * config.depth
    for block, on in enumerate(kept):
        positions = tuple(index for index, here in enumerate(on) if here)
        if not positions:
            activations[block] = Activation.IDENTITY
        elif len(positions) < len(on):
            gates[block] = Gate(axis=axis, kept=positions)
    return replace(config, activations=tuple(activations), gates=tuple(gates) if any(gates) else ())
