"""SPViT: the selector is a small MLP with two GELUs; averaging over tokens is local and commutes with its layer."""

from __future__ import annotations

from mpcvit.export.activation.gelu import lower_gelu
from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_reduction import FoldedReduction, FoldedSelector
from mpcvit.export.normalise import normed, read_affine
from mpcvit.export.reduction.lowering import Read, ReductionLowering
from mpcvit.export.reduction.selection import SCORE_MARGIN, keep_and_fuse
from mpcvit.models.kinds import ReductionKind


def lower_spvit(b: Builder, name: str, x: Value, reduction: FoldedReduction, attention: Read | None = None) -> Value:
    """Return the tokens of ``x`` that enter the block."""
    assert reduction.selector is not None  # noqa: S101 - folded with its kind
    own, count = reduction.before.own, reduction.before.count
    rest = b.slice(f"{name}.read", x, -2, own, count) if own else x
    return keep_and_fuse(b, name, x, _logits(b, f"{name}.selector", rest, reduction.selector), reduction)


def _logits(b: Builder, name: str, x: Value, selector: FoldedSelector) -> Value:
    """Return [N]: the logits but for a constant."""
    part = len(selector.bias)
    stream = normed(b, f"{name}.norm", x, selector.norm)
    embedded = b.rescale(f"{name}.embed", read_affine(b, f"{name}.norm_embed", stream, selector.embed))
    embedded = lower_gelu(b, f"{name}.embedded", embedded)
    local = b.linear(f"{name}.local", b.slice(f"{name}.first", embedded, -1, 0, part), selector.local)
    total = b.sum(f"{name}.total", b.slice(f"{name}.second", embedded, -1, part, 2 * part), axis=-2)
    average = b.linear(f"{name}.average", total, selector.average)
    most = max(local.type.frac, average.type.frac)
    mixed = b.add(
        f"{name}.merged",
        b.widen_frac(f"{name}.local_aligned", local, most),
        b.widen_frac(f"{name}.average_aligned", average, most),
    )
    mixed = b.add(f"{name}.mixed", mixed, b.parameter(f"{name}.mix.bias", selector.bias, most))
    mixed = lower_gelu(b, f"{name}.activated", b.rescale(f"{name}.mix", mixed))
    product = b.linear(f"{name}.score.matmul", mixed, selector.score, margin=SCORE_MARGIN)
    scores = b.rescale(f"{name}.score", product)
    return b.reshape(f"{name}.logits", scores, x.type.shape[-2])


LOWERING = ReductionLowering(ReductionKind.SPVIT, lower_spvit)
