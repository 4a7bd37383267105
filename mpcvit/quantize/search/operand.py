"""One factor of a product whose quantizer is searched by FPCS, alone or together with the other factor's.

Axes: R rows, K what the product sums over, G groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.uniform import along, grouped
from mpcvit.quantize.ranges.sample import Rows, Sample
from mpcvit.quantize.search.families import QuantizerFamily
from mpcvit.quantize.search.fpcs import Fpcs, Parameter
from mpcvit.quantize.search.product_error import ProductError

#: Values that the error of a tensor's own is measured on.
_SAMPLE = 2**15
#: Searches for a tensor's own error, and for that of a product, which costs more and is made several times; the latter
#: start with what is good for the tensor itself.
_ALONE = Fpcs()
_TOGETHER = Fpcs(candidates=32, beam=8, steps=4)


class Operand:
    """A factor [..., R, K].

    Args:
        x: its values on calibration pictures, or a weight.
        family: what quantizers there are for it; its axis, counted from the front, is not K if products are searched.
        rows: what of the first axis products are searched with; None for all. Of two factors that share this axis, only
            one has weights.

    Attributes:
        quantizer: the best one of the latest search; at first the one of least error of ``x``.
    """

    def __init__(self, x: torch.Tensor, family: QuantizerFamily, rows: Rows | None = None) -> None:
        self.family = family
        x_GN = grouped(x, family.axis)
        sample = Sample.of(x_GN, _SAMPLE)
        flat = replace(family, axis=None if family.axis is None else 0)
        starts = flat.starts(x_GN)
        error = flat.error(sample.values, sample.error)
        self.quantizer: Quantizer = family.make(x.ndim, *_ALONE.search(error, *starts))
        self.starts = _TOGETHER.best(error, *starts)
        self.x = x if rows is None else x[rows.index]
        self.scale = x.new_ones(()) if rows is None else along(rows.weights.sqrt(), x.ndim, 0)

    def rounded(self) -> torch.Tensor:
        """Return the rows as the quantizer rounds them."""
        values: torch.Tensor = self.quantizer(self.x)
        return values

    def own_error(self) -> float:
        """Return the squared error of the factor itself."""
        return float(((self.rounded() - self.x) * self.scale).square().sum())

    def refit(self, other: Operand) -> None:
        """Search the quantizer of least error of the product with ``other``, as that is rounded now."""
        measure = self.product_error(other)
        error = self.family.error(self.x, lambda rounded: self._by_group(measure(rounded)))
        self.quantizer = self.family.make(self.x.ndim, *_TOGETHER.search(error, *self._with_current()))

    def product_error(self, other: Operand) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the error of the rows' products with ``other``, as that is rounded now, as a function of the rounded
        rows.
        """
        error = ProductError(self.x, other.x * other.scale, other.rounded() * other.scale)
        weights = self.scale.square().squeeze(-1) if self.scale.ndim else self.scale
        return lambda rounded: error(rounded) * weights

    def _by_group(self, errors: torch.Tensor) -> torch.Tensor:
        """Return the errors [S, G] from those of rows, [S, ..., R]."""
        axis = self.family.axis
        if axis is None:
            return errors.flatten(1).sum(dim=1, keepdim=True)
        return errors.movedim(axis + 1, 1).reshape(len(errors), self.x.shape[axis], -1).sum(dim=-1)

    def _with_current(self) -> tuple[Parameter, Parameter]:
        """Return the starts and the present quantizer, so that no search makes it worse."""
        current = self.family.parameters(self.quantizer)
        first, second = (
            replace(parameter, values=torch.cat([parameter.values, value[None]]))
            for parameter, value in zip(self.starts, current, strict=True)
        )
        return first, second


def alternate(left: Operand, right: Operand, rounds: int) -> None:
    """Refit both factors in turn."""
    for _ in range(rounds):
        right.refit(left)
        left.refit(right)


def product_error(left: Operand, right: Operand) -> float:
    """Return the squared error of the product of both factors, as they are rounded now."""
    return float(left.product_error(right)(left.rounded()).sum())
