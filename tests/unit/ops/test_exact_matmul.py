"""Exact products of codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpcvit.ops.exact_matmul import exact_matmul


@pytest.mark.parametrize("bits", [20, 30, 40])
def test_exact_matmul_is_exact(bits: int) -> None:
    """Small numbers through float64, large ones through int64: always the product mod 2**64."""
    generator = np.random.default_rng(bits)
    left = generator.integers(-(2**bits), 2**bits, (3, 5, 70))
    right = generator.integers(-(2**bits), 2**bits, (70, 6))
    with np.errstate(over="ignore"):
        expected = left @ right
    assert (exact_matmul(torch.from_numpy(left), torch.from_numpy(right)).numpy() == expected).all()


def test_exact_matmul_knows_the_smallest_code() -> None:
    """The magnitude of -2**63 does not fit int64; taken for small, its product would lose bits."""
    left, right = torch.tensor([[-(2**63), 1]]), torch.tensor([[1], [1]])
    assert exact_matmul(left, right).item() == -(2**63) + 1
