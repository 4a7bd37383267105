"""Convolutions as linear layers of their windows, which is how methods calibrate them.

Axes: B pictures, C channels, H height, W width, R rows (windows of all pictures).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn.functional import unfold

from mpcvit.quantize.calibrate.calibration import Calibration, LinearSite
from mpcvit.quantize.config import Bits, Method
from mpcvit.quantize.methods import METHODS
from mpcvit.quantize.places import QuantLinear
from mpcvit.quantize.quant_conv import QuantConv
from mpcvit.quantize.quantizers.adalog import AdaLog

_Pair = tuple[int, int]

#: Numbers in windows that are held in memory; of more windows, those at even distances are.
_MOST = 1 << 26


def calibrate_convolution(calibration: Calibration, layer: QuantConv, x_BCHW: torch.Tensor, bits: Bits) -> None:
    """Put quantizers into a convolution that reads ``x_BCHW`` on the calibration pictures.

    The method sees a linear layer from windows to output channels: ranges of inputs are per tensor, those of weights
    per output channel. A convolution in groups is no such layer; of it methods see all inputs and all weights, and one
    that searches for the least error of their product (AdaLog) gives way to ranges of least squared error.
    """
    whole = _is_matrix(layer)
    if not whole and calibration.method is Method.ADALOG:
        calibration = METHODS[Method.MSE]()
    stand_in = QuantLinear(nn.Linear(layer.weight[0].numel(), layer.out_channels, bias=False, device="meta"))
    stand_in.weight, stand_in.quantize_weight = nn.Parameter(layer.weight.detach().flatten(1)), layer.quantize_weight
    rows = _windows(layer, x_BCHW) if whole else x_BCHW.movedim(1, -1).flatten(0, -2)
    calibration.linear(LinearSite(stand_in, rows, None, bits))
    layer.quantize_weight, layer.quantize_input = stand_in.quantize_weight, stand_in.quantize_input
    if isinstance(layer.quantize_input, AdaLog):
        layer.quantize_input.restore = True  # a shift in the bias would be one of the border's zeros, too


def _is_matrix(layer: QuantConv) -> bool:
    """Return whether a convolution is one product of a matrix with windows that have zeros beyond the border."""
    return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _windows(layer: QuantConv, x_BCHW: torch.Tensor) -> torch.Tensor:
    """Return windows [R, C * height * width], in the order of the weight's columns."""
    least = layer.weight[0].numel()
    every = max(1, -(-_windows_of_one(layer, x_BCHW) * len(x_BCHW) * least // _MOST))
    sides, steps = cast(_Pair, layer.kernel_size), cast(_Pair, layer.stride)
    holes, borders = cast(_Pair, layer.dilation), cast(_Pair, layer.padding)
    parts: list[torch.Tensor] = []
    for picture in x_BCHW:
        columns = unfold(picture[None], sides, holes, borders, steps)[0].T
        parts.append(columns[len(parts) % every :: every])
    return torch.cat(parts)


def _windows_of_one(layer: QuantConv, x_BCHW: torch.Tensor) -> int:
    count = 1
    for axis, size in enumerate(x_BCHW.shape[2:]):
        span = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        count *= (size + 2 * int(layer.padding[axis]) - span) // layer.stride[axis] + 1
    return count
