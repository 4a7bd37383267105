"""Learnt rounding of weights (AdaRound, ICML 2020) and learnt scales of activations, for block reconstruction.

With AdaLog's settings (ECCV 2024): a rounding's regulariser of weight 0.01 whose exponent falls from 20 to 2 after a
fifth of the steps, and rates of 1e-3 for roundings and 4e-5, falling to 0, for scales in 20,000 steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import ClassVar

import torch
from torch import nn

from mpcvit.quantize.places import QuantLinear, places
from mpcvit.quantize.quantizers.uniform import Uniform
from mpcvit.quantize.reconstruct.learner import Learner, LearningStage, Rate

#: Steps times learning rate, as the sources have them with 20,000 steps, up to rates that are still stable: with fewer
#: steps of 1e-3, roundings would stay what they are.
_ROUNDING_PATH, _LARGEST_ROUNDING_RATE = 20.0, 0.1
_SCALE_PATH, _LARGEST_SCALE_RATE = 0.8, 1e-3
_PENALTY = 0.01
_WARM_UP = 0.2
_FIRST_EXPONENT, _LAST_EXPONENT = 20.0, 2.0
#: The sigmoid is stretched to these ends and clamped, so that 0 and 1 are reached.
_LOWER, _UPPER = -0.1, 1.1
_SMALLEST_SCALE = 1e-8


class SoftRounding(nn.Module):
    """A weight whose codes lie between the two neighbours of the real value, by a learnt share of the way up.

    Args:
        quantizer: the weight's.
        weight: the real values.
    """

    def __init__(self, quantizer: Uniform, weight: torch.Tensor) -> None:
        super().__init__()
        self.grid = quantizer.grid
        steps = weight.detach() / self.grid.scale
        self.floor = steps.floor()
        share = (steps - self.floor - _LOWER) / (_UPPER - _LOWER)
        self.tilt = nn.Parameter(torch.logit(share))

    def up(self) -> torch.Tensor:
        """Return how far above the lower neighbour, 0 to 1, of the weight's shape.

        At first, where the real value is.
        """
        return (self.tilt.sigmoid() * (_UPPER - _LOWER) + _LOWER).clamp(0, 1)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return values between the grid's; ``weight`` only has its place in the signature."""
        return self._values(self.up())

    def decided(self) -> torch.Tensor:
        """Return the values of the nearer codes."""
        return self._values((self.up() >= 0.5).to(self.floor.dtype)).detach()

    def penalty(self, share: float) -> torch.Tensor:
        """Return what drives shares to 0 or 1 once ``share`` of the steps is past the warm-up."""
        if share < _WARM_UP:
            return self.tilt.new_zeros(())
        past = (share - _WARM_UP) / (1 - _WARM_UP)
        exponent = _LAST_EXPONENT + (_FIRST_EXPONENT - _LAST_EXPONENT) * (1 - past)
        return _PENALTY * (1 - (2 * self.up() - 1).abs().pow(exponent)).sum()

    def _values(self, up: torch.Tensor) -> torch.Tensor:
        codes = (self.floor + up + self.grid.zero).clamp(self.grid.lowest, self.grid.highest)
        return self.grid.values(codes)


class LearntScale(nn.Module):
    """A uniform quantizer of activations whose scale gradients reach; the zero point stays.

    Args:
        quantizer: fitted; takes the learnt scale in :meth:`keep`.
    """

    def __init__(self, quantizer: Uniform) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.scale = nn.Parameter(quantizer.scale.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` rounded; the rounding's gradient is that of the identity, and clamped values have none."""
        grid = self.quantizer.grid
        scale = self.scale.clamp(min=_SMALLEST_SCALE)
        steps = x / scale
        codes = (steps + (steps.round() - steps).detach() + grid.zero).clamp(grid.lowest, grid.highest)
        return (codes - grid.zero) * scale

    def keep(self) -> Uniform:
        """Return the quantizer, with the learnt scale."""
        self.quantizer.assign(self.scale.clamp(min=_SMALLEST_SCALE), self.quantizer.zero)
        return self.quantizer


class LearntRounding(Learner):
    """Every uniformly quantized weight of a part is rounded up or down as is best for the part's output.

    The weight becomes the rounded one, and keeps its quantizer, of which every value is one now. Scales of uniformly
    quantized activations are learnt beside. Other quantizers stay as they are.
    """

    batch: ClassVar[int] = 32

    def stages(self, part: nn.Module, steps: int, learnt: Set[nn.Parameter] = frozenset()) -> Iterator[LearningStage]:
        layers = [
            module for module in part.modules() if isinstance(module, QuantLinear) and module.weight not in learnt
        ]
        rounded = {
            layer: (layer.quantize_weight, SoftRounding(layer.quantize_weight, layer.weight))
            for layer in layers
            if isinstance(layer.quantize_weight, Uniform)
        }
        sites = [place for place in places(part).values() if place.attribute != "quantize_weight"]
        scaled = {place: LearntScale(quantizer) for place in sites if isinstance(quantizer := place.get(), Uniform)}
        for layer, (_, soft) in rounded.items():
            layer.quantize_weight = soft
        for place, scale in scaled.items():
            place.put(scale)
        tilts = tuple(soft.tilt for _, soft in rounded.values())
        scales = tuple(scale.scale for scale in scaled.values())
        yield LearningStage(
            rates=(
                Rate(tilts, min(_ROUNDING_PATH / steps, _LARGEST_ROUNDING_RATE), cosine=False),
                Rate(scales, min(_SCALE_PATH / steps, _LARGEST_SCALE_RATE), cosine=True),
            ),
            penalty=lambda share: sum((soft.penalty(share) for _, soft in rounded.values()), torch.zeros(())),
        )
        for layer, (quantizer, soft) in rounded.items():
            layer.weight.data.copy_(soft.decided())
            layer.quantize_weight = quantizer
        for place, scale in scaled.items():
            place.put(scale.keep())
