"""A convolution with places for quantizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class QuantConv(nn.Conv2d):
    """A convolution that rounds what it reads, before zeros are put around it, and its weight.

    Args:
        layer: whose parameters this takes over.

    Attributes:
        quantize_input: a quantizer for the whole tensor [B, C, H, W]; the identity at first.
        quantize_weight: a quantizer of the weight as a matrix [out, inputs of a window]; the identity at first.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(**_form(layer), bias=False, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.quantize_input: nn.Module = nn.Identity()
        self.quantize_weight: nn.Module = nn.Identity()

    def quantized_weight(self) -> torch.Tensor:
        """Return the weight [out, in of a group, height, width] after rounding."""
        weight: torch.Tensor = self.quantize_weight(self.weight.flatten(1))
        return weight.reshape(self.weight.shape)

    def plain(self) -> nn.Conv2d:
        """Return a convolution without quantizers that has the rounded weight."""
        layer = nn.Conv2d(**_form(self), bias=False, device="meta")
        layer.weight = nn.Parameter(self.quantized_weight().detach())
        layer.bias = self.bias
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._conv_forward(self.quantize_input(x), self.quantized_weight(), self.bias)
        return result


def _form(layer: nn.Conv2d) -> dict[str, Any]:
    """Return what a convolution is made with, but for its bias."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return {name: getattr(layer, name) for name in names}
