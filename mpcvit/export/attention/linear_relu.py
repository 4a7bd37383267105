"""Linear ReLU heads: comparisons on Q and K, two small products, one reciprocal per row.

ReLUs are exact here. With slack, a small negative query would meet sums of keys, and nothing would keep denominators
positive; exact ReLUs make every summand nonnegative, so that the reciprocal's range is proven. Numerator and
denominator are divided by 2^e <= M, which costs nothing and cancels.
"""

from __future__ import annotations

from mpcvit.export.attention.heads import AttentionLowering, Heads, denominator
from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import normalise_rows
from mpcvit.models.attention.linear_relu import EPSILON
from mpcvit.models.kinds import AttentionKind


def lower_linear_relu(b: Builder, name: str, heads: Heads) -> Value:
    """Return the output of linear ReLU heads, normalised after the product with V."""
    exponent = heads.exponent
    queries = b.relu(f"{name}.relu_queries", heads.q, heads.q.type.qtype.step)
    keys = b.relu(f"{name}.relu_keys", heads.keys, heads.keys.type.qtype.step)
    context = _mean(b, f"{name}.context", b.matmul(f"{name}.context_product", keys, heads.v), exponent)
    key_sum = b.sum(f"{name}.key_sum", keys, axis=-1)
    total = _mean(b, f"{name}.total", b.matmul(f"{name}.total_product", queries, key_sum), exponent)
    total = denominator(b, name, total, EPSILON * heads.count / 2**exponent)
    return normalise_rows(b, name, queries, total, context)


def _mean(b: Builder, name: str, x: Value, exponent: int) -> Value:
    """Return x / 2**exponent at ordinary precision."""
    return b.rescale(name, b.scale(f"{name}_scaled", x, 2.0**-exponent, exponent))


LOWERING = AttentionLowering(AttentionKind.LINEAR_RELU, lower_linear_relu)
