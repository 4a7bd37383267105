"""Bounds on scores: a bilinear form of two tokens."""

from __future__ import annotations

import torch

from mpcvit.export.bounds.attention.projection import AttentionLayer
from mpcvit.export.bounds.balls import gain


def scores(layer: AttentionLayer, width: int) -> torch.Tensor:
    """Return [heads]: bounds on |q . k| of any two tokens, what rounding adds included.

    Args:
        width: of a head.
    """
    return torch.tensor([_score(layer, slice(start, start + width)) for start in range(0, layer.query.shape[1], width)])


def _score(layer: AttentionLayer, columns: slice) -> float:
    query, key = layer.query[:, columns], layer.key[:, columns]
    query_bias, key_bias = layer.query_bias[columns], layer.key_bias[columns]
    both = gain(query @ key.mT) * layer.gain**2
    one = float((query @ key_bias).norm() + (key @ query_bias).norm()) * layer.gain
    exact = both + one + abs(float(query_bias @ key_bias))
    lengths = sum(layer.gain * gain(part) + float(bias.norm()) for part, bias in ((query, query_bias), (key, key_bias)))
    error: float = layer.rounding * query.shape[1] ** 0.5
    return exact + error * (lengths + error)
