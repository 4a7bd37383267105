"""From learnt numbers to a choice: what is kept, and how much of it."""

from __future__ import annotations

import pytest
import torch

from mpcvit.search.discretise import keep_largest, keep_top, kept_count, largest_within


@pytest.mark.parametrize(
    ("total", "kept"), [(28, {0.1: 3, 0.3: 9, 0.5: 14, 0.7: 20}), (108, {0.1: 11, 0.3: 33, 0.5: 54, 0.7: 76})]
)
def test_heads_kept_are_those_of_mpcvit(total: int, kept: dict[float, int]) -> None:
    """MPCViT's index formula: all but the floor((1 - mu) LH) smallest."""
    assert {mu: kept_count(total, mu) for mu in kept} == kept
    alphas = torch.rand(total // 4, 4).unbind()
    for mu, count in kept.items():
        assert sum(map(sum, keep_top(alphas, mu))) == count


def test_rounding_of_products_drops_no_head() -> None:
    """(1 - 0.7) * 30 is a hair below 9 in float64, and 9 heads are dropped."""
    assert kept_count(30, 0.7) == 21
    assert (kept_count(10, 0.0), kept_count(10, 1.0)) == (0, 10)


def test_the_largest_are_kept_globally() -> None:
    """Magnitudes count, over all blocks together; ties go to the first."""
    values = [torch.tensor([0.9, -0.8]), torch.tensor([0.1, 0.8])]
    assert keep_largest(values, 2) == [[True, True], [False, False]]
    assert keep_largest(values, 0) == [[False, False]] * 2


def test_largest_count_within_a_budget() -> None:
    """Found by bisection, at all budgets."""
    for budget in range(12):
        assert largest_within(10, budget, lambda kept: kept) == min(budget, 10)
    assert largest_within(10, -1, lambda kept: kept) == 0
