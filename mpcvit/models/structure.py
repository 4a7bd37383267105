"""Blocks that differ in size, in the ranks of their layers, and in whose weights they use: what fits together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mpcvit.errors import ConfigError
from mpcvit.models.block import BlockConfig
from mpcvit.models.kinds import GateAxis
from mpcvit.models.token_flow import BlockTokens


def check_structure(blocks: Sequence[BlockConfig], dim: int, head_dim: int) -> None:
    """Raise ConfigError unless widths and ranks fit together.

    Args:
        dim, head_dim: widths of the residual stream and of a head.
    """
    hiddens = tuple(block.hidden for block in blocks)
    if min(hiddens) < 1:
        raise _error(f"MLPs of widths {hiddens}", "positive widths")
    for number, block in enumerate(blocks):
        for layer, (inputs, outputs) in layer_sizes(block, dim, head_dim).items():
            rank, most = getattr(block.ranks, layer), min(inputs, outputs)
            if not 0 <= rank <= most:
                raise _error(
                    f"rank {rank} of {layer} in block {number}, a matrix of {inputs} x {outputs}",
                    f"0 for an ordinary layer, or 1 to {most}",
                )


def check_sharing(blocks: Sequence[BlockConfig], tokens: Sequence[BlockTokens]) -> None:
    """Raise ConfigError unless blocks that share weights can; the rest, gates and norms included, is valid.

    A group's blocks must fold into the same matrices at export. So they have heads, activation, norms, sizes and a gate
    among channels in common. What folding puts into a matrix and training would make different in each is refused:
    the statistics of batch norms and the learnt scale of 2quad heads.

    Args:
        tokens: of every block.
    """
    if blocks[0].shares:
        raise _error("a first block that uses the weights of the block before it", "a later block that does")
    designs = [design(block, flow) for block, flow in zip(blocks, tokens, strict=True)]
    for (first, before), (second, block) in pairwise(enumerate(blocks)):
        if block.shares and designs[first] != designs[second]:
            raise _error(
                f"different blocks {first} and {second} in a group that shares weights",
                "equal heads, activations, norms, widths, ranks and gates among channels within a group, and with"
                " square heads equally many tokens",
            )
        private = any(norm.facts.private for norm in before.norms) or any(kind.facts.private for kind in before.heads)
        if block.shares and (private or before.hidden_norm):
            raise _error(
                f"batch norms or 2quad heads in block {first}, which shares weights",
                "other norms and kinds there: these put numbers of their own into the weights",
            )


def check_transformations(blocks: Sequence[BlockConfig], tokens: Sequence[BlockTokens]) -> None:
    """Raise ConfigError unless what blocks have of their own fits their heads and tokens.

    Args:
        tokens: of every block.
    """
    for number, (block, flow) in enumerate(zip(blocks, tokens, strict=True)):
        own = block.transformations
        if own is None:
            continue
        kinds = set(block.heads)
        mixable = len(kinds) == 1 and all(kind.facts.scored and not kind.facts.private for kind in kinds)
        if own.heads and not mixable:
            raise _error(
                f"mixtures of {', '.join(sorted(kinds))} heads in block {number}",
                "heads of one kind that has a score for every pair of tokens, and not 2quad",
            )
        if own.convolution and flow.mlp.side is None:
            raise _error(f"a convolution in block {number}, where tokens have been selected", "a grid of patches")


def layer_sizes(block: BlockConfig, dim: int, head_dim: int) -> dict[str, tuple[int, int]]:
    """Return inputs and outputs of a block's linear layers, by name."""
    inner = block.inner(head_dim)
    return {
        "qkv": (dim, 3 * inner),
        "proj": (inner, dim),
        "fc1": (dim, block.hidden),
        "fc2": (block.hidden, dim),
    }


def design(block: BlockConfig, tokens: BlockTokens) -> tuple[object, ...]:
    """Return everything about a block that decides what folding makes of its weights.

    Blocks that share have it in common.
    """
    gate = block.gate
    counts_keys = any(kind.facts.counts_keys for kind in block.heads)
    return (
        block.heads,
        block.activation,
        block.norms,
        block.hidden_norm,
        block.post_relu,
        block.hidden,
        block.ranks,
        gate if gate is not None and gate.axis is GateAxis.CHANNEL else None,
        tokens.attention.count if counts_keys else None,
        block.transformations,
    )


def _error(got: str, expected: str) -> ConfigError:
    return ConfigError(got, expected=expected, remedy="Correct the model configuration.")
