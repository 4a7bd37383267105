"""Folding, spline fitting, calibration and the checks of the export."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.errors import InputError, RangeError
from mpcvit.export.builder import Builder, Precision
from mpcvit.export.fold import fold
from mpcvit.export.spline_fit import SplineFit, fit_grid, measure_error
from mpcvit.export.split_fit import SplitFit, fit_split
from mpcvit.export.vit import Exported, export_vit
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.vit import VisionTransformer
from mpcvit.ops import Rescale, Scale, Square, Sum
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode, encode
from mpcvit.ring.qtype import QType
from tests.support.columns import varied
from tests.support.images import make_images, pixel_codes
from tests.support.models import TINY


def test_fold_removes_the_mean_of_the_stream(tiny_model: VisionTransformer) -> None:
    """Everything that writes the residual stream writes vectors of mean zero."""
    folded = fold(tiny_model)
    writers = [folded.embed, *(layer for block in folded.blocks for layer in (block.proj, block.mlp.activated.fc2))]
    for layer in writers:
        assert layer.weight.mean(-1).abs().max() < 1e-12
        assert layer.bias.mean(-1).abs().max() < 1e-12


def test_fold_groups_heads_by_kind() -> None:
    """Heads of one kind become neighbours, and the function stays the same (checked by the export's fidelity)."""
    from tests.support.models import make_model

    kinds = (AttentionKind.SCALING, AttentionKind.SOFTMAX, AttentionKind.SCALING, AttentionKind.RELU_SOFTMAX)
    config = varied(TINY, heads=(kinds,))
    model = make_model(config)
    assert [(group.kind, group.count) for group in fold(model).blocks[0].groups] == [
        (AttentionKind.SCALING, 2),
        (AttentionKind.SOFTMAX, 1),
        (AttentionKind.RELU_SOFTMAX, 1),
    ]
    assert export_vit(model, make_images(config, 16)).fidelity < 1e-9


def _gelu(x: np.ndarray) -> np.ndarray:
    return torch.nn.functional.gelu(torch.from_numpy(x)).numpy()


#: Function, range, absolute and relative tolerance, least fractional bits, most knots on the grid and left of it.
GRID_FUNCTIONS = {
    "exp": (np.exp, -7.5, 0.25, 2.0**-10, 0.0, 12, 64, 0),
    "gelu": (_gelu, -12.0, 12.0, 2.0**-10, 0.0, 12, 128, 0),
}
SPLIT_FUNCTIONS = {
    "reciprocal": (lambda x: 1 / x, 0.25, 64.0, 0.0, 2.0**-11, 18, 256, 20),
    "reciprocal over 13 octaves": (lambda x: 1 / x, 2.0**-6, 200.0, 0.0, 2.0**-10, 18, 512, 50),
    "reciprocal root": (lambda x: x**-0.5, 0.25, 90.0, 0.0, 2.0**-11, 17, 256, 20),
    "reciprocal over one octave": (lambda x: 1 / x, 4.0, 8.0, 0.0, 2.0**-9, 12, 16, 0),
}


@pytest.mark.parametrize("name", [*GRID_FUNCTIONS, *SPLIT_FUNCTIONS])
def test_splines_keep_their_error_bound(name: str) -> None:
    """At points that the fit did not see, splines stay within the tolerance, with any rounding of the grid."""
    function, lo, hi, absolute, relative, frac, most_on_grid, most_left = (GRID_FUNCTIONS | SPLIT_FUNCTIONS)[name]

    def tolerance(x: np.ndarray) -> np.ndarray:
        return absolute + relative * np.abs(function(x))

    if name in GRID_FUNCTIONS:
        fit = fit_grid(function, tolerance, lo=lo, hi=hi, input_frac=14, frac=frac)
        grid, left = fit.spline, None
    else:
        fit = fit_split(function, tolerance, lo=lo, hi=hi, input_frac=14, frac=frac)
        grid, left = fit.grid, fit.left
    assert 0 < fit.error <= 1
    assert grid.frac >= frac
    assert len(grid.coefficients) <= most_on_grid
    assert (0 if left is None else len(left.origins)) <= most_left
    assert (left is None) == (most_left == 0)
    generator = np.random.default_rng(0)
    codes = torch.from_numpy(np.rint(generator.uniform(lo, hi, 50_000) * 2**14).astype(np.int64))
    if left is not None:  # both sides of every knot, the last of which the grid must take over from
        assert left.frac == grid.frac
        ends = torch.tensor(left.origins)
        codes = torch.cat([codes, ends, ends[1:] - 1, ends + 1])
    real = codes.numpy() / 2.0**14
    for rounding in (None, torch.from_numpy(generator.integers(0, 1 << grid.shift, codes.shape))):
        got = grid.reference(codes, rounding=rounding) + (0 if left is None else left.reference(codes))
        assert (np.abs(got.numpy() / 2.0**grid.frac - function(real)) <= 1.05 * tolerance(real)).all()


@pytest.mark.parametrize("fit_function", [fit_split, fit_grid])
def test_more_precision_needs_more_knots(fit_function: Callable[..., SplineFit | SplitFit]) -> None:
    """The fit spends knots only where the tolerance asks for them."""

    def knots(bits: int) -> float:
        fit = fit_function(np.exp, lambda x: np.full_like(x, 2.0**-bits), lo=-4, hi=0, input_frac=12, frac=12)
        return fit.knots if isinstance(fit, SplitFit) else len(fit.spline.coefficients)

    assert knots(6) < knots(9) < knots(12)


@pytest.mark.parametrize("fit_function", [fit_split, fit_grid])
def test_impossible_tolerance_is_refused(fit_function: Callable[..., SplineFit | SplitFit]) -> None:
    """If no result below the largest size is exact enough, the error says what to change."""
    with pytest.raises(RangeError, match="fractional bits, a wider tolerance or a narrower range"):
        fit_function(np.exp, lambda x: np.full_like(x, 2.0**-60), lo=-4, hi=0, input_frac=4, frac=8)


def test_measure_error_sees_a_wrong_spline() -> None:
    """The measurement that export trusts fails for another function."""
    fit = fit_grid(np.exp, lambda x: np.full_like(x, 2.0**-8), lo=-4, hi=0, input_frac=12, frac=12)
    assert measure_error(fit.spline, lambda x: np.exp(x) + 0.02, lambda x: np.full_like(x, 2.0**-8), fit.spline.hi) > 4


def test_calibration_data_of_the_wrong_shape_is_refused(tiny_model: VisionTransformer) -> None:
    """Shape and count are checked before anything is computed."""
    for images in (torch.zeros(4, 3, 9, 9), torch.zeros(0, 3, 8, 8), torch.zeros(3, 8, 8)):
        with pytest.raises(InputError, match="pictures of shape"):
            export_vit(tiny_model, images)


def test_nan_in_calibration_is_refused(tiny_model: VisionTransformer) -> None:
    """Pictures that are not finite are; weights that make such values name the node where they appeared."""
    images = make_images(TINY, 4)
    images[0, 0, 0, 0] = torch.inf
    with pytest.raises(InputError, match="not finite"):
        export_vit(tiny_model, images)
    broken = copy.deepcopy(tiny_model)
    with torch.no_grad():
        broken.blocks[0].mlp.fc1.weight[0, 0] = torch.inf
    with pytest.raises(RangeError):
        export_vit(broken, make_images(TINY, 4))


def test_too_much_precision_for_stock_truncation_is_refused(tiny_model: VisionTransformer) -> None:
    """Export does not make a Program whose truncations may wrap often; it says which knob to turn."""
    with pytest.raises(RangeError, match=r"wraps silently|fractional bits"):
        export_vit(tiny_model, make_images(TINY, 16), Precision(frac=20, weight_bits=24))


def test_how_many_wraps_are_accepted_is_a_setting(tiny_model: VisionTransformer) -> None:
    """A model for the fast engine alone may have any chance of silent wraps on stock; the error says so."""
    images = make_images(TINY, 4)
    wraps = stock_cost(export_vit(tiny_model, images).program, 2).wrap_probability
    assert 0 < wraps < 0.01
    assert export_vit(tiny_model, images, Precision(stock_wraps=wraps)).fidelity < 1e-9
    with pytest.raises(RangeError, match=r"wraps silently.*--stock-wraps"):
        export_vit(tiny_model, images, Precision(stock_wraps=wraps / 2))


def test_export_leaves_the_model_alone(tiny_model: VisionTransformer) -> None:
    """Weights stay float32 and trainable."""
    export_vit(tiny_model, make_images(TINY, 4))
    assert all(p.dtype == torch.float32 and not p.is_inference() for p in tiny_model.parameters())


def test_more_fractional_bits_come_closer(tiny_model: VisionTransformer) -> None:
    """The reference's error to float shrinks with the precision that export is given."""
    images = make_images(TINY, 32)
    with torch.no_grad():
        plain = tiny_model(images).numpy()

    def error(precision: Precision) -> float:
        exported = export_vit(tiny_model, images, precision)
        codes = pixel_codes(images)
        output = run_reference(exported.program, exported.weights, {"image": codes})
        return float(np.abs(decode(output, exported.program.types["logits"].frac) - plain).mean())

    coarse = Precision(frac=9, weight_bits=11, tolerance=2.0**-7, relative=2.0**-8)
    assert error(coarse) > 4 * error(Precision())


def test_calibrated_values_are_inside_the_bounds(tiny_exported: Exported) -> None:
    """On calibration data no reference value leaves its edge's bounds."""
    codes = pixel_codes(make_images(TINY, 64))
    values = {name: torch.from_numpy(w) for name, w in tiny_exported.weights.items()}
    values["image"] = torch.from_numpy(codes)
    for node in tiny_exported.program.nodes:
        values[node.name] = node.op.reference(*(values[name] for name in node.inputs))
        assert values[node.name].abs().max() <= node.type.qtype.code_bound + 2, node.name


def test_builder_rescales_only_when_needed() -> None:
    """A value that has the wanted precision is passed through."""
    b = Builder(Precision())
    x = b.input("x", torch.rand(2, 3), QType(frac=12, lo=-1, hi=1))
    assert b.rescale("y", x) is x
    assert b.rescale("y", b.square("s", x)).type.frac == 12


@pytest.mark.parametrize("bound", [2.0**-11, 0.01, 4.0])
def test_relu_of_values_below_its_slack(bound: float) -> None:
    """However small the values are, the result is off by less than the slack, and by less than the values."""
    b = Builder(Precision(margin=1.0))
    x = b.input("x", torch.linspace(-bound, bound, 41)[:, None].double(), QType(frac=12, lo=-bound, hi=bound))
    program = b.program(b.relu("y", x, 2.0**-5))
    codes = encode(x.real.numpy(), x.type.qtype)
    got = decode(run_reference(program, {}, {"x": codes}), 12)
    assert np.abs(got - np.maximum(decode(codes, 12), 0)).max() <= min(2.0**-6, bound)


def test_mean_over_any_count_keeps_small_numbers() -> None:
    """Division by a count that is no power of two never produces products near the ring's size."""
    b = Builder(Precision())
    x = b.input("x", 4 * torch.rand(8, 12).double(), QType(frac=12, lo=-8, hi=8))
    mean = b.mean("m", b.square("s", x), axis=-1, frac=14)
    program = b.program(mean)
    codes = encode(x.real.numpy(), program.inputs["x"].qtype)
    got = decode(run_reference(program, {}, {"x": codes}), 14)
    assert np.abs(got - x.real.square().mean(-1, keepdim=True).numpy()).max() < 2e-3
    assert max(kind.qtype.code_bound for kind in program.types.values()) < 2**40
    assert {type(node.op) for node in program.nodes} == {Square, Sum, Rescale, Scale}


def test_one_number_for_a_whole_row_makes_it_longer_than_by_itself() -> None:
    """A bound on rows is not the sum of both bounds then: nothing may be claimed that does not hold."""
    b = Builder(Precision())
    rows, narrow = torch.full((1, 4, 6), 0.5).double(), torch.full((1, 4, 1), 1.0).double()
    x = replace(b.input("x", rows, QType(frac=12, lo=-1, hi=1)), radius=0.5 * 6**0.5)
    one = replace(b.input("one", narrow, QType(frac=12, lo=-1, hi=1)), radius=1.0)
    total = b.add("total", x, one)
    assert total.radius is None or total.radius >= 1.5 * 6**0.5
    both = b.add("both", x, x)
    assert both.radius is not None
    assert 6**0.5 <= both.radius <= 6**0.5 + 0.01
