"""ReLU-softmax heads: comparisons on the scores, one reciprocal per row, no exponential."""

from __future__ import annotations

from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import normalise_rows
from mpcvit.models.attention.relu_softmax import EPSILON

#: Share of the denominator's epsilon that a row of negative weights may use up.
_SHARE = 0.75


def lower_relu_softmax(b: Builder, name: str, q: Value, keys: Value, v: Value) -> Value:
    """Output of ReLU-softmax heads, normalised after the product with V."""
    scores = b.rescale(f"{name}.scores", b.matmul(f"{name}.scores_product", q, keys))
    keys_count = scores.type.shape[-1]
    # a ReLU with slack may give small negative weights; all of them together must stay above -epsilon
    slack = min(b.precision.relu_slack, _SHARE * EPSILON / keys_count + scores.type.qtype.step)
    weights = b.relu(f"{name}.weights", scores, slack)
    total = b.sum(f"{name}.total", weights, axis=-1)
    bounds = ((1 - _SHARE) * EPSILON, EPSILON + total.type.qtype.hi)
    total = b.offset(f"{name}.denominator", total, EPSILON, bounds)
    return normalise_rows(b, name, weights, total, v)
