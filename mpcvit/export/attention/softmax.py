"""Softmax heads: row maximum by a tree, exponential and reciprocal as splines."""

from __future__ import annotations

import numpy as np
import torch

from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import normalise_rows
from mpcvit.export.spline_fit import fit_spline

_DEGREE = 3


def lower_softmax(b: Builder, name: str, q: Value, keys: Value, v: Value) -> Value:
    """Output of softmax heads: exp(S - max S) V / sum."""
    scores = b.rescale(f"{name}.scores", b.matmul(f"{name}.scores_product", q, keys))
    shifted = b.subtract(f"{name}.shifted", scores, _row_maximum(b, name, scores))
    frac = b.precision.frac
    fit = fit_spline(
        np.exp,
        lambda x: np.full_like(x, b.precision.tolerance),
        lo=shifted.type.qtype.lo,
        hi=0.0,
        input_frac=frac,
        frac=frac,
        degree=_DEGREE,
    )
    weights = b.spline(f"{name}.weights", shifted, fit, torch.exp(shifted.real))
    slack = b.precision.tolerance * v.type.shape[-2]
    bounds = (1.0 - slack, v.type.shape[-2] + slack)  # the largest term is exp(0)
    total = b.sum(f"{name}.total", weights, axis=-1, bounds=bounds)
    return normalise_rows(b, name, weights, total, v)


def _row_maximum(b: Builder, name: str, scores: Value) -> Value:
    """Maximum over the last axis, kept with length 1: max(a, b) = b + ReLU(a - b), halving the width each level."""
    level = 0
    while (width := scores.type.shape[-1]) > 1:
        half, prefix = width // 2, f"{name}.max{level}"
        left = b.slice(f"{prefix}.left", scores, -1, 0, half)
        right = b.slice(f"{prefix}.right", scores, -1, half, 2 * half)
        excess = b.relu(f"{prefix}.excess", b.subtract(f"{prefix}.difference", left, right))
        larger = [b.add(f"{prefix}.larger", right, excess)]
        if width % 2:
            larger.append(b.slice(f"{prefix}.odd", scores, -1, width - 1, width))
        scores = b.concat(f"{prefix}.joined", larger, axis=-1)
        level += 1
    return scores
