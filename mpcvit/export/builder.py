"""Define-by-run construction of Programs: each call computes real values on calibration data and adds a node.

Because every node is evaluated as it is added, its type (fractional bits, bounds) comes from what really flows there,
and the finished Program's real-valued output can be compared with the model's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from mpcvit.errors import RangeError
from mpcvit.export.spline_fit import Fit
from mpcvit.export.split_fit import SplitFit, domain_codes
from mpcvit.ops import (
    Add,
    AveragePool,
    Concat,
    GridSpline,
    Linear,
    Matmul,
    Multiply,
    Nonnegative,
    Offset,
    Op,
    Order,
    Pad,
    PairDifferences,
    Permute,
    Pick,
    Ranks,
    Relu,
    Rescale,
    Reshape,
    Scale,
    Slice,
    Square,
    Subtract,
    Sum,
    TensorType,
    Unfold,
)
from mpcvit.ops.grouping import Grouping
from mpcvit.program.program import Node, Program
from mpcvit.ring.fixed_point import Codes, encode
from mpcvit.ring.qtype import QType

#: Significant bits of the reciprocal of a public divisor.
_DIVISOR_BITS = 13


#: By how much a function may leave the range that fine samples of it span, relative to that range.
_SAMPLING_SLACK = 2.0**-8


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How export chooses fixed-point types.

    Attributes:
        frac: fractional bits of ordinary activations.
        weight_bits: bits of a weight code, sign included; the fraction fills what the largest weight leaves.
        margin: every calibrated bound is moved away from the data by this factor.
        norm_margin: the same for mean squares, whose reciprocal root is approximated on just that range.
        tolerance: absolute error of splines of exponentials.
        activation_tolerance: largest difference, anywhere in the calibrated range, between an activation and its
            spline, in the units of the activation's result. 0.0043 is what GELU needs with knots 1/2 apart: 0.0038
            is the polynomials' error, the rest is left to the rounding of coefficients. Anything below 0.0038 needs
            twice as many knots, and these are most of the work in models with GELU.
        relu_slack: a ReLU may be off by less than this, around 0: bits below it are not compared, which shortens keys.
        relative: relative error of splines of normalisers, where their input is known that well.
        steps: by a value's name, how coarse it may be: the step between the codes of a quantized model there. The value
            then has no finer step than that needs, and an activation that gives it may be off by half a step.
        stock_wraps: largest bound that is accepted on the chance per image that a truncation wraps silently on the
            stock protocols. The fast engine notices such cases and repeats the opening.
    """

    frac: int = 12
    weight_bits: int = 16
    margin: float = 2.0
    norm_margin: float = 4.0
    tolerance: float = 2.0**-10
    activation_tolerance: float = 0.0043
    relu_slack: float = 2.0**-9
    relative: float = 2.0**-10
    steps: tuple[tuple[str, float], ...] = ()
    stock_wraps: float = 0.01


@dataclass(frozen=True)
class Value:
    """A named value under construction: its type, and real values on the calibration batch (leading batch axis)."""

    name: str
    type: TensorType
    real: torch.Tensor


class Builder:
    """Collects inputs, parameters and nodes of one Program."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self._steps = dict(precision.steps)
        self.inputs: dict[str, TensorType] = {}
        self.weights: dict[str, Codes] = {}
        self._parameters: dict[str, TensorType] = {}
        self._matrices: dict[tuple[int, int], Value] = {}
        self._nodes: list[Node] = []

    def program(self, output: Value) -> Program:
        """The checked Program that ends in ``output``."""
        return Program(self.inputs, self._parameters, tuple(self._nodes), output.name)

    def input(self, name: str, real: torch.Tensor, qtype: QType) -> Value:
        """A secret input; ``real`` is [batch, ...]."""
        kind = TensorType(tuple(real.shape[1:]), qtype)
        self.inputs[name] = kind
        return Value(name, kind, real)

    def parameter(self, name: str, real: torch.Tensor, frac: int | None = None) -> Value:
        """A secret parameter, encoded with ``frac`` fractional bits or as many as ``weight_bits`` allow."""
        if frac is None:
            frac = self.weight_frac(real)
        kind = TensorType(tuple(real.shape), QType(frac=frac, lo=float(real.min()), hi=float(real.max())))
        self._parameters[name] = kind
        self.weights[name] = encode(real.numpy(), kind.qtype)
        return Value(name, kind, real)

    def weight_frac(self, real: torch.Tensor) -> int:
        """The fractional bits that ``weight_bits`` leave beside the largest of ``real``.

        Raises:
            RangeError: some of ``real`` is not finite.
        """
        largest = float(real.abs().max())
        if not math.isfinite(largest):
            raise RangeError("weights that are not finite", expected="finite weights", remedy="Train the model again.")
        return self.precision.weight_bits - 1 - math.ceil(math.log2(max(largest, 2.0**-20)) + 1e-9)

    def frac(self, name: str) -> int:
        """The ordinary number of fractional bits of the value ``name``: fewer where it may be coarse."""
        step = self._steps.get(name)
        return self.precision.frac if step is None else min(max(math.ceil(-math.log2(step)), 0), self.precision.frac)

    def slack(self, name: str, least: float) -> float:
        """By how much a gate's result ``name`` may be off: half a step where it may be coarse, else ``least``."""
        return max(least, self._steps.get(name, 0.0) / 2)

    def affine(
        self, name: str, x: Value, weight: torch.Tensor, bias: torch.Tensor, first: torch.Tensor | None = None
    ) -> Value:
        """x @ weight + bias, or x @ first @ weight + bias, at ordinary precision: linear, add, one rescale."""
        product = self.linear(f"{name}.matmul", x, weight, first=first)
        offset = self.parameter(f"{name}.bias", bias, product.type.frac)
        total = self.add(f"{name}.sum", product, offset)
        return self.rescale(name, total)

    def linear(
        self,
        name: str,
        x: Value,
        weight: torch.Tensor,
        frac: int | None = None,
        bounds: tuple[float, float] | None = None,
        *,
        first: torch.Tensor | None = None,
        between: int | None = None,
    ) -> Value:
        """x @ weight, encoded with ``frac`` fractional bits or as many as ``weight_bits`` allow; they add to x's.

        With a factor ``first``, x @ first is computed before and rescaled to ``between`` (by default the ordinary
        number of) fractional bits. The same tensor object read again, as by blocks that share weights, is the same
        parameter.
        """
        if first is not None:
            x = self.rescale(f"{name}.narrow", self.linear(f"{name}.first", x, first), between)
        wanted = self.weight_frac(weight) if frac is None else frac
        matrix = self._matrices.get((id(weight), wanted))
        if matrix is None:
            # the value keeps the tensor alive, so that its id stays its own
            matrix = self._matrices[id(weight), wanted] = self.parameter(f"{name}.weight", weight, wanted)
        return self._add(name, Linear(), [x, matrix], x.real @ weight, bounds)

    def matmul(self, name: str, left: Value, right: Value, bounds: tuple[float, float] | None = None) -> Value:
        """left @ right; fractional bits add."""
        return self._add(name, Matmul(), [left, right], left.real @ right.real, bounds)

    def add(self, name: str, left: Value, right: Value) -> Value:
        """left + right."""
        return self._add(name, Add(), [left, right], left.real + right.real)

    def subtract(self, name: str, left: Value, right: Value) -> Value:
        """left - right."""
        return self._add(name, Subtract(), [left, right], left.real - right.real)

    def multiply(self, name: str, left: Value, right: Value) -> Value:
        """left * right; fractional bits add."""
        return self._add(name, Multiply(), [left, right], left.real * right.real)

    def square(self, name: str, x: Value, bounds: tuple[float, float] | None = None) -> Value:
        """x * x; fractional bits double."""
        return self._add(name, Square(), [x], x.real.square(), bounds)

    def relu(self, name: str, x: Value, slack: float | None = None, bounds: tuple[float, float] | None = None) -> Value:
        """max(x, 0); either x or 0 where |x| is below ``slack``, by default the precision's."""
        allowed = self.slack(name, self.precision.relu_slack) if slack is None else slack
        known = x.type.qtype.code_bound.bit_length()  # values may all be smaller than the slack
        drop = max(min(x.type.frac + math.floor(math.log2(allowed)), known - 1), 0)
        return self._add(name, Relu(drop), [x], x.real.relu(), bounds)

    def nonnegative(self, name: str, x: Value) -> Value:
        """[x >= 0] as an integer."""
        return self._add(name, Nonnegative(), [x], (x.real >= 0).double(), (0.0, 1.0))

    def pair_differences(self, name: str, x: Value, groups: int) -> Value:
        """x_i - x_j for every pair i < j of one of ``groups`` groups of a vector."""
        op, span = PairDifferences(groups), x.type.qtype.hi - x.type.qtype.lo
        return self._add(name, op, [x], op.linear(x.real), (-span, span))

    def ranks(self, name: str, ahead: Value, count: int, groups: int) -> Value:
        """Ranks of ``count`` candidates within their groups, from the outcomes of all pairs."""
        op, largest = Ranks(count, groups), Grouping(count, groups).largest
        return self._add(name, op, [ahead], op.reference(ahead.real), (0.0, largest - 1.0))

    def pick(self, name: str, ranks: Value, values: Value | None, groups: int, top: int) -> Value:
        """The first ``top`` of every group by rank: their values, or their positions as integers."""
        op, inputs = Pick(groups, top), [ranks] if values is None else [ranks, values]
        bounds = (0.0, ranks.type.size - 1.0) if values is None else (values.type.qtype.lo, values.type.qtype.hi)
        return self._add(name, op, inputs, op.reference(*(value.real for value in inputs)), bounds)

    def order(self, name: str, scores: Value) -> Value:
        """The matrix [N, N] of integers that puts rows in the order of ``scores`` [N], the largest first."""
        op = Order()
        return self._add(name, op, [scores], op.reference(scores.real).double(), (0.0, 1.0))

    def sum(self, name: str, x: Value, axis: int, bounds: tuple[float, float] | None = None) -> Value:
        """Sum over ``axis``, kept with length 1."""
        return self._add(name, Sum(axis), [x], x.real.sum(axis, keepdim=True), bounds)

    def mean(self, name: str, x: Value, axis: int, frac: int | None = None) -> Value:
        """Mean over ``axis``, kept with length 1, with ``frac`` (by default the ordinary number of) fractional bits."""
        return self.divide(name, self.sum(f"{name}.sum", x, axis), x.type.shape[axis], frac)

    def scale(self, name: str, x: Value, factor: float, frac: int) -> Value:
        """factor * x, the factor rounded to ``frac`` fractional bits, which the result has more."""
        code = round(factor * 2.0**frac)
        return self._add(name, Scale(code, frac), [x], x.real * factor)

    def offset(self, name: str, x: Value, constant: float, bounds: tuple[float, float] | None = None) -> Value:
        """x + constant, rounded to x's precision."""
        op = Offset(round(constant * 2.0**x.type.frac))
        return self._add(name, op, [x], x.real + constant, bounds)

    def divide(self, name: str, x: Value, divisor: int, frac: int | None = None) -> Value:
        """x / divisor for a public integer, with ``frac`` fractional bits; one rescale for powers of two, else two.

        The quotient has fewer integer bits than x, so before a factor with digits of its own x may lose as many
        fractional bits; without that the product could come close to the size of the ring.
        """
        target = self.precision.frac if frac is None else frac
        exponent = divisor.bit_length() - 1
        if divisor == 1 << exponent:
            return self.rescale(name, self.scale(f"{name}.scaled", x, 1 / divisor, exponent), target)
        x = self.rescale(f"{name}.short", x, min(x.type.frac, max(target - exponent + 2, 0)))
        return self.rescale(name, self.scale(f"{name}.scaled", x, 1 / divisor, exponent + _DIVISOR_BITS), target)

    def rescale(self, name: str, x: Value, frac: int | None = None) -> Value:
        """x with ``frac`` (by default the ordinary number of) fractional bits; bounds stay, more bits are exact."""
        target = self.frac(name) if frac is None else frac
        if target >= x.type.frac:
            return self.widen_frac(name, x, target)
        bounds = (x.type.qtype.lo, x.type.qtype.hi)
        return self._add(name, Rescale(x.type.frac - target), [x], x.real, bounds)

    def widen_frac(self, name: str, x: Value, frac: int) -> Value:
        """x with ``frac`` fractional bits, at least its own; exact and local."""
        return x if frac == x.type.frac else self.scale(name, x, 1.0, frac - x.type.frac)

    def spline(self, name: str, x: Value, fit: Fit, real: torch.Tensor, frac: int | None = None) -> Value:
        """A fitted spline of x, rescaled to ``frac`` bits; ``real`` is the exact function's value."""
        return self.rescale(name, self._add(f"{name}.spline", fit.spline, [x], real), frac)

    def split_spline(self, name: str, x: Value, fit: SplitFit, real: torch.Tensor, frac: int) -> Value:
        """The sum of two fitted splines of x, rescaled to ``frac`` bits; ``real`` is the exact function's value.

        All bounds are those on the whole domain of x, not those of calibration data.
        """
        codes = domain_codes(fit.grid, fit.left, math.ceil(x.type.qtype.hi * 2.0**x.type.frac))
        scale = 2.0**fit.grid.frac
        on_grid = fit.grid.reference(codes) / scale
        if fit.left is None:
            return self.rescale(name, self._add(f"{name}.spline", fit.grid, [x], real, _bounds(on_grid)), frac)
        rest = fit.left.reference(codes) / scale
        right = _evaluate(fit.grid, x)
        parts = [
            self._add(f"{name}.grid", fit.grid, [x], right, _bounds(on_grid)),
            self._add(f"{name}.left", fit.left, [x], real - right, _bounds(rest)),
        ]
        result = self._add(f"{name}.spline", Add(), parts, real, _bounds(on_grid + rest))
        return self.rescale(name, result, frac)

    def reshape(self, name: str, x: Value, *shape: int) -> Value:
        """x in another shape (without batch axis)."""
        return self._add(name, Reshape(shape), [x], x.real.reshape(x.real.shape[0], *shape))

    def permute(self, name: str, x: Value, *order: int) -> Value:
        """Axes of x in another order (without batch axis)."""
        return self._add(name, Permute(order), [x], x.real.permute(0, *(axis + 1 for axis in order)))

    def pad(self, name: str, x: Value, axis: int, count: int) -> Value:
        """``count`` zeros before the elements of ``axis`` (negative)."""
        shape = list(x.real.shape)
        shape[axis] = count
        return self._add(name, Pad(axis, count), [x], torch.cat([x.real.new_zeros(shape), x.real], dim=axis))

    def unfold(self, name: str, x: Value, side: int, stride: int, border: int) -> Value:
        """Windows of a grid [H, W, C] with zeros around it, as rows."""
        op = Unfold(side, stride, border)
        return self._add(name, op, [x], op.linear(x.real))

    def average_pool(self, name: str, x: Value, side: int) -> tuple[Value, int]:
        """A multiple of the averages over squares around each position of a grid [H, W, C], and which multiple."""
        op = AveragePool(side)
        return self._add(name, op, [x], op.linear(x.real)), op.multiple(*x.type.shape[:2])

    def slice(self, name: str, x: Value, axis: int, start: int, stop: int) -> Value:
        """A part of x along ``axis`` (negative)."""
        return self._add(name, Slice(axis, start, stop), [x], x.real.narrow(axis, start, stop - start))

    def concat(self, name: str, values: list[Value], axis: int) -> Value:
        """``values`` joined along ``axis`` (negative); a single one as it is."""
        if len(values) == 1:
            return values[0]
        return self._add(name, Concat(axis), values, torch.cat([value.real for value in values], dim=axis))

    def _add(
        self, name: str, op: Op, inputs: list[Value], real: torch.Tensor, bounds: tuple[float, float] | None = None
    ) -> Value:
        if not torch.isfinite(real).all():
            raise RangeError(
                f"values that are not finite at '{name}' on calibration data",
                expected="finite activations",
                remedy="Check the weights, and calibrate on normalised pictures.",
            )
        shape, frac = op.infer(*(value.type for value in inputs))
        lo, hi = widen(real, self.precision.margin) if bounds is None else bounds
        kind = TensorType(shape, QType(frac=frac, lo=lo, hi=hi))
        self._nodes.append(Node(name, op, tuple(value.name for value in inputs), kind))
        return Value(name, kind, real)


def _evaluate(op: GridSpline, x: Value) -> torch.Tensor:
    """Real values of a spline on the calibration batch."""
    return op.reference((x.real * 2.0**op.input_frac).round().long()) / 2.0**op.frac


def _bounds(values: torch.Tensor) -> tuple[float, float]:
    """A little more than the range of a finely sampled function."""
    lo, hi = float(values.min()), float(values.max())
    slack = (hi - lo) * _SAMPLING_SLACK
    return lo - slack, hi + slack


def widen(real: torch.Tensor, margin: float) -> tuple[float, float]:
    """The bounds of ``real``, each moved away from the data by the factor ``margin``."""
    lo, hi = float(real.min()), float(real.max())
    return (lo * margin if lo < 0 else lo / margin), (hi / margin if hi < 0 else hi * margin)
