"""ReLU-softmax heads: comparisons on the scores, one reciprocal per row, no exponential."""

from __future__ import annotations

from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import normalise_rows
from mpcvit.models.attention.relu_softmax import EPSILON


def lower_relu_softmax(b: Builder, name: str, q: Value, keys: Value, v: Value) -> Value:
    """Output of ReLU-softmax heads, normalised after the product with V."""
    scores = b.rescale(f"{name}.scores", b.matmul(f"{name}.scores_product", q, keys))
    weights = b.relu(f"{name}.weights", scores)
    total = b.sum(f"{name}.total", weights, axis=-1)
    bounds = (EPSILON, EPSILON + total.type.qtype.hi)  # weights are not negative
    total = b.offset(f"{name}.denominator", total, EPSILON, bounds)
    return normalise_rows(b, name, weights, total, v)
