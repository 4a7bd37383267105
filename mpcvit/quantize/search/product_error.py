"""The error of a product when both operands are rounded. Axes: R rows, O outputs, K what is summed over."""

from __future__ import annotations

import torch


class ProductError:
    """||x' w'^T - x w^T||^2 as a function of x', for a fixed w'.

    With e = x' - x and d = x (w' - w)^T it is ||e w'^T + d||^2: small terms only, so that float32 suffices. Where there
    are more outputs than there is to sum over, the same comes from w'^T w', [K, K], without a product with all of w'.

    Args:
        x: [..., R, K].
        w, rounded_w: [..., O, K].
    """

    def __init__(self, x: torch.Tensor, w: torch.Tensor, rounded_w: torch.Tensor) -> None:
        self.x = x
        self.w = rounded_w
        self.rest = x @ (rounded_w - w).mT
        self.gram: torch.Tensor | None = None
        if w.shape[-2] > w.shape[-1]:
            self.gram = rounded_w.mT @ rounded_w
            self.linear = 2 * self.rest @ rounded_w
            self.constant = self.rest.square().sum(-1)

    def __call__(self, rounded_x: torch.Tensor) -> torch.Tensor:
        """Return the error [..., R] of every row."""
        e = rounded_x - self.x
        if self.gram is None:
            return (e @ self.w.mT + self.rest).square().sum(-1)
        return ((e @ self.gram + self.linear) * e).sum(-1) + self.constant
