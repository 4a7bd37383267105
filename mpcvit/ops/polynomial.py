"""Polynomials of a masked value: public powers of the masked value times shares of powers of the mask."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mpcvit.session.wires import Words


def expand(row: Sequence[int], shift: int) -> list[int]:
    """The coefficients in x of a polynomial given in u = x - shift; Python integers, exact."""
    return [
        sum(row[m] * math.comb(m, power) * (-shift) ** (m - power) for m in range(power, len(row)))
        for power in range(len(row))
    ]


def powers(values: Words, degree: int) -> Words:
    """values**e for e = 0..degree, [N, degree + 1]."""
    columns = [np.ones_like(values)]
    for _ in range(degree):
        columns.append(columns[-1] * values)
    return np.stack(columns, axis=1)


def signed_words(numbers: list[list[int]]) -> Words:
    """Python integers mod 2**64."""
    return np.array([[number % 2**64 for number in row] for row in numbers], dtype=np.uint64)


def combine(coefficients: dict[tuple[int, int], Words], hat: Words, degree: int) -> Words:
    """sum_m c_m (hat - mu)**m from shares of c_m mu**e.

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
