"""How dynamic prompts become ops: a GELU of a narrow layer of every patch, and a softmax over patches per prompt."""

from __future__ import annotations

from mpcvit.export.attention.softmax import softmax_mix
from mpcvit.export.builder import Builder, Value
from mpcvit.export.fold_prompts import FoldedPrompts
from mpcvit.export.mlp import gelu_layer
from mpcvit.export.normalise import normed


def lower_prompts(b: Builder, name: str, patches: Value, prompts: FoldedPrompts) -> Value:
    """Return the prompts [P, D] of the embedded ``patches`` [N, D], at the precision of these."""
    tokens, width = patches.type.shape[-2], prompts.queries.shape[0]
    _, hidden = gelu_layer(b, name, normed(b, f"{name}.norm_fc1", patches, prompts.norm), prompts.down)
    product = b.linear(f"{name}.scores_product", hidden, prompts.queries)
    scores = b.permute(f"{name}.by_prompt", b.rescale(f"{name}.scores", product), 1, 0)
    count = scores.type.shape[0]
    mixed = softmax_mix(
        b,
        f"{name}.attention",
        b.reshape(f"{name}.scores_head", scores, 1, count, tokens),
        b.reshape(f"{name}.values_head", hidden, 1, tokens, width),
    )
    read = b.reshape(f"{name}.read", mixed, count, width)
    return b.rescale(name, b.wide_affine(name, read, prompts.up.weight, prompts.up.bias), patches.type.frac)
