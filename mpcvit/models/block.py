"""What one block of a ViT is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

from mpcvit.errors import ConfigError
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis, Norm
from mpcvit.models.token_flow import Reduction
from mpcvit.models.transformations import Transformations


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Where a block's activation is applied; elsewhere the value passes through unchanged.

    Tokens: MPCViT+ (per block). Channels of the MLP: the idle channels of RePaViT.

    Attributes:
        axis: what ``kept`` numbers. Token 0 is the class token where there is one.
        kept: the positions with activation, ascending, at least one.

    Raises:
        ConfigError: no position, a negative one, one twice, or not in order.
    """

    axis: GateAxis
    kept: tuple[int, ...]

    def __post_init__(self) -> None:
        ordered = all(first < second for first, second in pairwise(self.kept))
        if not self.kept or self.kept[0] < 0 or not ordered:
            raise ConfigError(
                f"a gate that keeps {self.axis}s {self.kept}",
                expected="at least one position, each once, ascending from 0",
                remedy="Sort the positions; where nothing is kept, make the block's activation 'identity'.",
            )


@dataclass(frozen=True, kw_only=True)
class LayerRanks:
    """LayerRanks of a block's linear layers; 0 is an ordinary layer.

    A layer of rank r is two, of r columns and r rows (:class:`mpcvit.models.low_rank.LowRank`).
    """

    qkv: int = 0
    proj: int = 0
    fc1: int = 0
    fc2: int = 0


#: No factors.
FULL = LayerRanks()


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """One block.

    Attributes:
        heads: the kind of each head, at least one.
        activation: of the MLP.
        hidden: width of the MLP.
        gate: where the activation is applied; None for everywhere.
        norms: before the attention, and before the MLP.
        ranks: of the linear layers.
        reduction: how the block gets rid of tokens, or None.
        hidden_norm: whether a batch norm stands behind the MLP's activation (:mod:`mpcvit.models.hidden_norm`).
        post_relu: whether tokens without activation, by a gate over tokens or because there is none, get a ReLU behind
            the MLP (MPCViT+, ICCV 2023).
        shares: whether it uses the matrices of the block before it, and so those of the first block of its group
            (:mod:`mpcvit.models.sharing`).
        transformations: what it has of its own where it shares (:mod:`mpcvit.models.transformations`); None for
            biases alone.

    Raises:
        ConfigError: there are not two norms.
    """

    heads: tuple[AttentionKind, ...]
    activation: Activation
    hidden: int
    gate: Gate | None = None
    norms: tuple[Norm, Norm] = (Norm.LAYERNORM, Norm.LAYERNORM)
    ranks: LayerRanks = FULL
    reduction: Reduction | None = None
    hidden_norm: bool = False
    post_relu: bool = False
    shares: bool = False
    transformations: Transformations | None = None

    def __post_init__(self) -> None:
        if len(self.norms) != 2:
            raise ConfigError(
                f"{len(self.norms)} norms in a block", expected="attention's and MLP's", remedy="Give a pair per block."
            )

    def inner(self, head_dim: int) -> int:
        """Return the width of all heads together, each ``head_dim`` wide."""
        return len(self.heads) * head_dim


def with_columns(blocks: Sequence[BlockConfig], **columns: Sequence[Any]) -> tuple[BlockConfig, ...]:
    """Return ``blocks`` with fields replaced.

    Each keyword names a field of :class:`BlockConfig`, and has a value per block.

    Raises:
        ConfigError: there is no such field, or not one value per block.
    """
    unknown = columns.keys() - {field.name for field in fields(BlockConfig)}
    lengths = {name: len(values) for name, values in columns.items()}
    if unknown or any(length != len(blocks) for length in lengths.values()):
        raise ConfigError(
            f"{lengths} for {len(blocks)} blocks",
            expected="fields of BlockConfig, and one value per block",
            remedy="Correct the model configuration.",
        )
    return tuple(
        replace(block, **{name: values[number] for name, values in columns.items()})
        for number, block in enumerate(blocks)
    )
