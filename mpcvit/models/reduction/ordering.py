"""Tokens in the order of their scores. Axes: B batch, N tokens, D width."""

from __future__ import annotations

import torch


def ordered(x_BND: torch.Tensor, scores_BN: torch.Tensor) -> torch.Tensor:
    """Return the tokens with the largest scores first, equal ones as they came: as the op ``order`` puts them."""
    order_BN = scores_BN.argsort(dim=-1, descending=True, stable=True)
    return x_BND.take_along_dim(order_BN[..., None], dim=-2)
