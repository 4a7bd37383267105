"""Convolutions: products of a matrix with windows of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import conv2d

from mpcvit.export.builder import Builder, Value
from mpcvit.export.traced.call import AtenCall, AtenResult
from mpcvit.export.traced.lowering import AtenLowering
from mpcvit.export.traced.ops.positions import framed
from mpcvit.export.traced.passes.mean_centring import STREAMED
from mpcvit.export.traced.precision import written_radius
from mpcvit.export.traced.rows.picture import NormalisedPicture


@dataclass(frozen=True)
class Window:
    """A square window that moves over a grid.

    Attributes:
        side, stride, border: as in :class:`mpcvit.ops.Unfold`.
    """

    side: int
    stride: int
    border: int

    @classmethod
    def of(cls, call: AtenCall, sides: Sequence[int]) -> Window:
        """Return the window of a convolution or a pooling.

        Raises:
            ConfigError: it is not square, or has holes.
        """
        strides, borders = pair(call["stride"] or sides), pair(call["padding"])
        square = all(len(set(numbers)) == 1 for numbers in (sides, strides, borders))
        if not square or set(pair(call.get("dilation", 1))) != {1} or call.get("ceil_mode", False):
            raise call.unsupported("a square window with equal strides and borders, no dilation, no ceil_mode")
        return cls(sides[0], strides[0], borders[0])

    def unfold(self, b: Builder, name: str, grid: Value) -> Value:
        """Return the windows [H', W', side * side * C] of a grid [H, W, C]."""
        rows, columns, channels = grid.type.shape
        if self.side == 1 and self.border == 0 and self.stride == 1:
            return grid
        if self.side == self.stride and self.border == 0 and rows % self.side == 0 and columns % self.side == 0:
            tiles = b.reshape(
                f"{name}.tiles", grid, rows // self.side, self.side, columns // self.side, self.side, channels
            )
            tiles = b.permute(f"{name}.order", tiles, 0, 2, 1, 3, 4)
            return b.reshape(name, tiles, rows // self.side, columns // self.side, self.side**2 * channels)
        border = self.border
        if border >= self.side:  # the op's border is narrower than its window
            for axis in (-3, -2):
                grid = framed(b, f"{name}.axis{-axis}", grid, axis, border, border)
            border = 0
        return b.unfold(name, grid, self.side, self.stride, border)


def pair(given: Any) -> list[int]:
    """Return what ATen writes as one number, or as one for both axes."""
    numbers = [given] if isinstance(given, int) else list(given)
    return numbers * 2 if len(numbers) == 1 else numbers


def lower_conv2d(call: AtenCall) -> AtenResult:
    """Return a convolution of a grid [1, C, H, W], not rescaled; groups are products side by side."""
    b, weight = call.b, call.tensor("weight")
    if weight is None or len(call.shape) != 4 or isinstance(call["padding"], str):
        raise call.unsupported("a picture [1, C, H, W], constant weights, and padding in numbers")
    bias = weight.new_zeros(len(weight)) if call.tensor("bias") is None else call["bias"]
    window, groups = Window.of(call, weight.shape[2:]), call["groups"]
    x, offset = call["input"], bias
    if isinstance(x, NormalisedPicture) and groups == 1:
        x, weight, offset = _of_pixels(call, x, weight, bias)
    whole = x if isinstance(x, Value) else call.whole(x)
    if whole.type.frac > b.precision.frac:
        whole = call.shortened(whole)
    grid = b.permute(f"{call.name}.grid", b.reshape(f"{call.name}.one", whole, *whole.type.shape[1:]), 1, 2, 0)
    windows = window.unfold(b, f"{call.name}.windows", grid)
    if groups == 1:
        matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)
        radius = written_radius(b, windows, matrix, offset) if call.node.meta.get(STREAMED) else None
        wide = b.wide_affine(call.name, windows, matrix, offset, radius=radius)
    else:
        wide = _grouped(call, windows, weight, offset, groups)
    result = b.reshape(f"{call.name}.result", b.permute(f"{call.name}.channels", wide, 2, 0, 1), *call.shape)
    return call.lengths.noted(result, 1, wide.radius)


def _of_pixels(
    call: AtenCall, picture: NormalisedPicture, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[Value, torch.Tensor, torch.Tensor]:
    """Return pixels, and weight and bias [H', W', out] with the normalisation in them.

    The border of zeros stands for values that no pixel has: the bias is a map.
    """
    black = conv2d(picture.black, weight, bias, call["stride"], call["padding"])[0].permute(1, 2, 0)
    if bool((black == black[:1, :1]).all()):
        black = black[0, 0]
    return picture.pixels, weight * picture.gain[:, None, None], black.contiguous()


def _grouped(call: AtenCall, windows: Value, weight: torch.Tensor, bias: torch.Tensor, groups: int) -> Value:
    """Return [H', W', out]: one product for each group of channels."""
    b, name = call.b, call.name
    rows, columns, width = windows.type.shape
    inner, squares = weight.shape[1], weight.shape[2] * weight.shape[3]
    split = b.reshape(f"{name}.split", windows, rows * columns, squares, groups, inner)
    by_group = b.permute(f"{name}.by_group", split, 2, 0, 1, 3)
    by_group = b.reshape(f"{name}.rows", by_group, groups, rows * columns, width // groups)
    matrices = weight.reshape(groups, len(weight) // groups, inner, squares).permute(0, 3, 2, 1).flatten(1, 2)
    product = b.linear(f"{name}.matmul", by_group, matrices)
    joined = b.permute(f"{name}.by_position", product, 1, 0, 2)
    joined = b.reshape(f"{name}.joined", joined, rows, columns, len(weight))
    return b.add(f"{name}.sum", joined, b.parameter(f"{name}.bias", bias, joined.type.frac))


CONV2D = AtenLowering(("conv2d",), lower_conv2d)
