"""Sharpness-aware steps."""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.train.sam import ascended


def test_sam_takes_the_gradient_uphill_and_comes_back() -> None:
    """For x^4 / 4 at x = (3, 4) the second gradient is (x + rho g / |g|)^3, and x is restored bit for bit."""
    model = nn.Linear(2, 1, bias=False)
    start = torch.tensor([[3.0, 4.0]])
    with torch.no_grad():
        model.weight.copy_(start)

    def loss() -> torch.Tensor:
        return (model.weight**4).sum() / 4

    loss().backward()
    gradient = start**3
    with ascended(model, rho=0.5):
        assert model.weight.grad is None
        loss().backward()
    assert torch.equal(model.weight.detach(), start)
    assert model.weight.grad is not None
    assert torch.allclose(model.weight.grad, (start + 0.5 * gradient / gradient.norm()) ** 3, rtol=1e-5)


def test_sam_leaves_batch_statistics_alone() -> None:
    """Running means and variances are those of the first pass, and move on afterwards."""
    model = nn.BatchNorm1d(3)
    values = torch.arange(12.0).view(4, 3)
    (model(values) ** 3).sum().backward()
    before = model.running_mean.clone()
    with ascended(model, rho=1.0):
        model(values + 5).sum().backward()
    assert torch.equal(model.running_mean, before)
    assert model.momentum == 0.1
