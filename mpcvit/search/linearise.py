"""MPCViT+'s second search (Zeng et al., ICCV 2023): at which tokens or channels the activation is needed.

Behind the first layer of an MLP, h becomes beta * act(h) + (1 - beta) * h with a beta per token (the released form) or
per channel. Penalty and discretisation are those of the heads; the authors have not published theirs. Where a whole
block loses its activation, export fuses its two linear layers.
"""

from __future__ import annotations

from dataclasses import replace

from mpcvit.models.block import BlockConfig, Gate
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, GateAxis
from mpcvit.pricing.table import PriceTable
from mpcvit.search.discretise import keep_top
from mpcvit.search.relaxed import RelaxedViT
from mpcvit.search.supernet import relative


def gate_weights(prices: PriceTable, config: ViTConfig) -> list[list[float]]:
    """Return per block, one for all its positions: the seconds that its MLP saves without activation, relative to the
    mean.
    """
    bare = replace(config, blocks=tuple(replace(b, activation=Activation.IDENTITY, gate=None) for b in config.blocks))
    saved = [prices.mlp_seconds(config, block) - prices.mlp_seconds(bare, block) for block in range(config.depth)]
    return [[weight] for weight in relative(saved)]


def gates_by_mu(model: RelaxedViT, mu: float) -> ViTConfig:
    """Return the configuration in which the top share ``mu`` of all positions keeps its activation."""
    return gated(model, keep_top(model.gate_switches, mu))


def gated(model: RelaxedViT, kept: list[list[bool]]) -> ViTConfig:
    """Return ``model``'s configuration with the activation where ``kept`` says so, block by block."""
    config, axis = model.config, model.gate_axis
    assert axis is not None  # noqa: S101 - a model with relaxed gates
    blocks = (_gated(block, axis, on) for block, on in zip(config.blocks, kept, strict=True))
    return replace(config, blocks=tuple(blocks))


def _gated(block: BlockConfig, axis: GateAxis, on: list[bool]) -> BlockConfig:
    """Return ``block`` with its activation at the positions that are ``on``."""
    positions = tuple(index for index, here in enumerate(on) if here)
    if not positions:
        return replace(block, activation=Activation.IDENTITY, gate=None)
    return replace(block, gate=Gate(axis=axis, kept=positions) if len(positions) < len(on) else None)
