"""Fitting functions that change fast at one end: a coarse grid, and left of it a few segments of ever smaller length.

A reciprocal on [1/64, 200] needs as many knots on every octave. On a grid, which costs almost nothing per knot, that is
easy for the upper octaves; arbitrary knots, which are dear, do for the lower ones. The grid's polynomials on its first
segments hold one polynomial, so that there the sum of both is exact whichever neighbour the grid chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from mpcvit.errors import RangeError
from mpcvit.export.spline_fit import Floats, Function
from mpcvit.ops import GridSpline, Spline
from mpcvit.ops.polynomial import expand

Row = tuple[int, ...]

#: log2 of the knots that the grid may have.
_GRIDS = range(4, 10)
#: What a knot of the grid costs, in arbitrary knots: work, memory of its expansion, and comparisons on stock shares.
_GRID_KNOT = 0.02
#: How much dearer a fit may be that has fewer fractional bits.
_NEARLY = 1.1
_DEGREE = 2
_POINTS = 33
#: Share of the tolerance that a polynomial may use on the points it is fitted by.
_FIT_SHARE = 0.9
_MOST_SEGMENTS = 256
#: Largest magnitude of results, log2 of codes: beyond it truncating openings would often have to be repeated.
_MOST_BITS = 44


@dataclass(frozen=True)
class SplitFit:
    """A function as the sum of two splines.

    Attributes:
        grid: holds from some knot on; left of it, one polynomial.
        left: the difference there, 0 from that knot on; None if the grid does it all.
        error: largest ratio of absolute error to the tolerance at that point, through ``reference``; at most 1.
    """

    grid: GridSpline
    left: Spline | None
    error: float

    @cached_property
    def knots(self) -> float:
        """What it costs, in arbitrary knots."""
        return (0 if self.left is None else len(self.left.origins)) + _GRID_KNOT * len(self.grid.coefficients)


def fit_split(function: Function, tolerance: Function, *, lo: float, hi: float, input_frac: int, frac: int) -> SplitFit:
    """The cheapest sum of a grid and arbitrary segments within ``tolerance`` of ``function`` on [lo, hi].

    Of about equally cheap ones that with the fewest fractional bits, because they cost range. Polynomials are
    quadratic, or linear where the rounding of a quadratic coefficient would hurt.

    Args:
        function, tolerance: of real arrays; the tolerance is absolute, point by point.
        lo, hi: real domain.
        input_frac: fractional bits of the input.
        frac: least fractional bits of the result.

    Raises:
        RangeError: rounding alone exceeds the tolerance; more fractional bits are needed.
    """
    largest = float(np.abs(function(np.linspace(lo, hi, 1025))).max())
    choices = range(frac, _MOST_BITS - max(math.ceil(math.log2(max(largest, 1e-9))), 0) + 1)
    task = _Task(function, tolerance, lo, hi, input_frac)
    fits = [fit for grid in _GRIDS if choices and (fit := task.fit(grid, choices[-1])) is not None]
    if not fits:
        raise RangeError(
            f"no spline within the tolerance on [{lo:g}, {hi:g}]",
            expected=f"results below 2**{_MOST_BITS} and at most {_MOST_SEGMENTS} segments",
            remedy=f"Use more than {input_frac} fractional bits, a narrower range or a wider tolerance.",
        )
    best = min(fits, key=lambda fit: fit.knots)
    grid = len(best.grid.coefficients).bit_length() - 1
    low, high, enough = 0, len(choices) - 1, best.knots * _NEARLY
    while low < high:
        middle = (low + high) // 2
        fit = task.fit(grid, choices[middle])
        if fit is not None and fit.knots <= enough:
            best, high = fit, middle
        else:
            low = middle + 1
    return best


@dataclass(frozen=True)
class _Task:
    """What is to be fitted; codes are integers, ``x * 2**input_frac``."""

    function: Function
    tolerance: Function
    lo: float
    hi: float
    input_frac: int

    @property
    def first(self) -> int:
        return math.floor(self.lo * 2.0**self.input_frac)

    @property
    def last(self) -> int:
        return math.ceil(self.hi * 2.0**self.input_frac)

    def fit(self, grid_bits: int, bits: int) -> SplitFit | None:
        """On a grid of that many knots with results of ``bits`` fractional bits; None if it misses the tolerance."""
        count = 1 << grid_bits
        shift = max(math.ceil(math.log2((self.last - self.first) / (count - 1))), 1)
        knots = [self.first + (index << shift) for index in range(count)]
        used = sum(knot - (1 << shift) < self.last for knot in knots)  # knots beyond the range are never used
        start = self._first_good(knots[:used], shift, bits)
        if start is None:
            return None
        rows = [self._around(knot, shift, bits)[0] for knot in knots[start:used]]
        before = [tuple(expand(rows[0], knots[start] - knot)) for knot in knots[:start]]
        after = [tuple(expand(rows[-1], knots[used - 1] - knot)) for knot in knots[used:]]
        grid = GridSpline(self.first, shift, (*before, *rows, *after), input_frac=self.input_frac, frac=bits)
        left = None
        if (end := knots[start] - (1 << shift)) > self.first:
            left = self._left(end, lambda origin: expand(rows[0], knots[start] - origin), bits)
            if left is None:
                return None
        error = self._error(grid, left)
        return SplitFit(grid, left, error) if error <= 1.0 else None

    def _first_good(self, knots: Sequence[int], shift: int, bits: int) -> int | None:
        """The first knot from which on the grid is fine enough, by bisection; None if there is none."""
        low, high = 0, len(knots) - 1
        if self._around(knots[high], shift, bits)[1] > _FIT_SHARE:
            return None
        while low < high:
            middle = (low + high) // 2
            if self._around(knots[middle], shift, bits)[1] <= _FIT_SHARE:
                high = middle
            else:
                low = middle + 1
        return high

    def _left(self, end: int, grid_row: Callable[[int], Sequence[int]], bits: int) -> Spline | None:
        """What the grid lacks from the first code to ``end``: segments from the left, each as long as can be."""
        origins = [self.first]
        rows: list[Row] = []
        while origins[-1] < end:
            origin = origins[-1]
            good, bad = origin, end + 1
            while bad - good > 1:
                middle = (good + bad) // 2
                if self._polynomial(origin, origin, middle, bits)[1] <= _FIT_SHARE:
                    good = middle
                else:
                    bad = middle
            if good == origin or len(rows) == _MOST_SEGMENTS:
                return None
            row = self._polynomial(origin, origin, good, bits)[0]
            rows.append(tuple(own - other for own, other in zip(row, grid_row(origin), strict=True)))
            origins.append(good)
        rows.append((0,) * (_DEGREE + 1))
        return Spline(tuple(origins), tuple(rows), self.input_frac, bits, self.first, self.last)

    def _around(self, knot: int, shift: int, bits: int) -> tuple[Row, float]:
        left, right = max(knot - (1 << shift), self.first), min(knot + (1 << shift), self.last)
        return self._polynomial(knot, left, max(right, left + 1), bits)

    def _polynomial(self, origin: int, left: int, right: int, bits: int) -> tuple[Row, float]:
        """Coefficient codes in x - origin of the better interpolant on these codes, and its error."""
        return min((self._interpolant(origin, left, right, bits, d) for d in (_DEGREE, 1)), key=lambda fit: fit[1])

    def _interpolant(self, origin: int, left: int, right: int, bits: int, degree: int) -> tuple[Row, float]:
        """Through the Chebyshev nodes; the error is the largest ratio to the tolerance on some points."""
        scale = 2.0**self.input_frac
        centre, radius = (left + right) / 2, (right - left) / 2
        nodes, inverse = _CHEBYSHEV[degree]
        unit = inverse @ self.function((centre + radius * nodes) / scale)
        shift = (origin - centre) / radius  # u / radius + shift = the place between -1 and 1
        local = [
            sum(unit[m] * math.comb(m, power) * shift ** (m - power) for m in range(power, degree + 1)) / radius**power
            for power in range(degree + 1)
        ]
        row = [round(float(c) * 2.0**bits) for c in local] + [0] * (_DEGREE - degree)
        codes = np.round(np.linspace(left, right, _POINTS))
        got = np.polyval(np.array(row[::-1], dtype=np.float64), codes - origin) / 2.0**bits
        real = codes / scale
        return tuple(row), float((np.abs(got - self.function(real)) / self.tolerance(real)).max())

    def _error(self, grid: GridSpline, left: Spline | None) -> float:
        codes = domain_codes(grid, left, self.last)
        real = codes.numpy() / 2.0**self.input_frac
        exact, allowed = self.function(real), self.tolerance(real)
        rest = 0 if left is None else left.reference(codes)
        worst = 0.0
        for rounding in (torch.tensor(0), torch.tensor((1 << grid.shift) - 1)):
            got = (grid.reference(codes, rounding=rounding) + rest).numpy() / 2.0**grid.frac
            worst = max(worst, float((np.abs(got - exact) / allowed).max()))
        return worst


def domain_codes(grid: GridSpline, left: Spline | None, last: int, points: int = 20_000) -> torch.Tensor:
    """Codes all over the domain (every one, if few enough), and those beside every arbitrary knot."""
    count = min(points, last - grid.lo + 1)
    spread = np.linspace(grid.lo, last, count).round().astype(np.int64)
    origins = () if left is None else left.origins
    ends = np.array([code + shift for code in origins for shift in (-1, 0, 1)], dtype=np.int64)
    return torch.from_numpy(np.unique(np.concatenate([spread, np.clip(ends, grid.lo, last)])))


def _chebyshev(degree: int) -> tuple[Floats, npt.NDArray[np.float64]]:
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    return nodes, np.linalg.inv(np.vander(nodes, increasing=True))


_CHEBYSHEV = {degree: _chebyshev(degree) for degree in (1, _DEGREE)}
