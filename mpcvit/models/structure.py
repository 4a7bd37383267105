"""Blocks that differ in size, in the ranks of their layers, and in whose weights they use: what fits together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from operator import index
from typing import TYPE_CHECKING, Any

from mpcvit.errors import ConfigError

if TYPE_CHECKING:
    from mpcvit.models.config import ViTConfig


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Ranks of a block's linear layers; 0 is an ordinary layer.

    A layer of rank r is two, of r columns and r rows (:class:`mpcvit.models.low_rank.LowRank`).
    """

    qkv: int = 0
    proj: int = 0
    fc1: int = 0
    fc2: int = 0

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Ranks:
        """The ranks that ``dataclasses.asdict`` wrote."""
        return cls(**{name: index(rank) for name, rank in document.items()})


#: No factors.
FULL = Ranks()


def check_structure(config: ViTConfig) -> None:
    """Raise ConfigError unless widths, ranks and sharing fit the rest, which is valid but for gates and norms."""
    for name in ("hiddens", "ranks", "sharing"):
        length = len(getattr(config, name))
        if length not in (0, config.depth):
            raise _error(f"{length} {name} for {config.depth} blocks", f"one of the {name} per block, or none")
    if min(config.block_hiddens) < 1:
        raise _error(f"MLPs of widths {config.hiddens}", "positive widths")
    for number, ranks in enumerate(config.ranks):
        for layer, (inputs, outputs) in layer_sizes(config, number).items():
            rank, most = getattr(ranks, layer), min(inputs, outputs)
            if not 0 <= rank <= most:
                raise _error(
                    f"rank {rank} of {layer} in block {number}, a matrix of {inputs} x {outputs}",
                    f"0 for an ordinary layer, or 1 to {most}",
                )


def check_sharing(config: ViTConfig) -> None:
    """Raise ConfigError unless blocks that share weights can; the rest, gates and norms included, is valid.

    A group's blocks must fold into the same matrices at export. So they have heads, activation, norms, sizes and a gate
    among channels in common. What folding puts into a matrix and training would make different in each is refused:
    the statistics of batch norms and the learnt scale of 2quad heads.
    """
    owners = config.sharing
    if any(owner != number and (number == 0 or owner != owners[number - 1]) for number, owner in enumerate(owners)):
        raise _error(
            f"blocks that use the weights of blocks {owners}",
            "groups of neighbouring blocks, each block naming the first one of its group",
        )
    for first, second in pairwise(range(len(owners))):
        if owners[first] == owners[second] and design(config, first) != design(config, second):
            raise _error(
                f"different blocks {first} and {second} in a group that shares weights",
                "equal heads, activations, norms, widths, ranks and gates among channels within a group, and with"
                " square heads equally many tokens",
            )
    for number, owner in enumerate(owners):
        if owners.count(owner) > 1 and ("batchnorm" in config.block_norms[number] or "2quad" in config.heads[number]):
            raise _error(
                f"batch norms or 2quad heads in block {number}, which shares weights",
                "other norms and kinds there: these put numbers of their own into the weights",
            )


def layer_sizes(config: ViTConfig, block: int) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of a block's linear layers, by name."""
    inner, hidden = config.inner(block), config.block_hiddens[block]
    return {
        "qkv": (config.dim, 3 * inner),
        "proj": (inner, config.dim),
        "fc1": (config.dim, hidden),
        "fc2": (hidden, config.dim),
    }


def design(config: ViTConfig, block: int) -> tuple[object, ...]:
    """Everything about a block that decides what folding makes of its weights; blocks that share have it in common."""
    gate = config.block_gates[block]
    return (
        config.heads[block],
        config.activations[block],
        config.block_norms[block],
        config.block_hiddens[block],
        config.block_ranks[block],
        gate if gate is not None and gate.axis == "channel" else None,
        # square heads have their number of keys in the queries' weights
        config.block_tokens[block].attention.count if "square" in config.heads[block] else None,
    )


def _error(got: str, expected: str) -> ConfigError:
    return ConfigError(got, expected=expected, remedy="Correct the model configuration.")
