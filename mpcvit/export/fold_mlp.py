"""Folding of an MLP: linear parts become one layer, coefficients of the activation go into the layers around it.

* Where there is no activation (``identity``, tokens that a gate leaves out), the two layers are one.
* Channels that a gate leaves out (RePaViT) are a linear map of rank len(channels) from what the MLP reads to what it
  writes; their part of both layers becomes one matrix ``skip`` [D, D] beside the activated channels.
* c2 h^2 + c1 h + c0 = c2 (h + s)^2 + (c0 - c2 s^2) with s = c1 / (2 c2): s goes into the first layer's bias, c2 into
  the second layer's weight, the constant into its bias, and a square remains. Rounding h + s costs what rounding h
  costs, but the numbers that are squared grow with s: where c2 is small beside c1, the linear term goes into ``skip``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mpcvit.errors import ConfigError
from mpcvit.export.affine import Affine
from mpcvit.export.factors import Factors, affine_of
from mpcvit.export.fold_transformations import OwnInput, own_input
from mpcvit.export.normalise import Division
from mpcvit.models.activation import HardGate, Quad, RelaxedGate
from mpcvit.models.kinds import Activation, GateAxis
from mpcvit.models.norm import TokenNorm
from mpcvit.models.vit import Mlp

#: The largest shift of what a quadratic activation reads that completing the square may cause.
_MAX_SHIFT = 16.0


@dataclass(frozen=True)
class ActivatedLayers:
    """fc2(act(fc1 x)) + x @ skip.

    Attributes:
        activation: what is computed between the layers; for ``quad`` only the square is left of it.
        skip: [D, D], or None.
    """

    fc1: Affine
    activation: Activation
    fc2: Affine
    skip: torch.Tensor | None = None


@dataclass(frozen=True)
class FoldedMlp:
    """One MLP's weights after folding.

    Attributes:
        norm: what is left to do of the norm before it.
        tokens: the tokens, ascending, that ``activated`` works on; None for all.
        activated: None if there is no token for it.
        fused: the layer for all other tokens; None if there are no others.
        relu: whether a ReLU stands behind that layer, which then keeps the mean of what it writes.
        own: what stands between the norm and the layers, where the block has a gain of its own; else None.
    """

    norm: Division | None
    tokens: tuple[int, ...] | None
    activated: ActivatedLayers | None
    fused: Affine | None
    relu: bool = False
    own: OwnInput | None = None


def fold_mlp(mlp: Mlp, norm: TokenNorm, factors: Factors = Factors.MERGED, *, apart: bool = False) -> FoldedMlp:
    """Return the folded float64 weights of ``mlp`` behind ``norm``, without the mean of what it writes but for a ReLU.

    Args:
        apart: whether the norm's gain is the block's own, and stays out of the matrix.

    Raises:
        ConfigError: the gate is still relaxed.
    """
    left = Division.of(norm)
    first, whole = affine_of(mlp.fc1, factors), affine_of(mlp.fc2, factors)
    own = None
    if apart:
        own, first = own_input(norm, first, mlp.convolution)
    else:
        first = first.after(norm)
    second = whole.centred()
    linear = whole if mlp.post_relu else second
    if mlp.activation is Activation.IDENTITY:
        return FoldedMlp(left, (), None, first.then(linear), mlp.post_relu, own)
    if isinstance(mlp.gate, RelaxedGate):
        raise ConfigError(
            "a model whose gates are being searched",
            expected="a gate that says where the activation is applied, or none",
            remedy="Put the gates that the search found into the configuration, and train that model.",
        )
    layers = ActivatedLayers(first, mlp.activation, second)
    if mlp.gate is not None and mlp.gate.gate.axis is GateAxis.CHANNEL:
        layers = _without_idle_channels(layers, mlp.gate)
    if isinstance(mlp.act, Quad):
        layers = _with_coefficients(layers, mlp.act)
    if mlp.gate is not None and mlp.gate.gate.axis is GateAxis.TOKEN:
        everywhere = len(mlp.gate.gate.kept) == len(mlp.gate.mask)
        fused = None if everywhere else first.then(linear)
        return FoldedMlp(left, mlp.gate.gate.kept, layers, fused, mlp.post_relu, own)
    return FoldedMlp(left, None, layers, None, own=own)


def _without_idle_channels(layers: ActivatedLayers, gate: HardGate) -> ActivatedLayers:
    kept = gate.mask.cpu()
    if kept.all():
        return layers
    fc1, fc2 = layers.fc1, layers.fc2
    idle = fc1.outputs(~kept).then(fc2.inputs(~kept))
    second = replace(fc2.inputs(kept), bias=idle.bias)
    return ActivatedLayers(fc1.outputs(kept), layers.activation, second, idle.weight)


def _with_coefficients(layers: ActivatedLayers, quad: Quad) -> ActivatedLayers:
    """Return ``layers`` with a plain square as activation."""
    c0, c1, c2 = quad.coefficients.detach().double().tolist()
    fc1, fc2, skip = layers.fc1, layers.fc2, layers.skip
    of_ones = fc2.merged().weight.sum(0)
    bias = fc2.bias + c0 * of_ones
    if c2 != 0 and abs(c1) <= 2 * _MAX_SHIFT * abs(c2):
        shift = c1 / (2 * c2)
        bias = bias - c2 * shift**2 * of_ones
        fc1 = replace(fc1, bias=fc1.bias + shift)
    else:
        line = fc1.then(replace(fc2, weight=c1 * fc2.weight, bias=bias))
        bias, skip = line.bias, line.weight if skip is None else skip + line.weight
    return ActivatedLayers(fc1, layers.activation, replace(fc2, weight=c2 * fc2.weight, bias=bias), skip)
