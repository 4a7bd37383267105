"""Quantizers and range rules against formulas written down independently."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.quantize.quantizers.adalog import GELU_MINIMUM, AdaLog
from mpcvit.quantize.quantizers.log_sqrt2 import LogSqrt2
from mpcvit.quantize.quantizers.power_of_two import PowerOfTwo
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.registry import QUANTIZERS
from mpcvit.quantize.quantizers.twin import Split, TwinUniform
from mpcvit.quantize.quantizers.uniform import Uniform
from mpcvit.quantize.ranges import LeastError, MinMax, Percentile
from mpcvit.quantize.ranges.sample import Rows, Sample


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal values with a few large ones."""
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()
    return x + 0.05 * x**5


def gelu_outputs(count: int = 4000) -> torch.Tensor:
    """What follows a GELU: most values negative and small, and a few large ones."""
    return torch.nn.functional.gelu(torch.from_numpy(np.random.default_rng(3).standard_t(4, count) - 1).float())


def attention_weights(count: int = 4000) -> torch.Tensor:
    """Values in (0, 1], nearly all of them small."""
    return (2 * noise(count // 40, 40)).softmax(dim=-1)


def test_samples_weigh_as_all_values_do() -> None:
    """Errors on a sample of some hundred values are within 3 % of those on all; tails are there in full."""
    x = torch.stack([noise(20000), noise(20000, seed=1) * 3])
    sample = Sample.of(x, 1200)
    assert sample.values.numel() <= 1300
    assert float(sample.weights.sum()) == pytest.approx(1)
    assert torch.equal(sample.values[:, -1], x.amax(dim=1))
    for bits in (3, 6):
        quantizer = Uniform(bits, axis=0, rule=Percentile((0.999,)))
        quantizer.fit(x)
        expected = (quantizer(x) - x).square().mean(dim=1)
        assert torch.allclose(sample.error(quantizer(sample.values)), expected, rtol=0.03 if bits == 3 else 0.1)


def test_rows_stand_for_all_rows() -> None:
    """Weights add up to the number of rows, and the row with the largest value is one of them."""
    x = noise(1000, 8)
    rows = Rows.of(x, 64)
    assert len(rows.index) <= 64
    assert float(rows.weights.sum()) == pytest.approx(1000)
    assert int((x - x.mean()).abs().amax(dim=1).argmax()) in rows.index
    few = Rows.of(x[:5], 64)
    assert sorted(few.index.tolist()) == list(range(5))
    assert few.unweighted().weights.sum() == few.weights.sum() == 5


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_uniform_is_the_textbook_formula(bits: int) -> None:
    """Asymmetric codes are clip(round(x / s) + z, 0, 2^b - 1) with s and z from the whole range, z whole."""
    x = noise(300)
    quantizer = Uniform(bits)
    quantizer.fit(x)
    values = x.numpy()
    scale = np.float32((values.max() - values.min()) / np.float32(2**bits - 1))
    zero = -np.rint(values.min() / scale)
    codes = np.clip(np.rint(values / scale) + zero, 0, 2**bits - 1)
    assert np.array_equal(quantizer.codes(x).numpy(), codes)
    assert np.allclose(quantizer(x).numpy(), (codes - zero) * scale, rtol=1e-6)
    assert np.abs(quantizer(x).numpy() - values).max() <= scale * (1 if bits < 16 else 1.1)


def test_symmetric_uniform_has_signed_codes_and_no_zero_point() -> None:
    """The scale makes the largest absolute value 2^(b-1) - 1."""
    x = noise(300)
    quantizer = Uniform(6, symmetric=True)
    quantizer.fit(x)
    assert quantizer.zero == 0
    assert quantizer.scale == x.abs().max() / 31
    codes = quantizer.codes(x)
    assert codes.abs().max() == 31
    assert codes.min() < 0


def test_uniform_per_channel_is_uniform_of_every_channel() -> None:
    """Parameters of an axis are those of its entries alone, with the axis in any place."""
    x = noise(5, 40) * torch.tensor([1, 10, 0.1, 3, 7])[:, None]
    by_row, by_column = Uniform(4, axis=0), Uniform(4, axis=-1)
    by_row.fit(x)
    by_column.fit(x.mT)
    assert by_row.scale.shape == (5, 1)
    assert torch.equal(by_row(x), by_column(x.mT).mT)
    for row, rounded in zip(x, by_row(x), strict=True):
        alone = Uniform(4)
        alone.fit(row)
        assert torch.equal(alone(row), rounded)


@pytest.mark.parametrize("value", [0.0, 0.3, -5.0])
@pytest.mark.parametrize("symmetric", [False, True])
def test_constants_are_exact(value: float, symmetric: bool) -> None:
    """A tensor of one value has a grid that holds it."""
    x = torch.full((7,), value)
    quantizer = Uniform(4, symmetric=symmetric)
    quantizer.fit(x)
    assert torch.allclose(quantizer(x), x, rtol=1e-6)


def test_what_is_not_negative_gets_zero_point_0() -> None:
    """After a ReLU all codes are for values from 0 on, whatever the rule."""
    x = noise(500).relu()
    for rule in (MinMax(), Percentile(), LeastError()):
        quantizer = Uniform(4, rule=rule)
        quantizer.fit(x)
        assert quantizer.zero == 0
        assert quantizer(torch.zeros(1)) == 0


def test_percentiles_are_numpy_quantiles() -> None:
    """Ends are the interpolated quantiles of each group."""
    x = noise(3, 777)
    low, high = Percentile((0.99,)).ends(x, 8, symmetric=False)
    assert np.allclose(high[:, 0].numpy(), np.quantile(x.numpy(), 0.99, axis=1), rtol=1e-5)
    assert np.allclose(low[:, 0].numpy(), np.quantile(x.numpy(), 0.01, axis=1), rtol=1e-4)


def test_the_best_of_several_percentiles_is_taken_per_group() -> None:
    """A group with an outlier is clipped, a uniform one is not."""
    even = torch.linspace(-1, 1, 2001)
    outlier = even.clone()
    outlier[0] = 4.0
    _, high = Percentile((0.9, 1.0)).ends(torch.stack([even, outlier]), 4, symmetric=False)
    assert high[0] == 1.0
    assert high[1] < 1
    with pytest.raises(ConfigError, match=r"0\.5"):
        Percentile((0.2,))


@pytest.mark.parametrize("bits", [3, 4, 6])
def test_least_error_is_near_the_best_of_all_ranges(bits: int) -> None:
    """No range on a fine mesh of both ends is better by more than 3 %, and the whole range is worse."""
    x = noise(1, 400)

    def error(low: float, high: float) -> float:
        scale = (high - low) / (2**bits - 1)
        zero = -np.rint(low / scale)
        codes = np.clip(np.rint(x.numpy() / scale) + zero, 0, 2**bits - 1)
        return float((((codes - zero) * scale - x.numpy()) ** 2).mean())

    low, high = (float(end) for end in LeastError().ends(x, bits, symmetric=False))
    shares = np.linspace(0.2, 1, 60)
    least = min(error(a * float(x.min()), b * float(x.max())) for a in shares for b in shares)
    assert error(low, high) <= 1.03 * least
    assert error(low, high) < error(float(x.min()), float(x.max()))


def test_power_of_two_has_the_finest_step_that_fits() -> None:
    """The largest value's code fits the width, at twice the resolution it would not; beyond it nothing is clamped."""
    x = noise(500)
    quantizer = PowerOfTwo(8)
    quantizer.fit(x)
    step = 2.0 ** -float(quantizer.frac)
    assert float(x.abs().max()) / step <= 127
    assert float(x.abs().max()) / (step / 2) > 127
    assert np.array_equal(quantizer(x).numpy(), np.rint(x.numpy() / step) * step)
    assert quantizer(torch.tensor([1000.0])) == 1000.0


def test_log_sqrt2_is_the_nearest_power() -> None:
    """Codes are the nearest powers of sqrt(2) in the logarithm; the last one is 0, and so is what is below the rest."""
    x = attention_weights().flatten()
    quantizer = LogSqrt2(4)
    quantizer.fit(x)
    scale = float(quantizer.scale)
    powers = [scale * math.sqrt(2) ** -code for code in range(15)]
    for value, code in zip(x[:300].tolist(), quantizer.codes(x[:300]).tolist(), strict=True):
        distances = [abs(math.log(value / power)) for power in powers]
        nearest = distances.index(min(distances))
        assert code == (nearest if value > powers[-1] * 2**-0.25 else 15)
    assert np.allclose(quantizer.values(torch.arange(16.0)).numpy(), [*powers, 0.0], rtol=1e-6)
    assert quantizer(torch.zeros(1)) == 0


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
@pytest.mark.parametrize("q", [1, 10, 37, 138])
def test_adalog_by_tables_is_adalog_by_powers(bits: int, q: int) -> None:
    """Values are those of two integer-made tables, and within half a mantissa step of scale * 2^(-code q / 37)."""
    quantizer = AdaLog(bits)
    quantizer.assign(torch.tensor(0.75), torch.tensor(float(q)), torch.tensor(0.0))
    codes = torch.arange(2.0**bits)
    shifts = [code * q // 37 for code in range(2**bits)]
    finest = 2 ** (bits + 1) - 2
    mantissas = [round(2 ** (-(code * q % 37) / 37) * finest) for code in range(2**bits)]
    expected = [0.75 * mantissa / finest * 2.0**-shift for mantissa, shift in zip(mantissas, shifts, strict=True)]
    expected[-1] = 0.0
    assert np.allclose(quantizer.values(codes).numpy(), expected, rtol=2e-6)
    exact = 0.75 * 2.0 ** (-np.arange(2**bits - 1) * q / 37)
    normal = exact > 1e-30  # float32 holds these
    errors = np.abs(quantizer.values(codes).numpy()[:-1] - exact)
    assert (errors[normal] <= exact[normal] / finest * 1.001).all()
    assert torch.equal(quantizer.codes(torch.from_numpy(exact[normal])).float(), codes[:-1][torch.from_numpy(normal)])


def test_adalog_shifts_gelu_and_gives_the_shift_back_when_told() -> None:
    """The shift is GELU's minimum; without ``restore`` values are higher by it."""
    x = gelu_outputs()
    quantizer = AdaLog(6)
    quantizer.fit(x)
    assert float(quantizer.shift) == pytest.approx(-GELU_MINIMUM)
    restored = quantizer(x)
    quantizer.restore = False
    assert torch.allclose(quantizer(x), restored + quantizer.shift, atol=1e-6)
    assert (restored - x).square().mean() < 0.01 * x.square().mean()


@pytest.mark.parametrize("kind", ["log_sqrt2", "adalog", "twin"])
def test_power_laws_want_more_than_a_uniform_quantizer(kind: str) -> None:
    """At 4 bits, all special quantizers have a lower error on a softmax' outputs than the best uniform one."""
    x = attention_weights()
    uniform, special = Uniform(4, rule=LeastError()), QUANTIZERS[kind](4)
    uniform.fit(x)
    special.fit(x)
    relative = x.clamp(min=1e-4)
    assert (((special(x) - x) / relative) ** 2).mean() < (((uniform(x) - x) / relative) ** 2).mean()


@pytest.mark.parametrize("split", list(Split))
def test_twin_steps_differ_by_a_power_of_two(split: Split) -> None:
    """Every value is a whole number of the step of its range, and within half of it where nothing is clamped."""
    x = gelu_outputs() if split is Split.SIGN else attention_weights().flatten()
    quantizer = TwinUniform(5, split=split)
    quantizer.fit(x)
    fine, coarse = float(quantizer.step), float(quantizer.step) * 2.0 ** float(quantizer.m)
    assert quantizer.m == quantizer.m.round()
    for value, rounded in zip(x[:500].tolist(), quantizer(x[:500]).tolist(), strict=True):
        is_fine = value < 0 if split is Split.SIGN else value < 15.5 * fine
        step = fine if is_fine else coarse
        assert rounded / step == pytest.approx(round(rounded / step), abs=1e-4)
        if abs(value) < 15 * step:
            assert abs(rounded - value) <= step * 0.501


@pytest.mark.parametrize("bits", [4, 6])
def test_opt_m_is_near_the_best_of_all_twins(bits: int) -> None:
    """No m and no coarse range on a fine mesh have an error that is lower by more than 5 %."""
    x = gelu_outputs().numpy()
    last = 2 ** (bits - 1) - 1

    def error(coarse: float, m: int) -> float:
        fine = coarse * 2.0**-m
        negative = -np.clip(np.rint(-x / fine), 0, last) * fine
        rounded = np.where(x < 0, negative, np.clip(np.rint(x / coarse), 0, last) * coarse)
        return float(((rounded - x) ** 2).mean())

    twin = TwinUniform(bits, split=Split.SIGN)
    twin.fit(torch.from_numpy(x))
    least = min(error(x.max() * share / last, m) for share in np.linspace(0.2, 1.2, 80) for m in range(-6, 12))
    assert error(float(twin.step) * 2.0 ** float(twin.m), int(twin.m)) <= 1.05 * least
    assert error(float(twin.step) * 2.0 ** float(twin.m), int(twin.m)) == pytest.approx(
        float((twin(torch.from_numpy(x)) - torch.from_numpy(x)).square().mean()), rel=1e-3
    )


@pytest.mark.parametrize("kind", list(QUANTIZERS))
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_codes_are_whole_and_rounding_twice_is_rounding_once(kind: str, bits: int) -> None:
    """Codes fit the width (unless nothing is clamped), and what codes stand for has these codes."""
    x = attention_weights()
    quantizer: Quantizer = QUANTIZERS[kind](bits)
    quantizer.fit(x)
    codes = quantizer.codes(x)
    assert torch.equal(codes, codes.round())
    assert codes.min() >= 0
    assert codes.max() <= 2**bits - 1
    rounded = quantizer(x)
    if kind != "twin":  # what the coarse range rounds down may lie in the fine one
        assert torch.allclose(quantizer(rounded), rounded, rtol=1e-5)


def test_gradients_pass_straight_through() -> None:
    """The value is rounded, the gradient is 1."""
    x = noise(50).requires_grad_()
    quantizer = Uniform(4)
    quantizer.fit(x.detach())
    y = quantizer(x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(50))
    assert torch.allclose(y.detach(), quantizer(x.detach()), atol=1e-6)


def test_all_but_powers_of_two_say_what_shares_get() -> None:
    """``secure`` names the substitute, which itself has none."""
    for kind, quantizer in QUANTIZERS.items():
        assert (quantizer.secure is None) == (kind == "power_of_two")
        assert quantizer.secure is None or "power_of_two" in quantizer.secure
