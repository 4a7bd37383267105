"""Which models become integer ones: those without what compression passes put into blocks."""

from __future__ import annotations

from mpcvit.errors import ConfigError
from mpcvit.models.block import FULL
from mpcvit.models.config import ViTConfig


def check_plain_blocks(config: ViTConfig) -> None:
    """Raise ConfigError if blocks have layers of low rank, lose tokens or have heads of a width of their own, or there
    are more tokens than patches and a class token.
    """
    foreign = {
        "layers of low rank": any(block.ranks != FULL for block in config.blocks),
        "token reductions": any(block.reduction is not None for block in config.blocks),
        "heads of a width of their own": config.head_width not in (0, config.dim // config.head_count),
        "blocks with different numbers of heads": len({len(block.heads) for block in config.blocks}) > 1,
        "registers or prompts": config.extra_tokens > 0,
        "a denoiser": config.denoiser,
        "ReLUs behind MLPs": any(block.post_relu for block in config.blocks),
        "transformations of blocks' own": any(block.transformations is not None for block in config.blocks),
        "batch norms behind activations": any(block.hidden_norm for block in config.blocks),
    }
    found = [what for what, there in foreign.items() if there]
    if found:
        raise ConfigError(
            f"a model with {', '.join(found)}",
            expected="blocks of ordinary layers and equal heads, through which all tokens go",
            remedy="Use the model as it was before it was compressed, or another method.",
        )
