"""MPCViT's differentiable search (Zeng et al., ICCV 2023): which heads deserve the more expensive kind of attention.

Every head is alpha * A + (1 - alpha) * B of the outputs of two kinds. Weights and alphas are trained together, with an
L1 penalty on the alphas; the largest share mu of all heads then keeps the expensive kind, the others get the cheap one,
and the result is trained anew. Differences to the released code: alphas are exempt from weight decay, which pulled them
down besides the penalty, and the penalty is weighted by what a head saves. In a plain ViT all heads save the same and
weights are 1; with a class token those of the last block save less.
"""

from __future__ import annotations

from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.pricing.table import PriceTable
from mpcvit.search.discretise import keep_top
from mpcvit.search.relaxed import Pair, RelaxedViT


def head_weights(prices: PriceTable, config: ViTConfig, pair: Pair) -> list[list[float]]:
    """Return per block and head, the seconds that the cheap kind saves, relative to their mean over blocks."""
    saved = [
        prices.head_seconds(config, block, pair[0]) - prices.head_seconds(config, block, pair[1])
        for block in range(config.depth)
    ]
    return [[weight] * len(block.heads) for weight, block in zip(relative(saved), config.blocks, strict=True)]


def relative(saved: list[float]) -> list[float]:
    """Return what every block saves in parts of the mean; all 1 where nothing is saved on the whole."""
    mean = sum(saved) / len(saved)
    return [max(one / mean, 0.0) if mean > 0 else 1.0 for one in saved]


def heads_by_mu(model: RelaxedViT, mu: float) -> ViTConfig:
    """Return the configuration in which the top share ``mu`` of all heads has the expensive kind, the rest the cheap
    one.
    """
    return model.config.with_blocks(heads=heads_chosen(model, keep_top(model.head_switches, mu)))


def blocks_by_mu(model: RelaxedViT, mu: float) -> ViTConfig:
    """Return the configuration in which the top share ``mu`` of all blocks, by their mean alpha, has expensive heads
    only.

    MPCViT tried such choices, too, and preferred single heads. But in this runtime the heads of a block run side by
    side, so that one expensive head costs as many rounds as a block of them.
    """
    means = [switch.detach().mean().reshape(1) for switch in model.head_switches]
    kept = [on * len(block.heads) for on, block in zip(keep_top(means, mu), model.config.blocks, strict=True)]
    return model.config.with_blocks(heads=heads_chosen(model, kept))


def heads_chosen(model: RelaxedViT, kept: list[list[bool]]) -> tuple[tuple[AttentionKind, ...], ...]:
    """Return the expensive kind where ``kept`` says so, block by block, the cheap one elsewhere."""
    expensive, cheap = model.pair
    return tuple(tuple(expensive if on else cheap for on in block) for block in kept)
