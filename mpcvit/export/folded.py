"""What folding makes of a ViT's weights (:mod:`mpcvit.export.fold`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mpcvit.export.affine import Affine
from mpcvit.export.fold_mlp import FoldedMlp
from mpcvit.export.fold_prompts import FoldedPrompts
from mpcvit.export.fold_reduction import FoldedReduction
from mpcvit.export.fold_transformations import FoldedMixing, OwnInput
from mpcvit.export.normalise import Division
from mpcvit.models.attention import AttentionKernel
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind
from mpcvit.models.token_flow import BlockTokens


@dataclass(frozen=True)
class HeadGroup:
    """The heads of one kind in a block.

    Attributes:
        kind: of all of them.
        count: how many.
        kernel: the model's module for them, float64.
        mask: [count, N, M] that multiplies their scores, float64; None for none.
    """

    kind: AttentionKind
    count: int
    kernel: AttentionKernel
    mask: torch.Tensor | None


@dataclass(frozen=True)
class FoldedBlock:
    """One block's weights after folding.

    Attributes:
        norm: what is left to do of the norm before the attention.
        groups: in the order in which heads now lie.
        qkv: columns are all queries, then all keys, then all values.
        lepe: [filters, N, N], each for equally many neighbouring columns of the values, float64; None for none.
        query_gains: [D], what the heads' kinds have put into the query columns besides their scale.
        tokens: in the block.
        own: what stands between the norm and ``qkv``, where the block has a gain of its own; else None.
        mixing: of the heads, where the block has that; else None.
    """

    norm: Division | None
    groups: tuple[HeadGroup, ...]
    qkv: Affine
    proj: Affine
    mlp: FoldedMlp
    lepe: torch.Tensor | None
    query_gains: torch.Tensor
    tokens: BlockTokens
    reduction: FoldedReduction | None
    own: OwnInput | None = None
    mixing: FoldedMixing | None = None


@dataclass(frozen=True)
class FoldedViT:
    """A ViT whose norms are a division by the root mean square, or nothing.

    Attributes:
        denoiser: what is added to every token before the last block, float64 [N, D]; None for nothing.
    """

    config: ViTConfig
    embed: Affine
    blocks: tuple[FoldedBlock, ...]
    norm: Division | None
    head: Affine
    prompts: FoldedPrompts | None = None
    denoiser: torch.Tensor | None = None
