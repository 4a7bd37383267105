"""What folding leaves of transformations (:mod:`mpcvit.models.transformations`): gains stay beside matrices.

A group's matrices are one parameter, so that a gain of one block cannot go into them. It goes into the filters of the
convolution, where there is one, and with it the bias of the norm, which at the border of the grid is not the same for
every patch. Where there is none, the bias goes into the layer's, which is the block's own.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch

from mpcvit.export.affine import Affine
from mpcvit.models.norm import TokenNorm
from mpcvit.models.transformations import HeadMixing, PatchConvolution


@dataclass(frozen=True)
class FoldedConvolution:
    """x -> x + DWConv(x) of a norm's result, gain and bias included; float64.

    Attributes:
        own: tokens before the patches, which only get gain and bias.
        taps: [side * side, D], by row and column of the window.
        offsets: [patches, D].
    """

    own: int
    taps: torch.Tensor
    offsets: torch.Tensor


@dataclass(frozen=True)
class OwnInput:
    """What a block does to what a norm's division gives, before a matrix of its group; float64.

    Attributes:
        gain, bias: [D]; the bias only of tokens that no convolution reads.
        convolution: None for none.
    """

    gain: torch.Tensor
    bias: torch.Tensor
    convolution: FoldedConvolution | None = None


@dataclass(frozen=True)
class FoldedMixing:
    """Mixtures of heads, [H, H] each, float64, as :class:`mpcvit.models.transformations.HeadMixing` has them."""

    before: torch.Tensor
    after: torch.Tensor

    @classmethod
    def of(cls, mixing: HeadMixing) -> FoldedMixing:
        """Return what ``mixing`` does."""
        return cls(mixing.before.detach().double(), mixing.after.detach().double())


def own_input(norm: TokenNorm, layer: Affine, convolution: PatchConvolution | None) -> tuple[OwnInput, Affine]:
    """Return what stands between a norm's division and ``layer``, and the layer behind it; gains stay out of that."""
    gain, bias = norm.gain_and_bias()
    if convolution is None:
        return OwnInput(gain, torch.zeros_like(bias)), replace(layer, bias=layer.bias + bias @ layer.merged().weight)
    exact = copy.deepcopy(convolution).double()
    taps = exact.weight.detach().flatten(1).T.clone()
    taps[len(taps) // 2] += 1
    patches = exact.grid**2
    constant = bias.expand(1, exact.own + patches, -1)
    offsets = exact(constant).detach()[0, exact.own :]
    return OwnInput(gain, bias, FoldedConvolution(exact.own, taps * gain, offsets)), layer
