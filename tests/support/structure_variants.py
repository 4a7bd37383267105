"""Tiny models whose blocks differ in size, have layers of low rank, or share weights."""

from __future__ import annotations

from mpcvit.models.block import LayerRanks
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.models.transformations import Transformations
from tests.support.columns import varied
from tests.support.mlp_variants import BASE, BATCH, LAYER, channels, tokens

SC, RS, SQ = AttentionKind.SCALING, AttentionKind.RELU_SOFTMAX, AttentionKind.SQUARE
GELU, RELU, QUAD, IDENTITY = Activation.GELU, Activation.RELU, Activation.QUAD, Activation.IDENTITY
THREE = varied(BASE, heads=((SC, SC),) * 3, activation=(RELU,) * 3)

STRUCTURES: dict[str, ViTConfig] = {
    "hiddens": varied(BASE, hidden=(10, 17), gate=(channels(0, 3, 9), None)),
    "heads": varied(BASE, head_width=5, heads=((SC, RS, SC), (SQ,)), lepe=3, class_token=True),
    "masked-heads": varied(BASE, head_width=4, heads=((SQ,), (SQ, SC)), gmm=2),
    "ranks": varied(
        BASE,
        heads=((SC, SQ), (SQ, SC)),
        activation=(QUAD, RELU),
        gate=(channels(1, 5, 6), None),
        ranks=(LayerRanks(qkv=5, proj=4, fc1=6, fc2=3), LayerRanks(proj=2, fc2=7)),
    ),
    "ranks-fused": varied(
        BASE,
        activation=(RELU, IDENTITY),
        gate=(tokens(0, 4), None),
        norms=((LAYER, BATCH), (BATCH, LAYER)),
        ranks=(LayerRanks(qkv=5, fc1=6, fc2=3),) * 2,
        class_token=True,
    ),
    "sharing": varied(THREE, heads=((SC, SQ),) * 3, activation=(QUAD, QUAD, RELU), owners=(0, 0, 2), lepe=2),
    "sharing-gated": varied(
        THREE, owners=(0, 1, 1), gate=(None, channels(2, 3, 5), channels(2, 3, 5)), class_token=True
    ),
    "sharing-reduced": varied(
        THREE,
        image_size=16,
        head_width=4,
        heads=((SC, RS), (SC,), (SC,)),
        hidden=(8, 11, 11),
        owners=(0, 1, 1),
        lepe=2,
        reduction=(None, None, Reduction(kind=ReductionKind.WINDOW_POOL, keep=4)),
    ),
    "sharing-transformed": varied(
        THREE, owners=(0, 0, 2), transformations=(Transformations(), Transformations(), None), lepe=2, class_token=True
    ),
    "sharing-mixed": varied(
        THREE,
        heads=((RS, RS),) * 3,
        owners=(0, 1, 1),
        transformations=(None, *(Transformations(convolution=0),) * 2),
        gate=(None, *(tokens(0, 4),) * 2),
    ),
    "everything": varied(
        THREE,
        head_width=3,
        heads=((SC, RS, SC), (SQ,), (SQ,)),
        hidden=(9, 14, 14),
        ranks=(LayerRanks(qkv=4, fc1=3), LayerRanks(proj=2, fc1=5, fc2=6), LayerRanks(proj=2, fc1=5, fc2=6)),
        owners=(0, 1, 1),
        gate=(channels(0, 1), None, tokens(0, 1, 5)),
        lepe=3,
    ),
}
