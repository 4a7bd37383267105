"""Division by a row factor: reciprocals for attention, reciprocal roots for norms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from mpcvit.export.affine import Affine
from mpcvit.export.bounds.coarse import coarse
from mpcvit.export.builder import Builder, Mix, Value, widen
from mpcvit.export.spline_fit import Floats, Function
from mpcvit.export.split_fit import SplitFit, domain_codes, fit_split
from mpcvit.models.norm import LayerNorm, TokenNorm
from mpcvit.ops.bounds import Bounds

#: Points at which a factor's product is evaluated, and what it may be larger between them: fits are checked to stay
#: within 2**-8 of smooth functions, and neighbouring points differ by less than 2**-10.
_CERTIFIED = 100_000
_BETWEEN_POINTS = 2.0**-10
#: Significant bits of the smallest usual sum of squares.
_SUM_BITS = 11
#: Far above: from so many times the largest usual value on, over how many octaves the demands fall, and to which
#: relative error.
_FAR_FROM, _FAR_OCTAVES, _FAR = 16.0, 2.0, 2.0**-4
#: Extra fractional bits of a product that a row factor still scales.
EXTRA_FRAC = 2


def normalise_rows(
    b: Builder, name: str, weights: Value, total: Value, v: Value, negative: float | None = None
) -> Value:
    """Return (weights @ v) / total, the row factor applied after the product.

    Args:
        weights: [H, N, M].
        total: [H, N, 1], at least the sum of ``weights`` over M.
        v: [H, M, D].
        negative: bound on the sum of the magnitudes of a row's negative weights, where ``total`` is no less than their
            sum; None where it is another number.
    """
    mixed = b.rescale(f"{name}.mixed", b.matmul(f"{name}.mixed_product", weights, v))
    usual = _usual(total, b.precision.margin)
    inverse, fit = _row_factor(b, f"{name}.inverse", total, lambda x: 1 / x, usual)
    if negative is None or total.bounds is None or v.bounds is None:
        return b.rescale(f"{name}.output", b.multiply(f"{name}.normalised", mixed, inverse))
    # sum |w| <= total + 2 * negative, times the factor as it is computed
    share = _largest(fit, total, inverse, lambda sums: sums + 2 * negative)
    largest = v.bounds.magnitude.amax(-2, keepdim=True) * v.type.qtype.step
    factor = inverse.bounds.hull[1] * inverse.type.qtype.step if inverse.bounds is not None else 0.0
    error = factor * mixed.type.qtype.step
    known = Bounds.up_to((share * largest + error).expand(mixed.type.shape))
    output = b.rescale(f"{name}.output", b.multiply(f"{name}.normalised", mixed, inverse, known))
    shares = torch.full((v.type.shape[0],), share, dtype=torch.float64)
    return replace(output, mix=Mix(shares, error + output.type.qtype.step))


def normalised_weights(
    b: Builder, name: str, weights: Value, total: Value, negative: float, frac: int | None = None
) -> tuple[Value, float | None]:
    """Return weights / total, and a bound on the sum of the magnitudes of a row.

    Args:
        weights, total, negative: as :func:`normalise_rows` takes them.
    """
    usual = _usual(total, b.precision.margin)
    inverse, fit = _row_factor(b, f"{name}.inverse", total, lambda x: 1 / x, usual)
    if total.bounds is None:
        return b.rescale(name, b.multiply(f"{name}.normalised", weights, inverse), frac), None
    share = _largest(fit, total, inverse, lambda sums: sums + 2 * negative)
    known = Bounds.up_to(torch.full(weights.type.shape, share, dtype=torch.float64))
    normalised = b.rescale(name, b.multiply(f"{name}.normalised", weights, inverse, known), frac)
    return normalised, share + weights.type.shape[-1] * normalised.type.qtype.step


@dataclass(frozen=True)
class Division:
    """Division by sqrt(mean(y^2) + epsilon): what folding leaves of a layer norm.

    Attributes:
        count: numbers of which the mean is taken; None for as many as a row has. 1 divides by the row's length.
    """

    epsilon: float
    count: int | None = None

    @classmethod
    def of(cls, norm: TokenNorm) -> Division | None:
        """Return what is left of ``norm``; None for norms of which nothing is."""
        return cls(norm.eps) if isinstance(norm, LayerNorm) else None


@dataclass(frozen=True)
class Normed:
    """x times a factor per row, the product not computed.

    Attributes:
        factor: None for 1: norms without a division.
        gain: bound on the Euclidean norm of every row of the product, with the factor as it is computed: sqrt(d) and
            a little (or 1 and a little, see :class:`Division`). None where nothing is proven.
    """

    x: Value
    factor: Value | None
    gain: float | None = None

    @property
    def largest_factor(self) -> float:
        """By how much more an error of x may count in the product."""
        if self.factor is None or self.factor.bounds is None:
            return 1.0
        return self.factor.bounds.hull[1] * self.factor.type.qtype.step


def normalised_affine(
    b: Builder,
    name: str,
    x: Value,
    weight: torch.Tensor,
    bias: torch.Tensor,
    norm: Division | None,
    divisor: float = 1.0,
) -> Value:
    """Return the norm of x / divisor over the last axis, and the linear layer behind it; not rescaled.

    For layer norm that is y / sqrt(mean(y^2) + epsilon) @ weight + bias with y = x / divisor.
    """
    return read_affine(b, name, normed(b, name, x, norm, divisor), Affine(weight, bias))


def read(b: Builder, name: str, stream: Normed, weight: torch.Tensor, first: torch.Tensor | None = None) -> Value:
    """Return stream @ weight, or stream @ first @ weight, not rescaled.

    The row factor commutes with the linear layer, so that the product with the weights and the sum of squares are
    computed side by side.
    """
    frac = b.precision.frac if stream.factor is None else b.precision.frac + EXTRA_FRAC
    own = read_frac(b, weight, first)
    if stream.gain is None:
        unscaled = b.linear(f"{name}.matmul", stream.x, weight, own, first=first, between=frac)
        if stream.factor is None:
            return unscaled
        return b.multiply(f"{name}.scaled", b.rescale(f"{name}.unscaled", unscaled, frac), stream.factor)
    columns = read_columns(b, weight, first)
    narrow = 0.0 if first is None else 2.0**-frac * b.encoded(weight, own).abs().sum(-2)
    lengths = columns.norm(dim=-2)
    if stream.factor is None:
        known = Bounds.up_to(stream.gain * lengths + narrow)
        return b.linear(f"{name}.matmul", stream.x, weight, own, known, first=first, between=frac)
    known = Bounds.up_to(stream.x.largest_row * lengths + narrow)
    unscaled = b.linear(f"{name}.matmul", stream.x, weight, own, known, first=first, between=frac)
    unscaled = b.rescale(f"{name}.unscaled", unscaled, frac)
    known = Bounds.up_to(stream.gain * lengths + stream.largest_factor * (unscaled.type.qtype.step + narrow))
    return b.multiply(f"{name}.scaled", unscaled, stream.factor, known)


def _fewer_bits(width: int) -> int:
    """Return how many bits less than others weights have that read a stream of ``width`` channels.

    Their products are the largest numbers of all, so that openings of them are the most likely to be ambiguous; and in
    wider models there are more of these.
    """
    return width.bit_length() // 4


def read_frac(b: Builder, weight: torch.Tensor, first: torch.Tensor | None = None) -> int:
    """Return the fractional bits of weights that read the stream, which is long; those of a second factor do not."""
    return b.weight_frac(weight) - (_fewer_bits(weight.shape[-2]) if first is None else 0)


def read_columns(b: Builder, weight: torch.Tensor, first: torch.Tensor | None = None) -> torch.Tensor:
    """Return the matrix [..., in, out] of a layer that reads the stream, as its codes say it."""
    exact = b.encoded(weight, read_frac(b, weight, first))
    return exact if first is None else b.encoded(first) @ exact


def columns_of(b: Builder, weight: torch.Tensor, first: torch.Tensor | None = None) -> torch.Tensor:
    """Return the matrix [..., in, out] of any other layer, as its codes say it."""
    return b.encoded(weight) if first is None else b.encoded(first) @ b.encoded(weight)


def read_affine(b: Builder, name: str, stream: Normed, layer: Affine) -> Value:
    """Return stream @ weight + bias, not rescaled."""
    wide = read(b, name, stream, layer.weight, layer.first)
    return b.add(f"{name}.sum", wide, b.parameter(f"{name}.bias", layer.bias, wide.type.frac))


def normed(b: Builder, name: str, x: Value, norm: Division | None, divisor: float = 1.0) -> Normed:
    """Return the norm of x / divisor, for x without a mean and with gain and bias folded into what reads it.

    Neither the mean nor the divisor is computed: layer norm's factor is a function of the sum of squares of x.
    """
    if norm is None:
        assert divisor == 1  # noqa: S101 - the head, which alone divides, has a layer norm
        return Normed(x, None)
    count, epsilon = (norm.count or x.type.shape[-1]) * divisor**2, norm.epsilon

    def factor_of(total: Floats) -> Floats:
        return np.asarray((total / count + epsilon) ** -0.5 / divisor)

    usual = widen(x.real.square().sum(-1), b.precision.norm_margin)
    usual = max(usual[0], count * epsilon), usual[1]
    proven = None if x.bounds is None else (0.0, x.largest_row**2)
    squares = b.square(f"{name}.square", x)
    total = b.sum(f"{name}.total", squares, axis=-1, bounds=proven or usual)
    # so many bits that the smallest usual sum is known well
    wanted = _SUM_BITS - math.floor(math.log2(usual[0]))
    total = b.rescale(f"{name}.sum_of_squares", total, min(total.type.frac, max(wanted, 0)))
    # the sum may have been rounded down by a step: read as if it had, so that no row comes out longer than sqrt(d)
    step = 0.0 if proven is None else total.type.qtype.step
    factor, fit = _row_factor(b, f"{name}.factor", total, factor_of, usual, step)
    if proven is None:
        return Normed(x, factor)
    return Normed(x, factor, _largest(fit, total, factor, lambda squares: torch.sqrt(squares + step)))


def _usual(x: Value, margin: float) -> tuple[float, float]:
    """Return where x is expected, within where it can be."""
    lo, hi = widen(x.real, margin)
    return max(lo, x.type.qtype.lo), min(hi, x.type.qtype.hi)


def _row_factor(
    b: Builder, name: str, x: Value, function: Function, usual: tuple[float, float], shift: float = 0.0
) -> tuple[Value, SplitFit]:
    """Return a falling function of x + shift as two splines, with bits enough to express it.

    Its error is the precision's relative one up to the largest usual x, a larger one above; and as much again as the
    rounding of x changes it where that is more. Far above, where x never is although nothing proves it, the factor only
    has to be no larger than the function, and nearly as large: a few bits do for many octaves.
    """
    domain, precision = x.type.qtype, b.precision
    highest = domain.hi if x.bounds is None else min(coarse(*usual)[1], domain.hi)
    unit, far = 2.0**-x.type.frac, _FAR_FROM * highest

    def farness(v: Floats) -> Floats:
        """Return 0 where x may be for some picture, 1 where only the proof cannot rule it out."""
        return np.asarray(np.minimum(np.log2(np.maximum(v / far, 1.0)) / _FAR_OCTAVES, 1.0))

    def target(v: Floats) -> Floats:
        return np.asarray(function(v + shift) * (1 - _FAR * farness(v)))

    def relative(v: Floats) -> Floats:
        above = precision.relative_above
        outside = above + (_FAR - above) * farness(v)
        return np.where(v <= highest, precision.relative, outside)

    def tolerance(v: Floats) -> Floats:
        return np.asarray(np.maximum(relative(v) * target(v), (target(v) - target(v + unit)) / 2))

    ends = np.array([highest, domain.hi])
    smallest = float((relative(ends) * target(ends)).min())
    frac = math.ceil(-math.log2(smallest)) + 1  # a rounding is half the tolerance at most
    fit = fit_split(target, tolerance, lo=domain.lo, hi=domain.hi, input_frac=x.type.frac, frac=frac, count=x.type.size)
    return b.split_spline(name, x, fit, torch.from_numpy(function(x.real.numpy())), frac), fit


def _largest(fit: SplitFit, x: Value, factor: Value, weigh: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Return the largest product of weigh(x) with the factor as it is computed: evaluated all over the domain of x."""
    codes = domain_codes(fit.grid, fit.left, math.ceil(x.type.qtype.hi * 2.0**x.type.frac), _CERTIFIED)
    factors = fit.largest_at(codes) * 2.0**-fit.grid.frac + factor.type.qtype.step
    return float((weigh(codes * x.type.qtype.step) * factors).max()) * (1 + _BETWEEN_POINTS)
