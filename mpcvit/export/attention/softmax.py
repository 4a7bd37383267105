"""Softmax heads: row maximum by a tree, clipped exponential on a grid, reciprocal as a spline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mpcvit.export.attention.heads import AttentionLowering, Heads, scores_product
from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import normalise_rows
from mpcvit.export.spline_fit import Floats, fit_grid
from mpcvit.models.kinds import AttentionKind
from mpcvit.ops.bounds import Bounds

#: A softmax does not change when its row is shifted, so the maximum may be off by a little: comparisons on the way to
#: it ignore differences below this.
_SLACK = 2.0**-5
#: Differences to the maximum beyond this count as this: exp(-7.25) = 7.1e-4. With it 32 knots 1/4 apart are enough.
_CLIP = 7.25
#: The sum of a row's weights, of which one is about 1, stays above this whatever their errors add up to.
_LEAST_TOTAL = 0.1


def lower_softmax(b: Builder, name: str, heads: Heads) -> Value:
    """Return the output of softmax heads."""
    return softmax_mix(b, name, b.rescale(f"{name}.scores", scores_product(b, name, heads)), heads.v)


def softmax_mix(b: Builder, name: str, scores: Value, v: Value) -> Value:
    """Return exp(S - max S) V / sum, for scores [H, N, M] and values [H, M, D] of ordinary precision."""
    rows = softmax_weights(b, name, scores)
    return normalise_rows(b, name, rows.weights, rows.total, v, rows.negative)


@dataclass(frozen=True)
class SoftmaxWeights:
    """A softmax before its division.

    Attributes:
        weights: exp(S - max S).
        total: their sum over the last axis, kept with length 1.
        negative: bound on the sum of the magnitudes of a row's negative weights.
    """

    weights: Value
    total: Value
    negative: float


def softmax_weights(b: Builder, name: str, scores: Value) -> SoftmaxWeights:
    """Return the softmax of ``scores`` [..., M] of ordinary precision over the last axis, not divided."""
    count = scores.type.shape[-1]
    levels = math.ceil(math.log2(count))
    above = _SLACK * (levels + 1)  # by how much the maximum may be missed
    tolerance = min(b.precision.tolerance, (math.exp(-above) - _LEAST_TOTAL) / count)
    shifted = b.subtract(f"{name}.shifted", scores, _row_maximum(b, name, scores), at_most=above)
    from_clip = b.offset(f"{name}.from_clip", shifted, _CLIP)
    clipped = b.relu(f"{name}.above_clip", from_clip, _SLACK, (-_SLACK, _CLIP + above))
    fit = fit_grid(
        _clipped_exponential,
        lambda x: np.full_like(x, tolerance),
        lo=-2 * _SLACK,
        hi=_CLIP + above,
        input_frac=clipped.type.frac,
        frac=b.precision.frac,
    )
    weights = b.spline(f"{name}.weights", clipped, fit, torch.exp(shifted.real))
    slack = tolerance * count
    bounds = (math.exp(-above) - slack, count * math.exp(above) + slack)
    total = b.sum(f"{name}.total", weights, axis=-1, bounds=bounds)
    negative = count * max(-weights.assumed.hull[0] * weights.type.qtype.step, 0.0)
    return SoftmaxWeights(weights, total, negative)


def _clipped_exponential(x: Floats) -> Floats:
    """Return exp(x - clip), led down to 0 at x = 0 over the last unit: what is clipped should weigh nothing."""
    return np.asarray(np.exp(np.maximum(x, 0.0) - _CLIP) - math.exp(-_CLIP) * np.clip(1.0 - x, 0.0, 1.0))


def _row_maximum(b: Builder, name: str, scores: Value) -> Value:
    """Return the maximum over the last axis, kept with length 1: max(a, b) = b + ReLU(a - b), halving the width each
    level.
    """
    level = 0
    while (width := scores.type.shape[-1]) > 1:
        half, prefix = width // 2, f"{name}.max{level}"
        left = b.slice(f"{prefix}.left", scores, -1, 0, half)
        right = b.slice(f"{prefix}.right", scores, -1, half, 2 * half)
        excess = b.relu(f"{prefix}.excess", b.subtract(f"{prefix}.difference", left, right), _SLACK)
        larger = [b.add(f"{prefix}.larger", right, excess, _between(left, right))]
        if width % 2:
            larger.append(b.slice(f"{prefix}.odd", scores, -1, width - 1, width))
        scores = b.concat(f"{prefix}.joined", larger, axis=-1)
        level += 1
    return scores


def _between(left: Value, right: Value) -> Bounds:
    """Return the bounds of the larger of both, which may be missed by the slack."""
    step, one, other = left.type.qtype.step, left.assumed, right.assumed
    return Bounds(torch.maximum(one.lo, other.lo) * step - _SLACK, torch.maximum(one.hi, other.hi) * step)


LOWERING = AttentionLowering(AttentionKind.SOFTMAX, lower_softmax)
