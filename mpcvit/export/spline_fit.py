"""Fitting splines: the fewest segments of a given degree that keep a stated error on a stated range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numpy.polynomial import Chebyshev, Polynomial

from mpcvit.errors import RangeError
from mpcvit.ops import Spline

Floats = npt.NDArray[np.float64]
Function = Callable[[Floats], Floats]

#: Share of the tolerance that the polynomial may use; the rest is for rounding.
_FIT_SHARE = 0.6
_POINTS = 65
_MOST_GUARD = 12
_LONGEST = 4.0
#: Most fractional bits of scaled local coordinates, which lie in [0, 1].
_LOCAL_FRAC = 16


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
) -> Fit:
    """A spline that stays within ``tolerance`` of ``function`` on [lo, hi].

    Segments grow greedily from the left, each as long as its Chebyshev interpolant allows. Local coordinates are scaled
    where segments are long or differ much: else roundings would be multiplied by powers of the length. Guard bits are
    as few as the errors of reference and shares allow: every one of them doubles the numbers that are truncated.

    Args:
        function, tolerance: of real arrays; the tolerance is absolute, point by point.
        lo, hi: real domain.
        input_frac, frac: fractional bits of input and result.
        degree: of every segment.

    Raises:
        RangeError: rounding alone exceeds the tolerance; more fractional bits are needed.
    """
    scale = 2.0**input_frac
    first, last = int(np.floor(lo * scale)), int(np.ceil(hi * scale))
    origins = [first]
    while (end := _longest(function, tolerance, origins[-1], last, scale, degree)) < last:
        origins.append(end)
    lengths = np.diff([*origins, last]) / scale
    scaled = lengths.max() > _LONGEST or lengths.max() > _LONGEST * lengths.min()
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
            local_frac=min(_LOCAL_FRAC, input_frac + max(exponents)) if scaled else input_frac,
            frac=frac,
            guard=guard,
            lo=first,
            hi=last,
        )
        errors.append(measure_error(spline, function, tolerance))
        if errors[-1] <= 1.0 and _shares_agree(spline, tolerance):
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


def _shares_agree(spline: Spline, tolerance: Function) -> bool:
    """Whether two parties' shares stay within the tolerance of the reference, segment by segment."""
    ends = np.array([*spline.origins, spline.hi]) / 2.0**spline.input_frac
    allowed = tolerance(ends) * 2.0**spline.frac
    errors = spline.segment_errors(parties=2)
    return all(error <= min(allowed[segment : segment + 2]) for segment, error in enumerate(errors))


def _longest(function: Function, tolerance: Function, start: int, stop: int, scale: float, degree: int) -> int:
    """The last code to which one polynomial from ``start`` keeps its share of the tolerance, by bisection."""

    def fits(end: int) -> bool:
        left, right = start / scale, end / scale
        points = np.linspace(left, right, _POINTS)
        row = _polynomial(function, left, right, degree)
        error = np.abs(Polynomial(row)(points - left) - function(points))
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
    series = Chebyshev.interpolate(lambda u: function(left + u), degree, domain=[0.0, right - left])
    coefficients = series.convert(kind=Polynomial).coef
    return np.pad(coefficients, (0, degree + 1 - len(coefficients)))
