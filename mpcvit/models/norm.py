"""Norms of the residual stream. All remove the mean over channels first.

That is part of the definition because it is what lets export remove the mean where the stream is written: every reader
ignores it. Only layer norm then costs anything under MPC; the others fold into the linear layer that follows.

Axes: B batch, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn

from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Norm

#: Of models that do not say otherwise.
LAYER_NORM_EPSILON = ViTConfig.norm_epsilon


class LayerNorm(nn.LayerNorm):
    """Division by the root mean square, then gain and bias (Ba et al. 2016)."""

    kind: ClassVar[Norm] = Norm.LAYERNORM

    def __init__(self, dim: int, epsilon: float = LAYER_NORM_EPSILON) -> None:
        super().__init__(dim, eps=epsilon)

    def gain_and_bias(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what follows the division, float64, [D] each."""
        return self.weight.detach().double(), self.bias.detach().double()


class AffineNorm(nn.Module):
    """gain * x + bias, no division (THE-X, Findings of ACL 2022). Trained to imitate a layer norm, or from scratch."""

    kind: ClassVar[Norm] = Norm.AFFINE

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def gain_and_bias(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return gain and bias, float64, [D] each."""
        return self.weight.detach().double(), self.bias.detach().double()

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Return scaled and shifted mean-free tokens."""
        return torch.addcmul(self.bias, _mean_free(x_BND), self.weight)


class BatchNorm(nn.BatchNorm1d):
    """nn.BatchNorm1d over the channels of mean-free tokens (RePaViT, CVPR 2025, in the MLP). Linear in eval mode."""

    kind: ClassVar[Norm] = Norm.BATCHNORM

    def gain_and_bias(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return gain and bias with the running statistics, float64, [D] each."""
        mean, variance = self.running_mean, self.running_var
        assert mean is not None  # noqa: S101 - made with track_running_stats
        assert variance is not None  # noqa: S101
        gain = self.weight.detach().double() * (variance.double() + self.eps).rsqrt()
        return gain, self.bias.detach().double() - mean.double() * gain

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Return the tokens with mean 0 and variance 1 per channel, scaled and shifted."""
        return super().forward(_mean_free(x_BND).reshape(-1, x_BND.shape[-1])).reshape(x_BND.shape)


TokenNorm = LayerNorm | AffineNorm | BatchNorm

#: Makes a norm for tokens of the width given.
NORMS: dict[Norm, Callable[[int], TokenNorm]] = {
    Norm.LAYERNORM: LayerNorm,
    Norm.AFFINE: AffineNorm,
    Norm.BATCHNORM: BatchNorm,
}


def token_norm(kind: Norm, config: ViTConfig) -> TokenNorm:
    """Return a norm for tokens of a model."""
    return LayerNorm(config.dim, config.norm_epsilon) if kind is Norm.LAYERNORM else NORMS[kind](config.dim)


def _mean_free(x_BND: torch.Tensor) -> torch.Tensor:
    return x_BND - x_BND.mean(-1, keepdim=True)
