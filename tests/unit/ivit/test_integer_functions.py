"""Integer-only functions against real ones, under stated bounds on stated ranges."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from mpcvit.errors import ConfigError, RangeError
from mpcvit.ivit.accumulate import accumulate
from mpcvit.ivit.dyadic import dyadic, saturate
from mpcvit.ivit.i_layernorm import NORM_STEPS, i_layernorm, integer_sqrt, square_shift
from mpcvit.ivit.shift_exp import shift_exp
from mpcvit.ivit.shift_gelu import GELU_GAIN, SIGMOID_BITS, shift_gelu
from mpcvit.ivit.shiftmax import row_shares, shiftmax

UNITS = (4, 8, 16, 32, 64, 1024)


def _codes(count: int, bits: int = 32, seed: int = 0) -> torch.Tensor:
    """Uniform codes with the extremes among them."""
    torch.manual_seed(seed)
    limit = 1 << (bits - 1)
    return torch.cat([torch.randint(-limit, limit, (count,)), torch.tensor([-limit, limit - 1, -1, 0, 1])])


@pytest.mark.parametrize("ratio", [1.0, 3 / 7, 2.0**-20, 1.7e-8, -0.3, 12345.678, 1 - 2.0**-40, 0.0])
def test_dyadic_is_the_ratio_of_its_integers(ratio: float) -> None:
    """y = floor((q m + offset) / 2^e + 1/2) in rational numbers; m / 2^e is the ratio within half a step."""
    change = dyadic(ratio, offset=0.3)
    m, e, offset = int(change.multiplier), int(change.shift), int(change.offset)
    assert abs(m) < 2**31
    assert abs(Fraction(m, 2**e) - Fraction(ratio)) <= Fraction(1, 2 ** (e + 1))
    assert abs(Fraction(offset, 2**e) - Fraction(3, 10)) <= Fraction(1, 2**e)
    codes = _codes(200)
    expected = [floor(Fraction(code * m + offset, 2**e) + Fraction(1, 2)) for code in codes.tolist()]
    assert change(codes).tolist() == expected


@pytest.mark.parametrize("ratio", [1.0, 3 / 7, 2.0**-20, 1.7e-8, -0.3])
def test_dyadic_rounds_to_nearest(ratio: float) -> None:
    """Within half a step of the real quotient, and 2**-20 for the multiplier's own rounding."""
    codes = _codes(2000)
    real = codes.double() * ratio + 5.25
    slack = 2.0**-20 + real.abs() * 2.0**-30
    assert ((dyadic(ratio, 5.25)(codes) - real).abs() <= 0.5 + slack).all()


def test_dyadic_per_channel() -> None:
    """The last axis has a ratio and an offset of its own per channel."""
    codes = _codes(10, bits=16)[:15].reshape(3, 5)
    ratios, offsets = torch.tensor([0.1, 2.0, -3.0, 0.0, 1e-3]), torch.tensor([0.0, 1.0, 2.0, 3.0, -4.0])
    columns = [
        dyadic(ratio, offset)(column) for ratio, offset, column in zip(ratios.double(), offsets, codes.T, strict=True)
    ]
    assert torch.equal(dyadic(ratios, offsets)(codes), torch.stack(columns, dim=1))


@pytest.mark.parametrize("code", [2**31, -(2**31) - 1])
def test_dyadic_refuses_what_could_wrap(code: int) -> None:
    """Codes beyond 32 bits are an error, and not a wrong result."""
    with pytest.raises(RangeError, match="32 bits"):
        dyadic(0.5)(torch.tensor([code]))


@pytest.mark.parametrize(("ratio", "offset"), [(2.0**30, 0.0), (float("inf"), 0.0), (float("nan"), 0.0), (0.5, 1e10)])
def test_dyadic_refuses_ratios_and_offsets_without_integers(ratio: float, offset: float) -> None:
    """What has no 31-bit multiplier, or an offset beyond 61 bits."""
    with pytest.raises(ConfigError, match="Calibrate"):
        dyadic(ratio, torch.tensor([offset]))


def test_saturate() -> None:
    """Signed integers of the width."""
    assert saturate(torch.tensor([-200, -128, 5, 127, 128]), 8).tolist() == [-128, -128, 5, 127, 127]


def test_accumulate_is_torchs_integer_product() -> None:
    """Bit for bit, batched; sums beyond 32 bits are refused."""
    torch.manual_seed(0)
    left, right = torch.randint(-(2**15), 2**15, (2, 3, 7, 40)), torch.randint(-128, 128, (3, 40, 5))
    assert torch.equal(accumulate(left, right), left @ right)
    with pytest.raises(RangeError, match="32 bits"):
        accumulate(torch.full((1, 8), 2**15), torch.full((8, 1), 2**13))
    with pytest.raises(RangeError, match="16 bits"):
        accumulate(torch.full((1, 8), 2**31), torch.full((8, 1), 2**31))


@pytest.mark.parametrize(("unit", "bound"), [(8, 0.15), (16, 0.12), (32, 0.09), (1024, 0.08)])
def test_shift_exp(unit: int, bound: float) -> None:
    """Relative error on -4 <= x <= 0 up to the bound above and 2 % below; never more than exp(0), which is exact."""
    codes = torch.arange(-4 * unit, 1)
    result = shift_exp(codes, unit, 15).double() / (unit * 2.0**15)
    error = result * (-codes.double() / unit).exp() - 1
    assert float(error.min()) > -0.02
    assert float(error.max()) < bound
    assert float(result[-1]) == 1.0 == float(result.max())


def test_shift_exp_of_far_codes_is_zero() -> None:
    """No shift count leaves the word, however far below 0."""
    assert shift_exp(torch.tensor([-(2**31), -1000, -400]), 8, 15).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("unit", "bound"), [(6, 0.05), (12, 0.035), (25, 0.025)])
@pytest.mark.parametrize("keys", [16, 64, 197])
def test_shiftmax(unit: int, keys: int, bound: float) -> None:
    """8-bit scores: every weight within the bound of softmax, and the sum of a row in (0.99, 1]."""
    torch.manual_seed(keys)
    scores = (torch.randn(500, keys) * 4 * unit).round().long().clamp(-128, 127)
    weights = shiftmax(scores, unit, 16).double() / 2**15
    assert float((weights - (scores.double() / unit).softmax(dim=-1)).abs().max()) < bound
    assert float(weights.sum(dim=-1).min()) > 0.99
    assert float(weights.sum(dim=-1).max()) <= 1.0


def test_row_shares_of_equal_weights_and_of_none() -> None:
    """Equal weights share equally whatever the row sum; a row of zeros stays zero; the extra takes its part."""
    for weight in (1, 1000, 2**17):
        shares = row_shares(torch.full((1, 64), weight), bits=16)
        assert 0 <= 2**15 / 64 - int(shares[0, 0]) <= 2**15 / 64 * (64 * weight / 2**31) + 1
    assert row_shares(torch.zeros(1, 4, dtype=torch.long), bits=8).tolist() == [[0, 0, 0, 0]]
    assert row_shares(torch.tensor([[3, 1]]), bits=8, extra=4).tolist() == [[47, 15]]


@pytest.mark.parametrize("unit", UNITS)
def test_shift_gelu(unit: int) -> None:
    """Within 0.03 + 0.008 |x| of GELU on -12 <= x <= 16."""
    codes = torch.arange(-int(12 * GELU_GAIN * unit), int(16 * GELU_GAIN * unit) + 1)
    x = codes.double() / (GELU_GAIN * unit)
    result = shift_gelu(codes, unit).double() / (GELU_GAIN * unit * 2.0 ** (SIGMOID_BITS - 1))
    assert ((result - gelu(x)).abs() <= 0.03 + 0.008 * x.abs()).all()


def test_integer_sqrt() -> None:
    """Relative error below 0.001 + 1 / sqrt on 2**16 <= v < 2**32; 64 at least, whatever is below."""
    torch.manual_seed(0)
    squares = torch.cat([torch.arange(2**16, 2**17), torch.randint(2**16, 2**32, (10**5,)), torch.tensor([2**32 - 1])])
    exact = squares.double().sqrt()
    assert ((integer_sqrt(squares) - exact).abs() / exact <= 0.001 + 1 / exact).all()
    assert integer_sqrt(torch.tensor([0, 1, 4000])).min() >= 64


@pytest.mark.parametrize("width", [1, 2, 12, 64, 127, 128, 192, 384, 511, 768])
def test_square_shift_keeps_squares_in_32_bits(width: int) -> None:
    """The widest token that 16 bits hold has a sum of squares below 2**31, and one bit less would not be enough."""
    shift = square_shift(width)
    assert width * 2**30 < 2**31 * 4**shift
    assert shift == 0 or width == 1 or width * 2**30 >= 2**31 * 4 ** (shift - 1)


@pytest.mark.parametrize("width", [64, 128, 192])
def test_i_layernorm(width: int) -> None:
    """Tokens whose deviation is 3 % of 16 bits or more: within 0.5 % of layer norm, and 0.003 for the short squares."""
    torch.manual_seed(width)
    deviation = torch.linspace(1000, 9000, 50)[:, None]
    codes = (torch.randn(50, width) * deviation + torch.randn(50, 1) * 2000).round().long().clamp(-(2**15), 2**15 - 1)
    result = i_layernorm(codes, epsilon=0).double() * width**0.5 / NORM_STEPS
    exact = layer_norm(codes.double(), (width,), eps=0.0)
    assert ((result - exact).abs() <= 0.003 + 0.005 * exact.abs()).all()


def test_i_layernorm_at_the_extremes() -> None:
    """A constant token becomes 0; the widest one that 16 bits hold stays within 32 bits; epsilon divides."""
    assert i_layernorm(torch.full((1, 16), 32767), epsilon=0).abs().max() == 0
    extreme = torch.tensor([32767, -32768]).repeat(64)[None]
    result = i_layernorm(extreme, epsilon=0).double() * 128**0.5 / NORM_STEPS
    assert float((result.abs() - 1).abs().max()) < 0.005
    spread = torch.tensor([[400, -400] * 32])
    halved = i_layernorm(spread, epsilon=3 * 64 * (400 >> square_shift(64)) ** 2)
    assert float((halved / i_layernorm(spread, epsilon=0) - 0.5).abs().max()) < 0.02
