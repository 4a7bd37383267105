"""Quantizers of attention weights whose codes are not evenly spaced: against their formulas, value by value."""

from __future__ import annotations

import math

import pytest
import torch

from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.sulq import SHIFTS, ShiftUniformLog2
from mpcvit.quantize.quantizers.tanq import ReconstructedTanQ

KINDS: tuple[type[Quantizer], ...] = (ShiftUniformLog2, ReconstructedTanQ)


def _attention_weights(spread: float = 3.0) -> torch.Tensor:
    torch.manual_seed(0)
    return (torch.randn(4, 2, 16, 16) * spread).softmax(dim=-1)


def _sulq(x: float, bits: int, shift: float, low: float, high: float) -> float:
    """I&S-ViT's formula for one value."""
    u_low, u_high = math.log2(low + shift), math.log2(high + shift)
    step = (u_high - u_low) / (2**bits - 1)
    code = min(max(round((math.log2(x + shift) - u_low) / step), 0), 2**bits - 1)
    return 2.0 ** round(u_low + code * step) - shift


def _tanq(x: float, bits: int, scale: float, angle: float) -> float:
    """The reconstructed formula for one value."""
    code = round((2**bits - 1) * math.tan(angle * x / scale) / math.tan(angle))
    return scale * math.atan(code * math.tan(angle) / (2**bits - 1)) / angle


@pytest.mark.parametrize("bits", [3, 4, 6])
def test_sulq_is_the_formula_with_the_best_shift(bits: int) -> None:
    """Every value, and no other of the source's shifts has a smaller squared error."""
    x = _attention_weights().double()
    quantizer = ShiftUniformLog2(bits)
    quantizer.fit(x)
    low, high = float(x.min()), float(x.max())
    by_shift = {
        shift: torch.tensor([_sulq(value, bits, shift, low, high) for value in x.flatten().tolist()]).double()
        for shift in SHIFTS
    }
    errors = {shift: float((values - x.flatten()).square().mean()) for shift, values in by_shift.items()}
    best = min(errors, key=lambda shift: errors[shift])
    assert float(quantizer.shift) == pytest.approx(best)
    assert torch.allclose(quantizer(x).flatten(), by_shift[best], atol=1e-9)


def test_sulq_values_are_powers_of_two_but_for_the_shift() -> None:
    """So that a product with them is a shift of bits, and one correction for all of a row."""
    quantizer = ShiftUniformLog2(4)
    quantizer.fit(_attention_weights())
    exponents = torch.log2(quantizer.values(torch.arange(16.0)) + quantizer.shift)
    assert torch.allclose(exponents, exponents.round(), atol=1e-4)
    assert (exponents.diff() >= -1e-4).all()


@pytest.mark.parametrize("bits", [3, 4, 6])
def test_tanq_is_the_formula(bits: int) -> None:
    """Every value; and the angle beats a uniform grid, which is what a small angle gives."""
    x = _attention_weights(spread=6.0).double()
    quantizer = ReconstructedTanQ(bits)
    quantizer.fit(x)
    scale, angle = float(quantizer.scale), float(quantizer.angle)
    assert scale == float(x.max())
    assert 0 < angle < math.pi / 2
    expected = torch.tensor([_tanq(value, bits, scale, angle) for value in x.flatten().tolist()]).double()
    assert torch.allclose(quantizer(x).flatten(), expected, atol=1e-9)
    uniform = (x / scale * (2**bits - 1)).round() / (2**bits - 1) * scale
    assert float((quantizer(x) - x).square().mean()) <= float((uniform - x).square().mean()) * 1.001


def test_tanq_steps_grow_finer_towards_the_largest_value() -> None:
    """The property that the source's abstract names."""
    quantizer = ReconstructedTanQ(4)
    quantizer.fit(_attention_weights())
    quantizer.angle = torch.tensor(1.3)
    steps = quantizer.values(torch.arange(16.0)).diff()
    assert (steps.diff() < 0).all()
    assert float(quantizer.values(torch.tensor(15.0))) == pytest.approx(float(quantizer.scale))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_have_their_width(kind: type[Quantizer], bits: int) -> None:
    """Whole numbers, 0 to 2^bits - 1 and no more, also beyond the calibrated range."""
    quantizer = kind(bits)
    quantizer.fit(_attention_weights())
    x = torch.cat([torch.tensor([0.0, 5.0, -1.0]), _attention_weights(8.0).flatten()])
    codes = quantizer.codes(x)
    assert torch.equal(codes, codes.round())
    assert (float(codes.min()), float(codes.max())) == (0.0, 2.0**bits - 1)
    rounded = quantizer(x)
    assert torch.isfinite(rounded).all()
    assert len(rounded.unique()) <= 2**bits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("constant", [0.0, 0.25])
def test_equal_values(kind: type[Quantizer], constant: float) -> None:
    """Fitting to values that are all equal gives finite codes."""
    quantizer = kind(4)
    x = torch.full((8,), constant)
    quantizer.fit(x)
    assert torch.isfinite(quantizer(x)).all()
    assert torch.isfinite(quantizer.codes(x)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_calibration_found_is_in_the_state_dict(kind: type[Quantizer]) -> None:
    """Another quantizer that loads it does the same; gradients pass unchanged."""
    quantizer, other = kind(4), kind(4)
    x = _attention_weights()
    quantizer.fit(x)
    other.load_state_dict(quantizer.state_dict())
    assert torch.equal(other(x), quantizer(x))
    x.requires_grad_()
    other(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))
