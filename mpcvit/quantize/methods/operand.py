"""One factor of a product whose quantizer is searched by FPCS, alone or together with the other factor's.

Axes: R rows, K what the product sums over, G groups.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from mpcvit.quantize.methods.families import Family
from mpcvit.quantize.methods.fpcs import Error, Fpcs, Parameter
from mpcvit.quantize.methods.product_error import ProductError
from mpcvit.quantize.quantizer import Quantizer
from mpcvit.quantize.range.rule import thinned
from mpcvit.quantize.uniform import grouped

#: Values that the error of a tensor's own is measured on.
_SAMPLE = 2**15
#: Searches for a tensor's own error, and for that of a product, which is dearer and made several times; the latter
#: start with what is good for the tensor itself.
_ALONE = Fpcs()
_TOGETHER = Fpcs(candidates=32, beam=8, steps=4)


class Operand:
    """A factor [..., R, K].

    Args:
        x: its values on calibration pictures, or a weight.
        family: what quantizers there are for it; ``family.axis`` must not be the last one if products are searched.

    Attributes:
        quantizer: the best one of the latest search; at first the one of least error of ``x``.
    """

    def __init__(self, x: torch.Tensor, family: Family) -> None:
        self.x, self.family = x, family
        sample_GN = thinned(grouped(x, family.axis), _SAMPLE)
        flat = replace(family, axis=None if family.axis is None else 0)
        rounding = flat.rounding(sample_GN)

        def error(first_G: torch.Tensor, second_G: torch.Tensor) -> torch.Tensor:
            return (rounding(first_G, second_G) - sample_GN).square().mean(dim=1)

        starts = flat.starts(sample_GN)
        self.quantizer: Quantizer = family.make(x.ndim, *_ALONE.search(error, *starts))
        self.starts = _TOGETHER.best(error, *starts)

    def rounded(self) -> torch.Tensor:
        """The factor as the quantizer rounds it."""
        values: torch.Tensor = self.quantizer(self.x)
        return values

    def own_error(self) -> float:
        """Squared error of the factor itself."""
        return float((self.rounded() - self.x).square().sum())

    def refit(self, other: Operand) -> None:
        """Search the quantizer of least error of the product with ``other``, as that is rounded now."""
        product_error = ProductError(self.x, other.x, other.rounded())
        self.quantizer = self.family.make(
            self.x.ndim, *_TOGETHER.search(self._error_of(product_error), *self._with_current())
        )

    def _error_of(self, product_error: ProductError) -> Error:
        axis, ndim = self.family.axis, self.x.ndim
        rounding = self.family.rounding(self.x)
        others = [dim for dim in range(ndim - 1) if axis is None or dim != axis % ndim]

        def error(first_G: torch.Tensor, second_G: torch.Tensor) -> torch.Tensor:
            rows = product_error(rounding(first_G, second_G))
            return rows.sum(others).reshape(-1) if others else rows

        return error

    def _with_current(self) -> tuple[Parameter, Parameter]:
        """The starts and the present quantizer, so that no search makes it worse."""
        current = self.family.parameters(self.quantizer)
        first, second = (
            replace(parameter, values=torch.cat([parameter.values, value[None]]))
            for parameter, value in zip(self.starts, current, strict=True)
        )
        return first, second


def alternate(left: Operand, right: Operand, rounds: int) -> float:
    """Refit both factors in turn; the squared error of their product after that."""
    for _ in range(rounds):
        right.refit(left)
        left.refit(right)
    return float(ProductError(left.x, right.x, right.rounded())(left.rounded()).sum())
