"""Where the nodes of a Program come from in the model. Plans and digests know nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mpcvit.models.kinds import AttentionKind


class Role(StrEnum):
    """What a node does for the model.

    ``STEM`` and ``HEAD`` are what comes before the blocks and behind them. ``ATTENTION`` is what the heads of a block
    share (norm, projections, residual, reduction of tokens), ``HEADS`` one kind of them, and ``WEIGHTS`` their gate.
    ``MLP`` is everything else of a block, and ``ACTIVATION`` its gate.
    """

    STEM = "stem"
    ATTENTION = "attention"
    HEADS = "heads"
    WEIGHTS = "weights"
    MLP = "mlp"
    ACTIVATION = "activation"
    HEAD = "head"


@dataclass(frozen=True)
class Part:
    """The part of a model that a node came from.

    Attributes:
        block: its number, from 0; None before and behind the blocks.
        kind: of the heads, where the node belongs to heads of one kind alone.
    """

    role: Role
    block: int | None = None
    kind: AttentionKind | None = None
