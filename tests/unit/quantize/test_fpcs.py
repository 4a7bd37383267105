"""The search for two parameters, and the error of products that it minimises."""

from __future__ import annotations

import pytest
import torch

from mpcvit.quantize.quantizers.uniform import Uniform
from mpcvit.quantize.ranges import MinMax
from mpcvit.quantize.search.families import AdaLogFamily, QuantizerFamily, UniformFamily
from mpcvit.quantize.search.fpcs import Fpcs, Parameter
from mpcvit.quantize.search.operand import Operand, alternate, product_error
from mpcvit.quantize.search.product_error import ProductError


def mesh(groups: int) -> tuple[Parameter, Parameter]:
    """Starts 0.5, 1.5, .. 7.5 times 0, 10, .. 70."""
    pairs = torch.cartesian_prod(torch.arange(8) + 0.5, 10.0 * torch.arange(8))
    first, second = (column[:, None].repeat(1, groups) for column in pairs.unbind(1))
    return (
        Parameter(first, torch.ones(groups), lowest=0.1),
        Parameter(second, torch.full((groups,), 10.0), lowest=0.0, whole=True),
    )


def test_the_optimum_of_a_bowl_is_found_in_every_group() -> None:
    """The continuous parameter to a thousandth, the whole one exactly."""
    a, b = torch.tensor([3.21, 0.72, 6.9]), torch.tensor([17.0, 3.0, 64.0])
    x, y = Fpcs().search(lambda x, y: (x - a).square() + 0.01 * (y - b).square(), *mesh(3))
    assert torch.allclose(x, a, atol=1e-3)
    assert torch.equal(y, b)


@pytest.mark.parametrize("seed", range(5))
def test_the_result_is_no_worse_than_any_start(seed: int) -> None:
    """Also where the error jumps about and is no number in places."""
    torch.manual_seed(seed)
    waves = 20 * torch.rand(4, 2)

    def error(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        wild = (waves[:, 0] * x).sin() + (waves[:, 1] * y).cos()
        return torch.where(wild > 1.5, torch.full_like(wild, torch.nan), wild)

    starts = mesh(4)
    found = error(*(parameter[None] for parameter in Fpcs().search(error, *starts)))[0]
    assert (found <= error(*(start.values for start in starts)).nan_to_num(nan=torch.inf).amin(dim=0)).all()


def test_whole_parameters_stay_whole_and_above_their_bound() -> None:
    """Although the optimum lies elsewhere."""
    x, y = Fpcs().search(lambda x, y: (x + 5).square() + (y - 12.4).square(), *mesh(1))
    assert float(x) == pytest.approx(0.1)
    assert float(y) == 12


@pytest.mark.parametrize("outputs", [3, 12])
def test_product_error_is_the_error_of_the_product(outputs: int) -> None:
    """With more outputs than summands and with fewer, for batches of products and of candidates."""
    torch.manual_seed(0)
    x, w = torch.randn(2, 5, 7), torch.randn(2, outputs, 7)
    rounded_w, candidates = w.round(), torch.stack([x.round(), x])
    expected = (candidates @ rounded_w.mT - x @ w.mT).square().sum(-1)
    assert torch.allclose(ProductError(x, w, rounded_w)(candidates), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("axis", [None, 0])
def test_a_searched_quantizer_is_no_worse_than_the_whole_range(bits: int, axis: int | None) -> None:
    """The starts contain it."""
    torch.manual_seed(1)
    x = torch.randn(6, 50) ** 3
    whole = Uniform(bits, axis=axis, rule=MinMax())
    whole.fit(x)
    operand = Operand(x, UniformFamily(bits, axis))
    assert operand.own_error() <= float((whole(x) - x).square().sum()) * 1.0001


@pytest.mark.parametrize("family", [UniformFamily(4, None), AdaLogFamily(4, None, torch.tensor(0.0))])
def test_rounds_lower_the_error_of_the_product(family: QuantizerFamily) -> None:
    """More rounds are never worse, and the error reported is that of the product of the rounded factors."""
    torch.manual_seed(2)
    x, w = torch.randn(40, 16).relu() ** 2, torch.randn(8, 16)
    errors = []
    for rounds in (0, 1, 3):
        left, right = Operand(x, family), Operand(w, UniformFamily(4, 0))
        alternate(left, right, rounds)
        errors.append(product_error(left, right))
        direct = (left.rounded() @ right.rounded().mT - x @ w.mT).square().sum()
        assert errors[-1] == pytest.approx(float(direct), rel=1e-3)
    assert errors[2] <= errors[1] <= errors[0]
