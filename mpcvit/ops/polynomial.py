"""Polynomials with integer coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def expand(row: Sequence[int], shift: int) -> list[int]:
    """Return the coefficients in x of a polynomial given in u = x - shift; Python integers, exact."""
    return [
        sum(row[m] * math.comb(m, power) * (-shift) ** (m - power) for m in range(power, len(row)))
        for power in range(len(row))
    ]


def extremes(row: Sequence[int], left: float, right: float) -> tuple[float, float]:
    """Return the least and the largest value of a polynomial in u on [left, right]: at an end, or where it turns."""
    polynomial = np.polynomial.Polynomial(np.array(row, dtype=np.float64))
    turns = polynomial.deriv().roots() if any(row[1:]) else np.empty(0)
    real = turns.real[np.abs(turns.imag) < 1e-9 * (1 + np.abs(turns.real))]
    values = polynomial(np.concatenate([[left, right], real[(real > left) & (real < right)]]))
    return float(values.min()), float(values.max())
