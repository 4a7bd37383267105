"""A convolution with places for quantizers."""

from __future__ import annotations

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
        super().__init__(*_form(layer), padding_mode=layer.padding_mode, bias=False, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.quantize_input: nn.Module = nn.Identity()
        self.quantize_weight: nn.Module = nn.Identity()

    def quantized_weight(self) -> torch.Tensor:
        """Return the weight [out, in of a group, height, width] after rounding."""
        weight: torch.Tensor = self.quantize_weight(self.weight.flatten(1))
        return weight.reshape(self.weight.shape)

    def plain(self) -> nn.Conv2d:
        """Return a convolution without quantizers that has the rounded weight."""
        layer = nn.Conv2d(*_form(self), padding_mode=self.padding_mode, bias=False, device="meta")
        layer.weight = nn.Parameter(self.quantized_weight().detach())
        layer.bias = self.bias
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(self.quantize_input(x), self.quantized_weight(), self.bias)


def _form(layer: nn.Conv2d) -> tuple:  # type: ignore[type-arg]  # the arguments of nn.Conv2d, in their order
    """Return what a convolution is made with, up to its groups."""
    sides = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return layer.in_channels, layer.out_channels, *sides, layer.groups
