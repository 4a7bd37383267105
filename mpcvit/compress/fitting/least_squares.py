"""A linear layer that is left with some of its inputs, fitted to what it wrote with all of them."""

from __future__ import annotations

import torch

#: Share of its mean eigenvalue that is added to the covariance, as calibration data do not show all directions.
_RIDGE = 1e-6


def ridged(covariance: torch.Tensor) -> torch.Tensor:
    """Return ``covariance`` [I, I] with what makes it invertible."""
    return covariance + _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)


def restricted(weight: torch.Tensor, inputs: torch.Tensor, metric: torch.Tensor) -> torch.Tensor:
    """Return the weights of the inputs that are left, whose outputs are nearest to those of all of ``weight`` [I, O].

    Args:
        inputs: bool [I], which are left.
        metric: the inputs' covariance [I, I], invertible.
    """
    fitted: torch.Tensor = torch.linalg.solve(metric[inputs][:, inputs], metric[inputs] @ weight)
    return fitted
