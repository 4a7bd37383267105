"""Best approximations of a linear layer by one of lower rank, y = x W + b with W [I, O].

Among all matrices of rank r, W V V^T is nearest to W in the mean square of the layer's output on calibration data,
where V [O, r] are the top eigenvectors of W^T C W and C is the covariance of the inputs: they span what the outputs
vary in most. The constant that this costs goes into the bias. (Activation-aware mixed-rank compression, Azizi et al.
2024, first stage; this is the exact optimum, without an inverse.) With the identity in the place of C it is the
truncated singular value decomposition of W.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.compress.fitting.calibration import Moments

#: Share of its mean eigenvalue that is added to C, so that directions which calibration data do not show come last, but
#: in the order of W.
_RIDGE = 1e-9


@dataclass(frozen=True)
class LowRankFactors:
    """y = x first second + bias, float64; first [I, r], second [r, O]."""

    first: torch.Tensor
    second: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True)
class Spectrum:
    """The directions of a layer's outputs, most important first.

    Attributes:
        energies: [O], the mean square of the outputs along each direction, not negative.
        directions: [O, O], one per column.
    """

    energies: torch.Tensor
    directions: torch.Tensor

    def relative_error(self, rank: int) -> float:
        """Return the share of the energy that the best approximation of this rank loses, in [0, 1]."""
        total = float(self.energies.sum())
        return float(self.energies[rank:].sum()) / total if total > 0 else 0.0


def output_spectrum(weight: torch.Tensor, moments: Moments) -> Spectrum:
    """Return the spectrum of the outputs that calibration inputs have."""
    covariance = moments.covariance
    ridge = _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    return _spectrum(weight.T @ (covariance + ridge) @ weight)


def weight_spectrum(weight: torch.Tensor) -> Spectrum:
    """Return the spectrum of the weights alone."""
    return _spectrum(weight.T @ weight)


def _spectrum(gram: torch.Tensor) -> Spectrum:
    energies, directions = torch.linalg.eigh(gram)
    return Spectrum(energies.flip(0).clamp(min=0), directions.flip(1))


def fit(
    weight: torch.Tensor, bias: torch.Tensor, spectrum: Spectrum, rank: int, mean: torch.Tensor | None
) -> LowRankFactors:
    """Return the layer of rank ``rank`` along the first directions of ``spectrum``.

    Args:
        mean: of the inputs; the mean output is then what it was. None leaves the bias.
    """
    directions = spectrum.directions[:, :rank]
    first = weight @ directions
    if mean is not None:
        bias = bias + mean @ (weight - first @ directions.T)
    return LowRankFactors(first, directions.T, bias)
