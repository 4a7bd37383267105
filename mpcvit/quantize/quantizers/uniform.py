"""Uniform quantization with a scale, and an integer zero point, per tensor or per entry of an axis."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from mpcvit.quantize.quantizers.power_of_two import CLAMP
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.ranges import MinMax, RangeRule
from mpcvit.quantize.ranges.grid import CodeGrid, code_range


class Uniform(Quantizer):
    """Values scale * (code - zero), codes clamped to their width.

    Args:
        symmetric: whether codes are signed and the zero point is 0; else codes are unsigned.
        axis: the axis whose entries have a scale and a zero point each; None for one of all values.
        rule: how ``fit`` chooses the range that the codes cover. Not needed after that.

    Attributes:
        scale, zero: of the grid; broadcast against what is quantized. NaN before ``fit``.
    """

    kind: ClassVar[str] = "uniform"
    secure: ClassVar[str | None] = f"weights: the same, before they are shared. Activations: {CLAMP}"

    scale: torch.Tensor
    zero: torch.Tensor

    def __init__(
        self, bits: int, *, symmetric: bool = False, axis: int | None = None, rule: RangeRule | None = None
    ) -> None:
        super().__init__(bits)
        self.symmetric = symmetric
        self.axis = axis
        self.rule = rule or MinMax()
        self.register_buffer("scale", torch.tensor(torch.nan))
        self.register_buffer("zero", torch.tensor(torch.nan))

    def settings(self) -> dict[str, Any]:
        return {"symmetric": self.symmetric, "axis": self.axis}

    @property
    def grid(self) -> CodeGrid:
        """The values that codes stand for."""
        return CodeGrid(self.scale, self.zero, *code_range(self.bits, symmetric=self.symmetric))

    def fit(self, x: torch.Tensor) -> None:
        low, high = self.rule.ends(grouped(x, self.axis), self.bits, symmetric=self.symmetric)
        grid = CodeGrid.covering(low, high, self.bits, symmetric=self.symmetric)
        self.assign(*(along(parameter.flatten(), x.ndim, self.axis) for parameter in (grid.scale, grid.zero)))

    def assign(self, scale: torch.Tensor, zero: torch.Tensor) -> None:
        """Take these parameters, which broadcast against what is quantized."""
        self.scale, self.zero = scale.detach().clone(), zero.detach().clone()

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        return self.grid.codes(x)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        return self.grid.values(codes)


def grouped(x: torch.Tensor, axis: int | None) -> torch.Tensor:
    """Return the values [G, N] that share parameters: all, or those of an entry of ``axis``."""
    return x.reshape(1, -1) if axis is None else x.movedim(axis, 0).flatten(1)


def along(parameters: torch.Tensor, ndim: int, axis: int | None) -> torch.Tensor:
    """Return the parameters [..., G] in a shape that broadcasts against tensors of ``ndim`` axes.

    Axes before G stay in front.
    """
    if axis is None and parameters.ndim == 1:
        return parameters.reshape(())
    shape = [1] * ndim
    if axis is not None:
        shape[axis] = parameters.shape[-1]
    return parameters.reshape(*parameters.shape[:-1], *shape)
