"""What all passes that reduce tokens share: how many to keep, and a model with its weights in a new configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import ReductionKind
from mpcvit.models.token_flow import Reduction, Tokens
from mpcvit.models.vit import VisionTransformer

#: What reduces so many tokens in a block; None for nothing.
Choose = Callable[[Tokens], Reduction | None]


def check_blocks(blocks: Sequence[int]) -> None:
    """Raise ConfigError unless ``blocks`` are some, ascending from 0."""
    whole = all(isinstance(block, int) and not isinstance(block, bool) for block in blocks)
    if not whole or not blocks or blocks[0] < 0 or any(first >= second for first, second in pairwise(blocks)):
        raise ConfigError(
            f"a reduction in blocks {tuple(blocks)}",
            expected="whole numbers of at least one block, each once, ascending from 0",
            remedy="Correct the numbers of the blocks.",
        )


def check_ratio(ratio: float) -> None:
    """Raise ConfigError unless ``ratio`` is in (0, 1]."""
    if not 0 < ratio <= 1:
        raise ConfigError(
            f"a ratio of {ratio}", expected="above 0 and at most 1", remedy="Give the share of the tokens that is kept."
        )


def selection(kind: ReductionKind, ratio: float, tokens: Tokens) -> Reduction | None:
    """Return what keeps the share ``ratio`` of ``tokens``, rounded up, besides a class token.

    None if that drops fewer than two: one more token stands for those that are dropped.
    """
    keep = tokens.own + ceil(ratio * (tokens.count - tokens.own))
    return Reduction(kind=kind, keep=keep) if keep + 1 < tokens.count else None


def with_reductions(config: ViTConfig, blocks: Collection[int], choose: Choose) -> ViTConfig:
    """Return ``config`` with a reduction more in each of ``blocks``, chosen by the tokens there, the earlier ones
    reduced.

    Raises:
        ConfigError: there is no such block, it has a reduction already, or something there does not go with it.
    """
    missing = [block for block in blocks if not 0 <= block < config.depth]
    if missing:
        raise ConfigError(
            f"reductions in blocks {missing} of a model with {config.depth}",
            expected=f"blocks from 0 to {config.depth - 1}",
            remedy="Correct the numbers of the blocks.",
        )
    for block in sorted(blocks):
        before = config.blocks[block]
        if before.reduction is not None:
            raise ConfigError(
                f"a second reduction in block {block}", expected="at most one", remedy="Choose another block."
            )
        after = replace(before, reduction=choose(config.block_tokens[block].entry))
        config = replace(config, blocks=(*config.blocks[:block], after, *config.blocks[block + 1 :]))
    return config


def reduced(model: VisionTransformer, config: ViTConfig) -> VisionTransformer:
    """Return a model of ``config``, which differs from ``model``'s in reductions alone, with its weights.

    Selectors are new.

    Convolutions of V in blocks whose tokens are no grid any more are left out.

    Raises:
        ConfigError: a weight depends on the number of tokens, which has changed; or ``model`` has other weights than
            its configuration says.
    """
    result = VisionTransformer(config)
    weights, own = model.state_dict(), result.state_dict()
    changed = sorted(name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape)
    if changed:
        raise ConfigError(
            f"weights of other shapes with fewer tokens: {', '.join(changed[:3])}",
            expected="attention whose weights do not depend on the number of tokens",
            remedy="Reduce tokens in later blocks, or train a model of that configuration from the start.",
        )
    lost = sorted(name for name in weights.keys() - own.keys() if ".lepe." not in name)
    if lost:
        raise ConfigError(
            f"a model with {', '.join(lost[:3])}",
            expected="only the weights of its configuration",
            remedy="Reduce tokens before what added these, a quantization for instance.",
        )
    result.load_state_dict({**own, **{name: value for name, value in weights.items() if name in own}})
    example = next(model.parameters())
    return result.to(device=example.device, dtype=example.dtype)
