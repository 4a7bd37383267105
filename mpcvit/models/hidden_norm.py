"""RePaViT's second batch norm, behind the activation of an MLP. Axes: B batch, N tokens, M channels of the MLP."""

from __future__ import annotations

import torch
from torch import nn


class HiddenNorm(nn.BatchNorm1d):
    """nn.BatchNorm1d over the channels of an MLP, activated ones and idle ones (RePaViT, CVPR 2025).

    Linear in eval mode, so that it goes into the layer behind it (:mod:`mpcvit.models.merge_hidden_norms`).
    """

    def gain_and_bias(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return gain and bias with the running statistics, float64, [M] each."""
        mean, variance = self.running_mean, self.running_var
        assert mean is not None  # noqa: S101 - made with track_running_stats
        assert variance is not None  # noqa: S101
        gain = self.weight.detach().double() * (variance.double() + self.eps).rsqrt()
        return gain, self.bias.detach().double() - mean.double() * gain

    def forward(self, h_BNM: torch.Tensor) -> torch.Tensor:
        """Return the values with mean 0 and variance 1 per channel, scaled and shifted."""
        return super().forward(h_BNM.reshape(-1, h_BNM.shape[-1])).reshape(h_BNM.shape)
