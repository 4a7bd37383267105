"""Which blocks relevance and the integer graph know: those without what compression passes put into them."""

from __future__ import annotations

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig


def check_plain_blocks(config: ViTConfig) -> None:
    """Raise ConfigError if blocks have layers of low rank, lose tokens, or have heads of a width of their own."""
    foreign = {
        "layers of low rank": bool(config.ranks),
        "token reductions": any(reduction is not None for reduction in config.block_reductions),
        "heads of a width of their own": config.head_width not in (0, config.dim // config.head_count),
        "blocks with different numbers of heads": len({len(block) for block in config.heads}) > 1,
    }
    found = [what for what, there in foreign.items() if there]
    if found:
        raise ConfigError(
            f"a model with {', '.join(found)}",
            expected="blocks of ordinary layers and equal heads, through which all tokens go",
            remedy="Use the model as it was before it was compressed, or another method.",
        )
