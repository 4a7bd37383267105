"""Define-by-run construction of Programs: each call computes real values on calibration data and adds a node.

Every node gets bounds that hold for every picture (:meth:`mpcvit.ops.Op.bounds`, met with what the structure of the
model says, :mod:`mpcvit.export.bounds`); what flows on calibration data only says where values usually are, so that
splines are precise there. Every node is also evaluated as it is added, so that the finished Program's real-valued
output can be compared with the model's. Bounds are published on a coarse grid: exact ones would tell weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from mpcvit.errors import ProgramError, RangeError
from mpcvit.export.bounds.coarse import coarse, power_of_two
from mpcvit.export.parts import Part, Role
from mpcvit.export.spline_fit import SplineFit
from mpcvit.export.split_fit import SplitFit
from mpcvit.models.kinds import AttentionKind
from mpcvit.ops import (
    Add,
    AveragePool,
    Concat,
    Gather,
    GridSpline,
    InputCheck,
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
    Spline,
    Square,
    Subtract,
    Sum,
    TensorType,
    Unfold,
)
from mpcvit.ops.bounds import Bounds
from mpcvit.program.program import Node, Program
from mpcvit.ring.fixed_point import Codes, encode
from mpcvit.ring.qtype import QType

#: Significant bits of the reciprocal of a public divisor.
_DIVISOR_BITS = 13
#: By how much real arithmetic may leave the bounds of fixed point before that must be a bug: relative, and in steps.
_DRIFT, _DRIFT_STEPS = 2.0**-5, 64


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How export chooses fixed-point types.

    Attributes:
        frac: fractional bits of ordinary activations.
        stream_bits: bits of the longest row of the residual stream, which has fewer fractional bits where it may grow
            longer: norms forget its scale, and the openings of larger sums of squares would be ambiguous more often.
        weight_bits: bits of a weight code, sign included; the fraction fills what the largest weight leaves.
        calibrated: take ranges from calibration data where they cannot be proven, which is wrong without notice for
            values beyond them. Otherwise export refuses such models.
        margin: where values usually are: the range on calibration data, its ends moved away by this factor.
        norm_margin: the same for mean squares.
        tolerance: absolute error of splines of exponentials.
        activation_tolerance: largest difference, anywhere in the calibrated range, between an activation and its
            spline, in the units of the activation's result. 0.0043 is what GELU needs with knots 1/2 apart: 0.0038
            is the polynomials' error, the rest is left to the rounding of coefficients. Anything below 0.0038 needs
            twice as many knots, and these are most of the work in models with GELU.
        relu_slack: a ReLU may be off by less than this, around 0: bits below it are not compared, which shortens keys.
        relative: relative error of splines of normalisers up to where their input usually is, and is known that well.
        relative_above: the same where it is larger.
        steps: by a value's name, how coarse it may be: the step between the codes of a quantized model there. The value
            then has no finer step than that needs, and an activation that gives it may be off by half a step.
        stock_wraps: largest bound that is accepted on the chance per image that a truncation wraps silently on the
            stock protocols. The fast engine notices such cases and repeats the opening.
        guards: guard every gate, so that the client refuses answers behind values that left a gate's window. Costs
            material and time, no round. Comparisons of logits and of tokens' scores are guarded always.
    """

    frac: int = 12
    stream_bits: int = 21
    calibrated: bool = False
    weight_bits: int = 16
    margin: float = 2.0
    norm_margin: float = 4.0
    tolerance: float = 2.0**-10
    activation_tolerance: float = 0.0043
    relu_slack: float = 2.0**-9
    relative: float = 2.0**-11
    relative_above: float = 2.0**-8
    steps: tuple[tuple[str, float], ...] = ()
    stock_wraps: float = 0.01
    guards: bool = False


@dataclass(frozen=True)
class Mix:
    """What is known of the output of heads: row n is sum_m a_nm v_m + e, with v the values that were mixed.

    Attributes:
        shares: [heads], bounds on sum_m |a_nm|.
        error: bound on the elements of e.
    """

    shares: torch.Tensor
    error: float


@dataclass(frozen=True)
class Value:
    """A named value under construction.

    Attributes:
        type: as it is published.
        real: values on the calibration batch (leading batch axis), in real arithmetic.
        bounds: of its codes, for every picture; None where the type comes from calibration.
        public: whether the type says nothing of weights, and is published as it is.
        radius: bound on the Euclidean norm of every row (last axis), where one better than that of ``bounds`` is known.
        mix: of outputs of heads that only mix their values.
    """

    name: str
    type: TensorType
    real: torch.Tensor
    bounds: Bounds | None
    public: bool = False
    radius: float | None = None
    mix: Mix | None = None

    @property
    def largest_row(self) -> float:
        """Bound on the Euclidean norm of every row.

        Raises:
            ProgramError: the value's range is not proven.
        """
        if self.bounds is None:
            raise ProgramError(
                f"the largest row of '{self.name}'", expected="a value of proven range", remedy="This is a bug."
            )
        rows = float(self.bounds.magnitude.norm(dim=-1).max()) * self.type.qtype.step
        return rows if self.radius is None else min(rows, self.radius)

    @property
    def assumed(self) -> Bounds:
        """Of its codes: proven, or as published."""
        if self.bounds is not None:
            return self.bounds
        kind, scale = self.type.qtype, 2.0**self.type.frac
        return Bounds.within(kind.lo * scale, kind.hi * scale, self.type.shape)


class Builder:
    """Collects inputs, parameters and nodes of one Program.

    Args:
        units: by name, the units in which values are computed, where another Program has chosen them; see :meth:`unit`.

    Attributes:
        weights: the parameters' codes.
        parts: where each node comes from.
        units: those that were used.
    """

    def __init__(self, precision: Precision, units: Mapping[str, float] | None = None) -> None:
        self.precision = precision
        self.units: dict[str, float] = {}
        self._given_units = dict(units or {})
        self._wholes: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._steps = dict(precision.steps)
        self.inputs: dict[str, TensorType] = {}
        self.weights: dict[str, Codes] = {}
        self.parts: dict[str, Part] = {}
        self._part = Part(Role.STEM)
        self._parameters: dict[str, TensorType] = {}
        self._matrices: dict[tuple[int, int], Value] = {}
        self._nodes: list[Node] = []

    def program(self, output: Value) -> Program:
        """Return the checked Program that ends in ``output``."""
        return Program(self.inputs, self._parameters, tuple(self._nodes), output.name)

    @contextmanager
    def scope(self, role: Role, *, block: int | None = None, kind: AttentionKind | None = None) -> Iterator[None]:
        """Record that the nodes added meanwhile come from this part of the model.

        Args:
            block: by default that of the scope around this one.
            kind: the same.
        """
        outer = self._part
        self._part = Part(role, outer.block if block is None else block, kind or outer.kind)
        try:
            yield
        finally:
            self._part = outer

    def input(self, name: str, real: torch.Tensor, qtype: QType) -> Value:
        """Return a secret input; ``real`` is [batch, ...]."""
        kind = TensorType(tuple(real.shape[1:]), qtype)
        self.inputs[name] = kind
        ends = Bounds.within(qtype.lo * 2.0**qtype.frac, qtype.hi * 2.0**qtype.frac, kind.shape)
        return Value(name, kind, real, ends, public=True)

    def checked(self, name: str, pixels: Value, bits: int) -> Value:
        """Return the input ``pixels``, once it is certain that they are pixels of ``bits`` bits."""
        return self._add(name, InputCheck(bits), [pixels], pixels.real, derived=True)

    def parameter(self, name: str, real: torch.Tensor, frac: int | None = None) -> Value:
        """Return a secret parameter, encoded with ``frac`` fractional bits or as many as ``weight_bits`` allow.

        Its type tells the power of two that no element exceeds, and nothing else of it.
        """
        if frac is None:
            frac = self.weight_frac(real)
        largest = power_of_two(max(float(self._whole(real).abs().max()), 2.0**-frac))
        kind = TensorType(tuple(real.shape), QType(frac=frac, lo=-largest, hi=largest))
        self._parameters[name] = kind
        codes = self.weights[name] = encode(real.numpy(), kind.qtype)
        return Value(name, kind, real, Bounds.exactly(torch.from_numpy(codes)))

    def reference(self, name: str, count: int, bound: float) -> Value:
        """Return a secret column [count, 1] that is put in later (:mod:`mpcvit.store.enrolment`), zero for now.

        Args:
            bound: public, on the magnitude of every element: all that the Program tells of it.
        """
        frac, largest = self.precision.weight_bits - 1 - math.ceil(math.log2(bound)), power_of_two(bound)
        kind = TensorType((count, 1), QType(frac=frac, lo=-largest, hi=largest))
        self._parameters[name] = kind
        self.weights[name] = np.zeros(kind.shape, dtype=np.int64)
        end = bound * 2.0**frac
        return Value(name, kind, torch.zeros(kind.shape, dtype=torch.float64), Bounds.within(-end, end, kind.shape))

    def encoded(self, real: torch.Tensor, frac: int | None = None) -> torch.Tensor:
        """Return ``real`` as a parameter's codes say it, float64."""
        unit = 2.0 ** (self.weight_frac(real) if frac is None else frac)
        return (real * unit).round() / unit

    def weight_frac(self, real: torch.Tensor) -> int:
        """Return the fractional bits that ``weight_bits`` leave beside the largest of ``real``.

        Raises:
            RangeError: some of ``real`` is not finite.
        """
        largest = float(self._whole(real).abs().max())
        if not math.isfinite(largest):
            raise RangeError("weights that are not finite", expected="finite weights", remedy="Train the model again.")
        return self.precision.weight_bits - 1 - math.ceil(math.log2(max(largest, 2.0**-20)) + 1e-9)

    def part_of(self, part: torch.Tensor, whole: torch.Tensor) -> None:
        """Encode ``part``, a slice of ``whole``, as ``whole`` is encoded: it gets the same codes, and the same type."""
        self._wholes[id(part)] = part, whole  # which keeps it alive, so that its id stays its own

    def part_scaled(self, scaled: torch.Tensor, weight: torch.Tensor, factor: float) -> None:
        """Let ``scaled``, which is ``weight`` times ``factor``, be part of what ``weight`` is part of, if it is."""
        if id(weight) in self._wholes:
            self.part_of(scaled, self._wholes[id(weight)][1] * factor)

    def unit(self, name: str, wanted: float) -> float:
        """Return the unit in which to compute the value ``name``: ``wanted``, if it is not given."""
        unit = self.units[name] = self._given_units.get(name, wanted)
        return unit

    def _whole(self, real: torch.Tensor) -> torch.Tensor:
        """Return the tensor that ``real`` is part of, or itself."""
        return self._wholes[id(real)][1] if id(real) in self._wholes else real

    def frac(self, name: str) -> int:
        """Return the ordinary number of fractional bits of the value ``name``: fewer where it may be coarse."""
        step = self._steps.get(name)
        return self.precision.frac if step is None else min(max(math.ceil(-math.log2(step)), 0), self.precision.frac)

    def slack(self, name: str, least: float) -> float:
        """Return by how much a gate's result ``name`` may be off: half a step where it may be coarse, else
        ``least``.
        """
        return max(least, self._steps.get(name, 0.0) / 2)

    def affine(
        self, name: str, x: Value, weight: torch.Tensor, bias: torch.Tensor, first: torch.Tensor | None = None
    ) -> Value:
        """Return x @ weight + bias, or x @ first @ weight + bias, at ordinary precision: linear, add, one rescale."""
        return self.rescale(name, self.wide_affine(name, x, weight, bias, first))

    def wide_affine(
        self,
        name: str,
        x: Value,
        weight: torch.Tensor,
        bias: torch.Tensor,
        first: torch.Tensor | None = None,
        *,
        radius: float | None = None,
    ) -> Value:
        """Return x @ weight + bias, or x @ first @ weight + bias, not rescaled.

        Args:
            radius: bound on the Euclidean norm of the result's rows, where one is known.
        """
        product = self.linear(f"{name}.matmul", x, weight, first=first)
        offset = self.parameter(f"{name}.bias", bias, product.type.frac)
        known = None if radius is None else (-radius, radius)
        total = self._add(f"{name}.sum", Add(), [product, offset], product.real + bias, known)
        return replace(total, radius=radius)

    def linear(
        self,
        name: str,
        x: Value,
        weight: torch.Tensor,
        frac: int | None = None,
        bounds: Range | None = None,
        *,
        first: torch.Tensor | None = None,
        between: int | None = None,
        margin: float | None = None,
    ) -> Value:
        """Return x @ weight, encoded with ``frac`` fractional bits or as many as ``weight_bits`` allow.

        They add to x's.

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
        return self._add(name, Linear(), [x, matrix], x.real @ weight, bounds, margin=margin)

    def read_by(self, name: str, x: Value, matrix: Value, bounds: Range) -> Value:
        """Return x @ ``matrix``, a parameter; fractional bits add."""
        return self._add(name, Linear(), [x, matrix], x.real @ matrix.real, bounds)

    def matmul(
        self, name: str, left: Value, right: Value, bounds: Range | None = None, margin: float | None = None
    ) -> Value:
        """Return left @ right; fractional bits add.

        ``margin`` instead of the precision's, where calibration must do.
        """
        return self._add(name, Matmul(), [left, right], left.real @ right.real, bounds, margin=margin)

    def add(self, name: str, left: Value, right: Value, bounds: Range | None = None) -> Value:
        """Return left + right."""
        real = left.real + right.real
        # one number that is added to a whole row makes it longer than by itself
        whole = left.type.shape[-1] == right.type.shape[-1]
        if left.radius is None or right.radius is None or not whole:
            return self._add(name, Add(), [left, right], real, bounds)
        radius = left.largest_row + right.largest_row
        return replace(self._add(name, Add(), [left, right], real, (-radius, radius)), radius=radius)

    def subtract(self, name: str, left: Value, right: Value, at_most: float | None = None) -> Value:
        """Return left - right, with a bound ``at_most`` on it from above that holds for every picture."""
        value = self._add(name, Subtract(), [left, right], left.real - right.real)
        if at_most is None or value.bounds is None:
            return value
        highest = torch.full((), at_most * 2.0**value.type.frac, dtype=torch.float64)
        return replace(value, bounds=value.bounds.meet(Bounds(value.bounds.lo, highest)))

    def multiply(self, name: str, left: Value, right: Value, bounds: Range | None = None) -> Value:
        """Return left * right; fractional bits add."""
        return self._add(name, Multiply(), [left, right], left.real * right.real, bounds)

    def square(self, name: str, x: Value, bounds: Range | None = None) -> Value:
        """Return x * x; fractional bits double."""
        return self._add(name, Square(), [x], x.real.square(), bounds)

    def relu(self, name: str, x: Value, slack: float | None = None, public: tuple[float, float] | None = None) -> Value:
        """Return max(x, 0); either x or 0 where |x| is below ``slack``, by default the precision's.

        Args:
            public: bounds on the result that have nothing to do with weights, and are published as they are.
        """
        allowed = self.slack(name, self.precision.relu_slack) if slack is None else slack
        known = x.type.qtype.code_bound.bit_length()  # values may all be smaller than the slack
        drop = max(min(x.type.frac + math.floor(math.log2(allowed)), known - 1), 0)
        return self._add(name, Relu(drop), [x], x.real.relu(), public, public=public is not None)

    def nonnegative(self, name: str, x: Value) -> Value:
        """Return [x >= 0] as an integer."""
        return self._add(name, Nonnegative(), [x], (x.real >= 0).double(), derived=True)

    def pair_differences(self, name: str, x: Value, groups: int) -> Value:
        """Return x_i - x_j for every pair i < j of one of ``groups`` groups of a vector."""
        op = PairDifferences(groups)
        return self._add(name, op, [x], op.linear(x.real), derived=True)

    def ranks(self, name: str, ahead: Value, count: int, groups: int) -> Value:
        """Return ranks of ``count`` candidates within their groups, from the outcomes of all pairs."""
        op = Ranks(count, groups)
        return self._add(name, op, [ahead], op.reference(ahead.real), derived=True)

    def pick(
        self, name: str, ranks: Value, values: Value | None, groups: int, top: int, counted: bool = False
    ) -> Value:
        """Return the first ``top`` of every group by rank: their values, or their positions as integers.

        And their number.
        """
        op, inputs = Pick(groups, top, counted), [ranks] if values is None else [ranks, values]
        return self._add(name, op, inputs, op.reference(*(value.real for value in inputs)), derived=True)

    def order(self, name: str, scores: Value) -> Value:
        """Return the matrix [N, N] of integers that puts rows in the order of ``scores`` [N], the largest first."""
        op = Order()
        return self._add(name, op, [scores], op.reference(scores.real).double(), derived=True)

    def sum(self, name: str, x: Value, axis: int, bounds: Range | None = None) -> Value:
        """Return the sum over ``axis``, kept with length 1."""
        value = self._add(name, Sum(axis), [x], x.real.sum(axis, keepdim=True), bounds)
        if axis != -2 or x.radius is None:
            return value
        return replace(value, radius=x.radius * x.type.shape[axis])

    def mean(self, name: str, x: Value, axis: int, frac: int | None = None) -> Value:
        """Return the mean over ``axis``, kept with length 1.

        It has ``frac`` fractional bits, by default the ordinary number.
        """
        return self.divide(name, self.sum(f"{name}.sum", x, axis), x.type.shape[axis], frac)

    def scale(self, name: str, x: Value, factor: float, frac: int) -> Value:
        """Return factor * x, the factor rounded to ``frac`` fractional bits, which the result has more."""
        code = round(factor * 2.0**frac)
        value = self._add(name, Scale(code, frac), [x], x.real * factor)
        return value if x.radius is None else replace(value, radius=x.radius * abs(code) / 2.0**frac)

    def offset(self, name: str, x: Value, constant: float, bounds: Range | None = None) -> Value:
        """Return x + constant, rounded to x's precision."""
        op = Offset(round(constant * 2.0**x.type.frac))
        return self._add(name, op, [x], x.real + constant, bounds)

    def divide(self, name: str, x: Value, divisor: int, frac: int | None = None) -> Value:
        """Return x / divisor for a public integer, with ``frac`` fractional bits.

        One rescale for powers of two, else two.

        The quotient has fewer integer bits than x, so before a factor with digits of its own x may lose as many
        fractional bits; without that the product could come close to the size of the ring.
        """
        target = self.precision.frac if frac is None else frac
        exponent = divisor.bit_length() - 1
        if divisor == 1 << exponent:
            return self.rescale(name, self.scale(f"{name}.scaled", x, 1 / divisor, exponent), target)
        x = self.rescale(f"{name}.short", x, min(x.type.frac, max(target - exponent + 2, 0)))
        return self.rescale(name, self.scale(f"{name}.scaled", x, 1 / divisor, exponent + _DIVISOR_BITS), target)

    def rescale(self, name: str, x: Value, frac: int | None = None, public: tuple[float, float] | None = None) -> Value:
        """Return x with ``frac`` (by default the ordinary number of) fractional bits; bounds stay, more bits are exact.

        Args:
            public: bounds that are coarse, and published as they are.
        """
        target = self.frac(name) if frac is None else frac
        if target >= x.type.frac:
            return self.widen_frac(name, x, target)
        op = Rescale(x.type.frac - target)
        value = self._add(name, op, [x], x.real, public, derived=True, public=public is not None)
        return replace(value, radius=x.radius and x.radius + self.rounding(value))

    def widen_frac(self, name: str, x: Value, frac: int) -> Value:
        """Return x with ``frac`` fractional bits, at least its own; exact and local."""
        if frac == x.type.frac:
            return x
        return self.scale(name, x, 1.0, frac - x.type.frac)

    def rounding(self, x: Value) -> float:
        """Return the Euclidean norm that a row of x may have more because each of its elements was rounded once."""
        return math.sqrt(x.type.shape[-1]) * x.type.qtype.step

    def spline(self, name: str, x: Value, fit: SplineFit, real: torch.Tensor, frac: int | None = None) -> Value:
        """Return a fitted spline of x, rescaled to ``frac`` bits; ``real`` is the exact function's value."""
        return self.rescale(name, self._add(f"{name}.spline", fit.spline, [x], real, derived=True), frac)

    def split_spline(self, name: str, x: Value, fit: SplitFit, real: torch.Tensor, frac: int) -> Value:
        """Return the sum of two fitted splines of x, rescaled to ``frac`` bits.

        ``real`` is the exact function's value.
        """
        if fit.left is None:
            return self.rescale(name, self._add(f"{name}.spline", fit.grid, [x], real, derived=True), frac)
        parts = [
            self._add(f"{name}.{side}", op, [x], _evaluate(op, x), derived=True)
            for side, op in (("grid", fit.grid), ("left", fit.left))
        ]
        lo, hi = fit.extremes(*x.assumed.hull)
        step = 2.0**-fit.grid.frac
        result = self._add(f"{name}.spline", Add(), parts, real, (lo * step, hi * step))
        return self.rescale(name, result, frac)

    def reshape(self, name: str, x: Value, *shape: int, bounds: Range | None = None) -> Value:
        """Return x in another shape (without batch axis)."""
        return self._add(name, Reshape(shape), [x], x.real.reshape(x.real.shape[0], *shape), bounds)

    def permute(self, name: str, x: Value, *order: int) -> Value:
        """Return the axes of x in another order (without batch axis)."""
        return self._add(name, Permute(order), [x], x.real.permute(0, *(axis + 1 for axis in order)))

    def pad(self, name: str, x: Value, axis: int, count: int) -> Value:
        """Return ``count`` zeros before the elements of ``axis`` (negative)."""
        shape = list(x.real.shape)
        shape[axis] = count
        return self._add(name, Pad(axis, count), [x], torch.cat([x.real.new_zeros(shape), x.real], dim=axis))

    def unfold(self, name: str, x: Value, side: int, stride: int, border: int) -> Value:
        """Return windows of a grid [H, W, C] with zeros around it, as rows."""
        op = Unfold(side, stride, border)
        return self._add(name, op, [x], op.linear(x.real))

    def average_pool(self, name: str, x: Value, side: int) -> tuple[Value, int]:
        """Return a multiple of the averages over squares around each position of a grid [H, W, C], and which
        multiple.
        """
        op = AveragePool(side)
        return self._add(name, op, [x], op.linear(x.real)), op.multiple(*x.type.shape[:2])

    def slice(self, name: str, x: Value, axis: int, start: int, stop: int) -> Value:
        """Return a part of x along ``axis`` (negative)."""
        value = self._add(name, Slice(axis, start, stop), [x], x.real.narrow(axis, start, stop - start))
        return replace(value, radius=x.radius)

    def gather(self, name: str, x: Value, axis: int, indices: tuple[int, ...]) -> Value:
        """Return the elements of x at ``indices`` along ``axis`` (negative)."""
        op = Gather(axis, indices)
        value = self._add(name, op, [x], op.linear(x.real))
        return value if axis == -1 else replace(value, radius=x.radius)

    def concat(self, name: str, values: list[Value], axis: int) -> Value:
        """Return ``values`` joined along ``axis`` (negative); a single one as it is."""
        if len(values) == 1:
            return values[0]
        joined = self._add(name, Concat(axis), values, torch.cat([value.real for value in values], dim=axis))
        radii = [value.radius for value in values if value.radius is not None]
        return replace(joined, radius=max(radii)) if axis != -1 and len(radii) == len(values) else joined

    def _add(
        self,
        name: str,
        op: Op,
        inputs: list[Value],
        real: torch.Tensor,
        known: Range | None = None,
        *,
        derived: bool = False,
        margin: float | None = None,
        public: bool = False,
    ) -> Value:
        """Add a node.

        Args:
            known: bounds of the result in real numbers, beside those that follow from its inputs' bounds.
            derived: whether the type follows from that of the inputs where it cannot be proven, too.
            margin: for calibrated ranges; by default the precision's.
            public: whether ``known`` has nothing to do with weights, and is what is published.

        Raises:
            RangeError: ``real`` is not finite, or its proven range does not fit the ring.
        """
        if not torch.isfinite(real).all():
            raise RangeError(
                f"values that are not finite at '{name}' on calibration data",
                expected="finite activations",
                remedy="Check the weights, and calibrate on normalised pictures.",
            )
        shape, frac = op.infer(*(value.type for value in inputs))
        scale = 2.0**frac
        bounds = op.bounds(*(value.assumed for value in inputs))
        if known is not None:
            more = Bounds.within(*known, shape) if isinstance(known, tuple) else known
            bounds = bounds.meet(more.times(scale))
        proven = all(value.bounds is not None for value in inputs)
        lo, hi = (end / scale for end in bounds.hull)
        if self.precision.calibrated and not derived and known is None:
            usual = widen(real, self.precision.margin if margin is None else margin)
            if max(map(abs, usual)) < max(abs(lo), abs(hi)):
                proven, (lo, hi) = False, usual
        if proven:
            _check_drift(name, real, lo, hi, self._coding(op, inputs) / scale, 1 / scale)
        if public and isinstance(known, tuple):
            lo, hi = known
        public = public or all(value.public for value in inputs) or op.public_bounds
        kind = TensorType(shape, self._qtype(name, frac, (lo, hi) if public else coarse(lo, hi)))
        # a label or a place that was chosen by garbage looks like any other
        guarded = op.guardable and (self.precision.guards or isinstance(op, Nonnegative | Order))
        self.parts[name] = self._part
        self._nodes.append(Node(name, op, tuple(value.name for value in inputs), kind, proven, guarded))
        return Value(name, kind, real, bounds if proven else None, public)

    def _coding(self, op: Op, inputs: list[Value]) -> float:
        """Return by how many codes ``op`` may leave its bounds because parameters were rounded to codes."""
        if not any(value.name in self._parameters for value in inputs):
            return 0.0
        inexact = [
            Bounds(value.assumed.lo - 0.5, value.assumed.hi + 0.5) if value.name in self._parameters else value.assumed
            for value in inputs
        ]
        (lo, hi), (least, largest) = op.bounds(*(value.assumed for value in inputs)).hull, op.bounds(*inexact).hull
        return max(lo - least, largest - hi)

    def _qtype(self, name: str, frac: int, bounds: tuple[float, float]) -> QType:
        try:
            return QType(frac=frac, lo=bounds[0], hi=bounds[1])
        except RangeError as error:
            if self.precision.calibrated:
                raise
            raise RangeError(
                f"at '{name}', a proven range of [{bounds[0]:g}, {bounds[1]:g}] with {frac} fractional bits",
                expected=error.expected,
                remedy="Nothing in this model keeps its values small whatever the picture (no layer norm, say). Allow "
                "ranges from calibration (--allow-calibrated), or guards that notice what leaves them (--guards).",
            ) from error


#: Bounds in real numbers: of all elements, or of each.
Range = tuple[float, float] | Bounds


def _evaluate(op: GridSpline | Spline, x: Value) -> torch.Tensor:
    """Return real values of a spline on the calibration batch."""
    return op.reference((x.real * 2.0**op.input_frac).round().long()) / 2.0**op.frac


def _check_drift(name: str, real: torch.Tensor, lo: float, hi: float, coding: float, step: float) -> None:
    """Raise ProgramError if calibration data leave a proven range by more than rounding explains."""
    slack = _DRIFT * max(abs(lo), abs(hi)) + coding + _DRIFT_STEPS * step
    least, largest = float(real.min()), float(real.max())
    if least < lo - slack or largest > hi + slack:
        raise ProgramError(
            f"values from {least:g} to {largest:g} at '{name}' on calibration data",
            expected=f"values in the proven range [{lo:g}, {hi:g}]",
            remedy="This is a bug in the export; please report it with the model's configuration.",
        )


def widen(real: torch.Tensor, margin: float) -> tuple[float, float]:
    """Return the bounds of ``real``, each moved away from the data by the factor ``margin``."""
    lo, hi = float(real.min()), float(real.max())
    return (lo * margin if lo < 0 else lo / margin), (hi / margin if hi < 0 else hi * margin)
