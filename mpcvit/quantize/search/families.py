"""Kinds of quantizers with two parameters per group, and where a search for these starts.

Axes: S starts, G groups, N values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mpcvit.quantize.quantizers.adalog import AdaLog
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.uniform import Uniform, along, grouped
from mpcvit.quantize.ranges.grid import code_range
from mpcvit.quantize.ranges.percentile import quantile
from mpcvit.quantize.search.fpcs import Error, Parameter

#: Starts are the ranges between these quantiles (AdaLog: from 0.9 on) ..
_SHARES = tuple(0.9 + 0.1 * step / 7 for step in range(8))
#: .. with the zero point that belongs to them, and ones up to 8 steps below or above it.
_ZERO_POINTS = 16
#: Starts for the base of a logarithm: q from 1 to 138, the source's limit for four bits and less.
_BASES = 16
_LARGEST_Q = 138.0
#: How many values, of all candidates, are rounded in one go.
_VALUES_AT_ONCE = 2**16


@dataclass(frozen=True)
class QuantizerFamily(ABC):
    """Quantizers of one kind for one tensor.

    Attributes:
        bits: width of codes.
        axis: the axis whose entries are the groups; None for one group.
    """

    bits: int
    axis: int | None

    @abstractmethod
    def starts(self, x: torch.Tensor) -> tuple[Parameter, Parameter]:
        """Return where a search for the two parameters starts."""

    @abstractmethod
    def blank(self) -> Quantizer:
        """Return a quantizer without parameters."""

    @abstractmethod
    def assign(self, quantizer: Quantizer, first: torch.Tensor, second: torch.Tensor) -> None:
        """Give these parameters to a quantizer that ``blank`` made."""

    @abstractmethod
    def parameters(self, quantizer: Quantizer) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the parameters, [G] each, of a quantizer that has some."""

    def make(self, ndim: int, first_G: torch.Tensor, second_G: torch.Tensor) -> Quantizer:
        """Return the quantizer with these parameters for tensors of ``ndim`` axes."""
        quantizer = self.blank()
        self.assign(quantizer, along(first_G, ndim, self.axis), along(second_G, ndim, self.axis))
        return quantizer

    def error(self, x: torch.Tensor, measure: Callable[[torch.Tensor], torch.Tensor]) -> Error:
        """Return the error of candidates for ``x``, for a search.

        Args:
            measure: errors [S, G] of [S, *x.shape], ``x`` as S candidates round it.
        """
        quantizer = self.blank()
        at_once = max(1, _VALUES_AT_ONCE // x.numel())

        def of(first_SG: torch.Tensor, second_SG: torch.Tensor) -> torch.Tensor:
            self.assign(quantizer, along(first_SG, x.ndim, self.axis), along(second_SG, x.ndim, self.axis))
            return measure(quantizer.values(quantizer.codes(x)))

        def error(first_SG: torch.Tensor, second_SG: torch.Tensor) -> torch.Tensor:
            pairs = zip(first_SG.split(at_once), second_SG.split(at_once), strict=True)
            return torch.cat([of(*pair) for pair in pairs])

        return error


@dataclass(frozen=True)
class UniformFamily(QuantizerFamily):
    """Uniform quantizers: scale and zero point."""

    def starts(self, x: torch.Tensor) -> tuple[Parameter, Parameter]:
        lowest, highest = code_range(self.bits, symmetric=False)
        ordered_GN = grouped(x, self.axis).sort(dim=1).values
        scales_SG, zeros_SG = [], []
        spacing = max(1.0, 2**self.bits / 64)
        steps = (torch.arange(_ZERO_POINTS, dtype=x.dtype, device=x.device) - _ZERO_POINTS // 2) * spacing
        for share in _SHARES:
            low_G, high_G = quantile(ordered_GN, 1 - share)[:, 0], quantile(ordered_GN, share)[:, 0]
            scale_G = (high_G - low_G) / (highest - lowest)
            scale_G = torch.where(scale_G > 0, scale_G, _positive(torch.maximum(low_G.abs(), high_G.abs())))
            scales_SG.append(scale_G.expand(_ZERO_POINTS, -1))
            zeros_SG.append(torch.round(steps[:, None].round() - low_G / scale_G))
        scale_SG = torch.cat(scales_SG)
        reach_G = (scale_SG.amax(dim=0) - scale_SG.amin(dim=0)) / (len(_SHARES) - 1)
        return (
            Parameter(scale_SG, reach_G, lowest=torch.finfo(x.dtype).tiny),
            Parameter(torch.cat(zeros_SG), torch.full_like(reach_G, spacing), lowest=-torch.inf, whole=True),
        )

    def blank(self) -> Uniform:
        return Uniform(self.bits, axis=self.axis)

    def assign(self, quantizer: Quantizer, first: torch.Tensor, second: torch.Tensor) -> None:
        assert isinstance(quantizer, Uniform)  # noqa: S101 - see blank
        quantizer.assign(first, second)

    def parameters(self, quantizer: Quantizer) -> tuple[torch.Tensor, torch.Tensor]:
        assert isinstance(quantizer, Uniform)  # noqa: S101 - see blank
        return quantizer.scale.reshape(-1), quantizer.zero.reshape(-1)


@dataclass(frozen=True)
class AdaLogFamily(QuantizerFamily):
    """AdaLog's quantizers: scale and q.

    Attributes:
        shift: added to values before the logarithm.
    """

    shift: torch.Tensor

    def starts(self, x: torch.Tensor) -> tuple[Parameter, Parameter]:
        largest_G = _positive(grouped(x, self.axis).amax(dim=1) + self.shift)
        shares = torch.linspace(0.3, 1.0, len(_SHARES), dtype=x.dtype, device=x.device)
        bases = torch.linspace(1, _LARGEST_Q, _BASES, dtype=x.dtype, device=x.device).round()
        pairs = torch.cartesian_prod(shares, bases)
        return (
            Parameter(pairs[:, :1] * largest_G, largest_G * 0.1, lowest=torch.finfo(x.dtype).tiny),
            Parameter(
                pairs[:, 1:].repeat(1, len(largest_G)),
                torch.full_like(largest_G, _LARGEST_Q / _BASES),
                lowest=1.0,
                whole=True,
            ),
        )

    def blank(self) -> AdaLog:
        return AdaLog(self.bits)

    def assign(self, quantizer: Quantizer, first: torch.Tensor, second: torch.Tensor) -> None:
        assert isinstance(quantizer, AdaLog)  # noqa: S101 - see blank
        quantizer.assign(first, second, self.shift)

    def parameters(self, quantizer: Quantizer) -> tuple[torch.Tensor, torch.Tensor]:
        assert isinstance(quantizer, AdaLog)  # noqa: S101 - see blank
        return quantizer.scale.reshape(-1), quantizer.q.reshape(-1)


def _positive(largest_G: torch.Tensor) -> torch.Tensor:
    """Return 1 where the largest value is 0."""
    return torch.where(largest_G > 0, largest_G, torch.ones_like(largest_G))
