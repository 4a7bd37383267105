"""Fitting splines: the fewest segments of a given degree that keep a stated error on a stated range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numpy.polynomial import chebyshev

from mpcvit.errors import RangeError
from mpcvit.ops import Spline

Floats = npt.NDArray[np.float64]
Function = Callable[[Floats], Floats]

#: Share of the tolerance that the polynomial may use; the rest is for rounding.
_FIT_SHARE = 0.6
_POINTS = 65
_MOST_GUARD = 12
#: Fractional bits of scaled local coordinates, which lie in [0, 1].
_LOCAL_FRAC = 15


@dataclass(frozen=True)
class Fit:
    """A spline and its error, measured through ``Spline.reference`` on a dense grid of its domain.

    Attributes:
        error: largest ratio of absolute error to the tolerance at that point; at most 1.
    """

    spline: Spline
    error: float


def fit_spline(
    function: Function,
    tolerance: Function,
    *,
    lo: float,
    hi: float,
    input_frac: int,
    frac: int,
    degree: int,
    scaled: bool = False,
) -> Fit:
    """A spline that stays within ``tolerance`` of ``function`` on [lo, hi].

    Segments grow greedily from the left, each as long as its Chebyshev interpolant allows. Guard bits are as few as the
    measured error allows: every one of them doubles the numbers that are truncated.

    Args:
        function, tolerance: of real arrays; the tolerance is absolute, point by point.
        lo, hi: real domain.
        input_frac, frac: fractional bits of input and result.
        degree: of every segment.
        scaled: divide local coordinates by a power of two per segment; for domains of many octaves.

    Raises:
        RangeError: rounding alone exceeds the tolerance; more fractional bits are needed.
    """
    scale = 2.0**input_frac
    first, last = int(np.floor(lo * scale)), int(np.ceil(hi * scale))
    origins = [first]
    while (end := _longest(function, tolerance, origins[-1], last, scale, degree)) < last:
        origins.append(end)
    lengths = np.diff([*origins, last]) / scale
    exponents = [int(np.ceil(np.log2(length))) if scaled else 0 for length in lengths]
    rows = [
        _polynomial(function, start / scale, start / scale + length, degree) * 2.0 ** (exponent * np.arange(degree + 1))
        for start, length, exponent in zip(origins, lengths, exponents, strict=True)
    ]
    errors = []
    for guard in range(1, _MOST_GUARD + 1):
        spline = Spline(
            origins=tuple(origins),
            exponents=tuple(exponents),
            coefficients=tuple(tuple(round(c * 2.0 ** (frac + guard)) for c in row) for row in rows),
            input_frac=input_frac,
            local_frac=_LOCAL_FRAC if any(exponents) else input_frac,
            frac=frac,
            guard=guard,
            lo=first,
            hi=last,
        )
        errors.append(measure_error(spline, function, tolerance))
        if errors[-1] <= 1.0:
            return Fit(spline, errors[-1])
    raise RangeError(
        f"a spline with {min(errors):.2f} times the allowed error on [{lo:g}, {hi:g}]",
        expected="rounding to fit into the tolerance",
        remedy=f"Use more than {input_frac} input or {frac} output fractional bits, or a wider tolerance.",
    )


def measure_error(spline: Spline, function: Function, tolerance: Function, points: int = 20_000) -> float:
    """Largest ratio of |spline - function| to ``tolerance`` over the whole domain (every code, if few enough)."""
    count = min(points, spline.hi - spline.lo + 1)
    codes = np.unique(np.linspace(spline.lo, spline.hi, count).round().astype(np.int64))
    ends = np.array([code + shift for code in spline.origins for shift in (-1, 0, 1)])
    codes = np.unique(np.concatenate([codes, np.clip(ends, spline.lo, spline.hi)]))
    real = codes / 2.0**spline.input_frac
    got = spline.reference(torch.from_numpy(codes)).numpy() / 2.0**spline.frac
    return float((np.abs(got - function(real)) / tolerance(real)).max())


def _longest(
    function: Function, tolerance: Function, start: int, stop: int, scale: float, degree: int
) -> int:
    """The last code to which one polynomial from ``start`` keeps its share of the tolerance, by bisection."""

    def fits(end: int) -> bool:
        left, right = start / scale, end / scale
        points = np.linspace(left, right, _POINTS)
        row = _polynomial(function, left, right, degree)
        error = np.abs(np.polynomial.polynomial.polyval(points - left, row) - function(points))
        return bool((error <= _FIT_SHARE * tolerance(points)).all())

    if fits(stop):
        return stop
    good, bad = start + 1, stop
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _polynomial(function: Function, left: float, right: float, degree: int) -> Floats:
    """Coefficients, constant first, in u = x - left, of the Chebyshev interpolant on [left, right]."""
    half = (right - left) / 2
    series = chebyshev.chebinterpolate(lambda t: function(left + half * (t + 1)), degree)
    power = np.polynomial.Polynomial(chebyshev.cheb2poly(series))
    shifted = power(np.polynomial.Polynomial([-1.0, 1.0 / half]))
    row = np.zeros(degree + 1)
    row[: len(shifted.coef)] = shifted.coef
    return row
