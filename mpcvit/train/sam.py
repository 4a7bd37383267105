"""Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def ascended(model: nn.Module, rho: float) -> Iterator[None]:
    """Move weights, within the block, to w + rho g / ||g||_2 (equation 2) and gradients are cleared.

    g is the gradient that the caller has just computed at w. The gradient that the block computes stays for the
    optimiser; afterwards the weights are w again, bit for bit. Batch norms keep the statistics of w.
    """
    moved = [parameter for parameter in model.parameters() if parameter.grad is not None]
    gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
    kept = [parameter.detach().clone() for parameter in moved]
    factor = rho / (torch.nn.utils.get_total_norm(gradients) + 1e-12)
    norms = [(module, module.momentum) for module in model.modules() if isinstance(module, _BatchNorm)]
    with torch.no_grad():
        for parameter, gradient in zip(moved, gradients, strict=True):
            parameter.add_(gradient * factor)
    for norm, _ in norms:
        norm.momentum = 0.0
    model.zero_grad()
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
        with torch.no_grad():
            for parameter, value in zip(moved, kept, strict=True):
                parameter.copy_(value)
