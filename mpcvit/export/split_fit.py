"""Fitting functions that change fast at one end: a coarse grid, and left of it a few segments of ever smaller length.

A reciprocal on [1/64, 200] needs as many knots on every octave. On a grid, which costs almost nothing per knot, that is
easy for the upper octaves; arbitrary knots, which are expensive, do for the lower ones. The grid's polynomials on its
first segments hold one polynomial, so that there the sum of both is exact whichever neighbour the grid chooses.
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
from mpcvit.ops.polynomial import expand, extremes

Row = tuple[int, ...]
Places = npt.NDArray[np.int64]

#: log2 of the knots that the grid may have.
_GRIDS = range(4, 10)
#: What a knot of the grid costs, in arbitrary knots: work, memory of its expansion, and comparisons on stock shares.
_GRID_KNOT = 0.02
#: How much more expensive a fit may be that has fewer fractional bits.
_NEARLY = 1.1
_DEGREE = 2
_POINTS = 33
#: Share of the tolerance that a polynomial may use on the points it is fitted by.
_FIT_SHARE = 0.9
_MOST_SEGMENTS = 256
#: Ends of a segment that are tried at once.
_TRIED = 31
#: Largest magnitude of results, log2 of codes, one bit less with every doubling of their number: the chance that their
#: truncating opening is ambiguous stays below 2**-12.
_MOST_BITS = 51


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

    def extremes(self, lo: float, hi: float) -> tuple[float, float]:
        """Return the least and the largest sum, in codes, for codes of x in [lo, hi], whichever knots are drawn."""
        ends = []
        if self.left is not None:
            *segments, (_, border, *_) = self.left.pieces(self.left.lo, self.left.hi)
            knot, below = self.grid.origin, self.grid.coefficients[0]  # the one polynomial left of the border
            for row, origin, start, end in segments:
                if max(start, lo) <= min(end, hi):
                    both = [a + b for a, b in zip(row, expand(below, knot - origin), strict=True)]
                    ends.append(extremes(both, max(start, lo) - origin, min(end, hi) - origin))
            lo = max(lo, border)
        ends += [extremes(row, start - knot, end - knot) for row, knot, start, end in self.grid.pieces(lo, hi)]
        return min(least for least, _ in ends), max(largest for _, largest in ends)

    def largest_at(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the largest magnitude of the sum at each code, in codes, float64, whichever knot is drawn."""
        rest = 0 if self.left is None else self.left.reference(codes)
        draws = (torch.tensor(0), torch.tensor((1 << self.grid.shift) - 1))
        sums = [self.grid.reference(codes, rounding=draw) + rest for draw in draws]
        return torch.stack(sums).double().abs().amax(0)


def fit_split(
    function: Function, tolerance: Function, *, lo: float, hi: float, input_frac: int, frac: int, count: int = 1
) -> SplitFit:
    """Return the cheapest sum of a grid and arbitrary segments within ``tolerance`` of ``function`` on [lo, hi].

    Of about equally cheap ones that with the fewest fractional bits, because they cost range. Polynomials are
    quadratic, or linear where the rounding of a quadratic coefficient would hurt.

    Args:
        function, tolerance: of real arrays; the tolerance is absolute, point by point.
        lo, hi: real domain.
        input_frac: fractional bits of the input.
        frac: least fractional bits of the result.
        count: elements that are evaluated.

    Raises:
        RangeError: rounding alone exceeds the tolerance; more fractional bits are needed.
    """
    largest = float(np.abs(function(np.linspace(lo, hi, 1025))).max())
    most = _MOST_BITS - (count - 1).bit_length()
    choices = range(frac, most - max(math.ceil(math.log2(max(largest, 1e-9))), 0) + 1)
    task = _Task(function, tolerance, lo, hi, input_frac)
    best: SplitFit | None = None
    for grid in reversed(_GRIDS) if choices else ():  # the finest first: it needs the fewest other knots
        fit = task.fit(grid, choices[-1], _MOST_SEGMENTS if best is None else best.knots)
        best = fit if fit is not None and (best is None or fit.knots <= best.knots) else best
    if best is None:
        raise RangeError(
            f"no spline within the tolerance on [{lo:g}, {hi:g}]",
            expected=f"results below 2**{most} and at most {_MOST_SEGMENTS} segments",
            remedy=f"Use more than {input_frac} fractional bits, a wider tolerance or a narrower range, such as one "
            "from calibration (--allow-calibrated).",
        )
    grid = len(best.grid.coefficients).bit_length() - 1
    low, high, enough = 0, len(choices) - 1, best.knots * _NEARLY
    while low < high:
        middle = (low + high) // 2
        fit = task.fit(grid, choices[middle], enough)
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

    @property
    def _scale(self) -> float:
        return 2.0**self.input_frac

    def fit(self, grid_bits: int, bits: int, most: float) -> SplitFit | None:
        """Fit on a grid of that many knots with results of ``bits`` fractional bits.

        None if it misses the tolerance, or costs more than ``most``.
        """
        count = 1 << grid_bits
        shift = max(math.ceil(math.log2((self.last - self.first) / (count - 1))), 1)
        knots = [self.first + (index << shift) for index in range(count)]
        used = sum(knot - (1 << shift) < self.last for knot in knots)  # knots beyond the range are never used
        start = self._first_good(knots[:used], shift, bits)
        if start is None:
            return None
        rows, _ = self._around(knots[start:used], shift, bits)
        before = [tuple(expand(rows[0], knots[start] - knot)) for knot in knots[:start]]
        after = [tuple(expand(rows[-1], knots[used - 1] - knot)) for knot in knots[used:]]
        grid = GridSpline(self.first, shift, (*before, *rows, *after), input_frac=self.input_frac, frac=bits)
        left = None
        if (end := knots[start] - (1 << shift)) > self.first:
            left = self._left(
                end, lambda origin: expand(rows[0], knots[start] - origin), bits, most - _GRID_KNOT * count
            )
            if left is None:
                return None
        error = self._error(grid, left)
        return SplitFit(grid, left, error) if error <= 1.0 else None

    def _first_good(self, knots: Sequence[int], shift: int, bits: int) -> int | None:
        """Return the first knot from which on the grid is fine enough, by bisection; None if there is none."""
        low, high = 0, len(knots) - 1
        if self._around(knots[high:], shift, bits)[1] > _FIT_SHARE:
            return None
        while low < high:
            middle = (low + high) // 2
            if self._around([knots[middle]], shift, bits)[1] <= _FIT_SHARE:
                high = middle
            else:
                low = middle + 1
        return high

    def _left(self, end: int, grid_row: Callable[[int], Sequence[int]], bits: int, most: float) -> Spline | None:
        """Return what the grid lacks from the first code to ``end``: segments from the left, each as long as can be.

        None if that takes more than ``most`` knots.
        """
        origins = [self.first]
        rows: list[Row] = []
        while origins[-1] < end:
            origin = origins[-1]
            good = self._farthest(origin, end, bits)
            if good == origin or len(rows) + 2 > most:  # with this segment, and the one that is 0
                return None
            ends = np.array([origin]), np.array([origin]), np.array([good])
            row = _row(self._polynomials(*ends, bits)[0][0])
            rows.append(tuple(own - other for own, other in zip(row, grid_row(origin), strict=True)))
            origins.append(good)
        rows.append((0,) * (_DEGREE + 1))
        return Spline(tuple(origins), tuple(rows), self.input_frac, bits, self.first, self.last)

    def _farthest(self, origin: int, end: int, bits: int) -> int:
        """Return the largest code up to ``end`` to which one polynomial is good from ``origin`` on.

        ``origin`` if none is.
        """
        good, bad = origin, end + 1
        while bad - good > 1:
            tried = good + np.maximum(np.arange(1, _TRIED + 1) * (bad - good) // (_TRIED + 1), 1)
            starts = np.full_like(tried, origin)
            passed = np.flatnonzero(self._polynomials(starts, starts, tried, bits)[1] <= _FIT_SHARE)
            last = passed[-1] if len(passed) else -1
            bad = int(tried[last + 1]) if last + 1 < len(tried) else bad
            good = int(tried[last]) if last >= 0 else good
        return good

    def _around(self, knots: Sequence[int], shift: int, bits: int) -> tuple[list[Row], npt.NDArray[np.float64]]:
        """Return coefficient codes in x - knot on both sides of every knot, and the errors."""
        origins = np.array(knots)
        lefts, rights = np.maximum(origins - (1 << shift), self.first), np.minimum(origins + (1 << shift), self.last)
        rows, errors = self._polynomials(origins, lefts, np.maximum(rights, lefts + 1), bits)
        return [_row(row) for row in rows], errors

    def _polynomials(
        self, origins: Places, lefts: Places, rights: Places, bits: int
    ) -> tuple[Floats, npt.NDArray[np.float64]]:
        """Return integer coefficients in x - origin, [count, degree + 1], of the better interpolants on these codes.

        The error of each is the largest ratio to the tolerance on some points.
        """
        codes = np.round(lefts[:, None] + (rights - lefts)[:, None] * np.linspace(0, 1, _POINTS))
        local = codes - origins[:, None]
        exact, allowed = self.function(codes / self._scale), self.tolerance(codes / self._scale)
        fits = []
        for degree in (_DEGREE, 1):
            rows = np.rint(self._interpolants(origins, lefts, rights, degree) * 2.0**bits)
            got = rows[:, -1:]
            for column in range(_DEGREE - 1, -1, -1):
                got = got * local + rows[:, column : column + 1]
            fits.append((rows, (np.abs(got / 2.0**bits - exact) / allowed).max(-1)))
        (rows, errors), (others, other_errors) = fits
        better = other_errors < errors
        return np.where(better[:, None], others, rows), np.where(better, other_errors, errors)

    def _interpolants(self, origins: Places, lefts: Places, rights: Places, degree: int) -> Floats:
        """Return the coefficients [count, _DEGREE + 1] of the interpolants through the Chebyshev nodes."""
        centre, radius = (lefts + rights) / 2, (rights - lefts) / 2
        nodes, inverse = _CHEBYSHEV[degree]
        unit = self.function((centre[:, None] + radius[:, None] * nodes) / self._scale) @ inverse.T
        shift = (origins - centre) / radius  # u / radius + shift = the place between -1 and 1
        local = np.zeros((len(rights), _DEGREE + 1))
        for power in range(degree + 1):
            terms = (unit[:, m] * math.comb(m, power) * shift ** (m - power) for m in range(power, degree + 1))
            local[:, power] = sum(terms) / radius**power
        return local

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
    """Return the codes all over the domain (every one, if few enough), as many on every octave from its start on, and
    those beside every arbitrary knot.
    """
    count = min(points, last - grid.lo + 1)
    spread = np.linspace(grid.lo, last, count).round().astype(np.int64)
    octaves = np.geomspace(1, max(last - grid.lo, 2), min(points, count)).round().astype(np.int64) + grid.lo
    origins = () if left is None else left.origins
    ends = np.array([code + shift for code in origins for shift in (-1, 0, 1)], dtype=np.int64)
    return torch.from_numpy(np.unique(np.clip(np.concatenate([spread, octaves, ends]), grid.lo, last)))


def _row(coefficients: Floats) -> Row:
    return tuple(int(code) for code in coefficients)


def _chebyshev(degree: int) -> tuple[Floats, npt.NDArray[np.float64]]:
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    return nodes, np.linalg.inv(np.vander(nodes, increasing=True))


_CHEBYSHEV = {degree: _chebyshev(degree) for degree in (1, _DEGREE)}
