"""Fitting splines on grids: the fewest knots that keep a stated error on a stated range.

Splines are evaluated exactly on integers, so the only errors are the polynomials' and the rounding of coefficients. The
latter falls with the fractional bits of the result, of which the fit takes as few as it can: they cost range.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numpy.polynomial import Chebyshev, Polynomial

from mpcvit.errors import RangeError
from mpcvit.ops import GridSpline

Floats = npt.NDArray[np.float64]
Function = Callable[[Floats], Floats]

_POINTS = 65
#: Largest magnitude of results, log2 of codes: beyond it a truncating opening would often have to be repeated.
_MOST_BITS = 46
#: Finest grid, log2 of its knots.
_FINEST = 8


@dataclass(frozen=True)
class SplineFit:
    """A spline and its error, measured through its ``reference`` on a dense grid of its domain.

    Attributes:
        error: largest ratio of absolute error to the tolerance at that point; at most 1.
    """

    spline: GridSpline
    error: float


def fit_grid(function: Function, tolerance: Function, *, lo: float, hi: float, input_frac: int, frac: int) -> SplineFit:
    """Return a quadratic spline on the coarsest uniform grid that stays within ``tolerance`` of ``function`` on [lo,
    hi].

    Every knot's polynomial holds on both segments beside it.

    Args:
        function, tolerance: of real arrays; the tolerance is absolute, point by point.
        lo, hi: real domain.
        input_frac: fractional bits of the input.
        frac: least fractional bits of the result.

    Raises:
        RangeError: rounding alone exceeds the tolerance; more fractional bits are needed.
    """
    scale = 2.0**input_frac
    first, last = math.floor(lo * scale), math.ceil(hi * scale)
    for knots in (1 << bits for bits in range(2, _FINEST + 1)):
        shift = max(math.ceil(math.log2((last - first) / (knots - 1))), 1)
        starts = [first + (index << shift) for index in range(knots)]
        # knots beyond the range, up to the next power of two, are never used
        ends = [
            (max(min(knot, last) - (1 << shift), first), max(min(knot + (1 << shift), last), first + 1))
            for knot in starts
        ]
        rows = [
            _polynomial(function, knot / scale, left / scale, right / scale, 2)
            for knot, (left, right) in zip(starts, ends, strict=True)
        ]

        def with_bits(bits: int, shift: int = shift, rows: list[Floats] = rows) -> SplineFit:
            spline = GridSpline(first, shift, _codes(rows, bits, input_frac), input_frac=input_frac, frac=bits)
            return SplineFit(spline, measure_error(spline, function, tolerance, last))

        if (fit := _fewest(with_bits, _fractions(function, lo, hi, frac))) is not None:
            return fit
    raise _no_fit(lo, hi, input_frac)


def measure_error(spline: GridSpline, function: Function, tolerance: Function, hi: int, points: int = 20_000) -> float:
    """Return the largest ratio of |spline - function| to ``tolerance`` up to code ``hi``, at every code if few.

    With both neighbouring knots at every point.
    """
    count = min(points, hi - spline.lo + 1)
    codes = np.unique(np.linspace(spline.lo, hi, count).round().astype(np.int64))
    real = codes / 2.0**spline.input_frac
    exact, allowed = function(real), tolerance(real)
    worst = 0.0
    for rounding in (torch.tensor(0), torch.tensor((1 << spline.shift) - 1)):
        got = spline.reference(torch.from_numpy(codes), rounding=rounding).numpy() / 2.0**spline.frac
        worst = max(worst, float((np.abs(got - exact) / allowed).max()))
    return worst


def _fewest(with_bits: Callable[[int], SplineFit], choices: range) -> SplineFit | None:
    """Return the fit with the fewest bits that keeps the tolerance, by bisection; None if none does."""
    low, high = 0, len(choices) - 1
    best = with_bits(choices[high]) if choices else None
    if best is None or best.error > 1.0:
        return None
    while low < high:
        middle = (low + high) // 2
        fit = with_bits(choices[middle])
        if fit.error <= 1.0:
            best, high = fit, middle
        else:
            low = middle + 1
    return best


def _fractions(function: Function, lo: float, hi: float, frac: int) -> range:
    """Return the fractional bits that the result may have."""
    largest = float(np.abs(function(np.linspace(lo, hi, 1025))).max())
    return range(frac + 1, _MOST_BITS - max(math.ceil(math.log2(max(largest, 1e-9))), 0) + 1)


def _codes(rows: list[Floats], frac: int, input_frac: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(round(c * 2.0 ** (frac - m * input_frac)) for m, c in enumerate(row)) for row in rows)


def _no_fit(lo: float, hi: float, input_frac: int) -> RangeError:
    return RangeError(
        f"no spline within the tolerance on [{lo:g}, {hi:g}]",
        expected=f"results below 2**{_MOST_BITS} and at most 2**{_FINEST} knots on a grid",
        remedy=f"Use more than {input_frac} fractional bits, a wider tolerance or a narrower range, such as one "
        "from calibration (--allow-calibrated).",
    )


def _polynomial(function: Function, origin: float, left: float, right: float, degree: int) -> Floats:
    """Return coefficients, constant first, in u = x - origin, of the Chebyshev interpolant on [left, right]."""
    domain = [left - origin, right - origin]
    series = Chebyshev.interpolate(lambda u: function(origin + u), degree, domain=domain)
    coefficients = series.convert(kind=Polynomial).coef
    return np.pad(coefficients, (0, degree + 1 - len(coefficients)))
