"""Linear layers of low rank at export: multiplied out, or as two products."""

from __future__ import annotations

from enum import StrEnum

from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.export.affine import Affine
from mpcvit.models.low_rank import LowRank


class Factors(StrEnum):
    """What export makes of a layer of low rank.

    ``MERGED`` multiplies its factors out. ``KEPT`` makes two products with a rescaling between them: fewer
    multiplications and fewer weights to share and to open, once per model load. But an inference then opens the values
    between the factors, which takes bytes and, in ``proj`` and ``fc2``, where nothing else goes on meanwhile, a round
    each; in ``qkv`` and ``fc1`` the layer norm takes longer anyway. As weights are opened once per load and not per
    inference, merging is the cheaper choice in rounds and in bytes; factors pay where the products take longer than
    the rounds that they add, or where the load counts.
    """

    MERGED = "merged"
    KEPT = "kept"


def parse_factors(name: str) -> Factors:
    """Return what is called ``name``.

    Raises:
        ConfigError: nothing is.
    """
    if name not in set(Factors):
        raise ConfigError(f"factors '{name}'", expected=" or ".join(Factors), remedy="Correct the name.")
    return Factors(name)


def affine_of(layer: nn.Linear | LowRank, factors: Factors) -> Affine:
    """Return what ``layer`` computes, float64."""
    if isinstance(layer, nn.Linear):
        return Affine.of(layer)
    down = layer.down.weight.detach().double().T
    kept = Affine(Affine.of(layer.up).weight, Affine.of(layer.up).bias, down)
    return kept if factors is Factors.KEPT else kept.merged()
