"""ReLU-softmax heads: comparisons on the scores, one reciprocal per row, no exponential."""

from __future__ import annotations

from mpcvit.export.attention.heads import SHARE, AttentionLowering, Heads, denominator, scores_product
from mpcvit.export.builder import Builder, Value
from mpcvit.export.normalise import normalise_rows
from mpcvit.export.parts import Role
from mpcvit.models.attention.relu_softmax import EPSILON
from mpcvit.models.kinds import AttentionKind


def lower_relu_softmax(b: Builder, name: str, heads: Heads) -> Value:
    """Return the output of ReLU-softmax heads, normalised after the product with V."""
    product = scores_product(b, name, heads)
    scores = b.rescale(f"{name}.scores", product, b.frac(f"{name}.scores"))
    # a ReLU with slack may give small negative weights; all of them together must stay above -SHARE * epsilon
    slack = min(
        b.slack(f"{name}.weights", b.precision.relu_slack), SHARE * EPSILON / heads.count + scores.type.qtype.step
    )
    with b.scope(Role.WEIGHTS):
        weights = b.relu(f"{name}.weights", scores, slack)
    total = b.sum(f"{name}.total", weights, axis=-1)
    if total.type.frac < b.precision.frac:  # coarse weights: epsilon and the reciprocal need what these do not
        total = b.widen_frac(f"{name}.fine_total", total, b.precision.frac)
    total = denominator(b, name, total, EPSILON)
    return normalise_rows(b, name, weights, total, heads.v, negative=0.0)  # epsilon makes up for negative weights


LOWERING = AttentionLowering(AttentionKind.RELU_SOFTMAX, lower_relu_softmax)
