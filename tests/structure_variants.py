"""Tiny models whose blocks differ in size, have layers of low rank, or share weights."""

from __future__ import annotations

from dataclasses import replace

from mpcvit.models.config import Activation, AttentionKind, ViTConfig
from mpcvit.models.structure import Ranks
from mpcvit.models.token_flow import Reduction, ReductionKind
from tests.mlp_variants import BASE, BATCH, LAYER, channels, tokens

SC, RS, SQ = AttentionKind.SCALING, AttentionKind.RELU_SOFTMAX, AttentionKind.SQUARE
GELU, RELU, QUAD, IDENTITY = Activation.GELU, Activation.RELU, Activation.QUAD, Activation.IDENTITY
THREE = replace(BASE, heads=((SC, SC),) * 3, activations=(RELU,) * 3)

STRUCTURES: dict[str, ViTConfig] = {
    "hiddens": replace(BASE, hiddens=(10, 17), gates=(channels(0, 3, 9), None)),
    "heads": replace(BASE, head_width=5, heads=((SC, RS, SC), (SQ,)), lepe=3, class_token=True),
    "masked-heads": replace(BASE, head_width=4, heads=((SQ,), (SQ, SC)), gmm=2),
    "ranks": replace(
        BASE,
        heads=((SC, SQ), (SQ, SC)),
        activations=(QUAD, RELU),
        gates=(channels(1, 5, 6), None),
        ranks=(Ranks(qkv=5, proj=4, fc1=6, fc2=3), Ranks(proj=2, fc2=7)),
    ),
    "ranks-fused": replace(
        BASE,
        activations=(RELU, IDENTITY),
        gates=(tokens(0, 4), None),
        norms=((LAYER, BATCH), (BATCH, LAYER)),
        ranks=(Ranks(qkv=5, fc1=6, fc2=3),) * 2,
        class_token=True,
    ),
    "sharing": replace(THREE, heads=((SC, SQ),) * 3, activations=(QUAD, QUAD, RELU), sharing=(0, 0, 2), lepe=2),
    "sharing-gated": replace(
        THREE, sharing=(0, 1, 1), gates=(None, channels(2, 3, 5), channels(2, 3, 5)), class_token=True
    ),
    "sharing-reduced": replace(
        THREE,
        image_size=16,
        head_width=4,
        heads=((SC, RS), (SC,), (SC,)),
        hiddens=(8, 11, 11),
        sharing=(0, 1, 1),
        lepe=2,
        reductions=(None, None, Reduction(kind=ReductionKind.WINDOW_POOL, keep=4)),
    ),
    "everything": replace(
        THREE,
        head_width=3,
        heads=((SC, RS, SC), (SQ,), (SQ,)),
        hiddens=(9, 14, 14),
        ranks=(Ranks(qkv=4, fc1=3), Ranks(proj=2, fc1=5, fc2=6), Ranks(proj=2, fc1=5, fc2=6)),
        sharing=(0, 1, 1),
        gates=(channels(0, 1), None, tokens(0, 1, 5)),
        lepe=3,
    ),
}
