"""Polynomials of a masked value: public powers of the masked value times shares of powers of the mask."""

from __future__ import annotations

import math

import numpy as np

from mpcvit.fss.checks import Words


def powers(values: Words, degree: int) -> Words:
    """Return values**e for e = 0..degree, [N, degree + 1]."""
    columns = [np.ones_like(values)]
    for _ in range(degree):
        columns.append(columns[-1] * values)
    return np.stack(columns, axis=1)


def signed_words(numbers: list[list[int]]) -> Words:
    """Return Python integers mod 2**64."""
    return np.array([[number % 2**64 for number in row] for row in numbers], dtype=np.uint64)


def combine(coefficients: dict[tuple[int, int], Words], hat: Words, degree: int) -> Words:
    """Return sum_m c_m (hat - mu)**m from shares of c_m mu**e.

    Args:
        coefficients: by (m, e), e <= m: shares of c_m * mu**e, [N].
        hat: public, [N].
    """
    hats = powers(hat, degree)
    total = np.zeros_like(hat)
    for (m, e), share in coefficients.items():
        factor = np.uint64((math.comb(m, e) * (-1) ** e) % 2**64)
        total += factor * hats[:, m - e] * share
    return total
