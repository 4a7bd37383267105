"""The kinds that a ViT's parts come in, and what other code has to know of each: one table per family."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AttentionKind(StrEnum):
    """What one head does with its scores S = Q K^T / sqrt(d)."""

    SOFTMAX = "softmax"
    RELU_SOFTMAX = "relu_softmax"
    SCALING = "scaling"
    SQUARE = "square"
    QUAD2 = "2quad"
    LINEAR_RELU = "linear_relu"
    LINFORMER = "linformer"
    THEX = "thex"
    POOLED_KV = "pooled_kv"

    @property
    def facts(self) -> AttentionFacts:
        """The kind's row in :data:`ATTENTION`."""
        return ATTENTION[self]


@dataclass(frozen=True, kw_only=True)
class AttentionFacts:
    """A kind of heads.

    Attributes:
        scored: there is a score for every pair of tokens, which a mask can multiply.
        placed: has weights or windows that belong to places, which selected tokens do not have.
        pooled: averages keys and values to a grid of ``pooled_side``.
        per_head: what its kernel learns is a number per head; else the heads of a block share it.
        private: folds numbers of its own into the query weights, so that blocks cannot share these.
        counts_keys: folds the number of keys into the query weights.
        bilinear: its output is the mean of (q . k) v, a product of weights alone.
    """

    scored: bool = True
    placed: bool = False
    pooled: bool = False
    per_head: bool = False
    private: bool = False
    counts_keys: bool = False
    bilinear: bool = False


ATTENTION: dict[AttentionKind, AttentionFacts] = {
    AttentionKind.SOFTMAX: AttentionFacts(),
    AttentionKind.RELU_SOFTMAX: AttentionFacts(),
    AttentionKind.SCALING: AttentionFacts(bilinear=True),
    AttentionKind.SQUARE: AttentionFacts(counts_keys=True),
    AttentionKind.QUAD2: AttentionFacts(per_head=True, private=True),
    AttentionKind.LINEAR_RELU: AttentionFacts(scored=False),
    AttentionKind.LINFORMER: AttentionFacts(scored=False, placed=True),
    AttentionKind.THEX: AttentionFacts(placed=True),
    AttentionKind.POOLED_KV: AttentionFacts(scored=False, placed=True, pooled=True),
}


class Activation(StrEnum):
    """What an MLP does between its two linear layers."""

    GELU = "gelu"
    RELU = "relu"
    QUAD = "quad"
    IDENTITY = "identity"

    @property
    def facts(self) -> ActivationFacts:
        """The kind's row in :data:`ACTIVATION`."""
        return ACTIVATION[self]


@dataclass(frozen=True, kw_only=True)
class ActivationFacts:
    """An activation.

    Attributes:
        gate: runs on every value by itself and within a tolerance; others fold into the layers around them, all of
            them or but for a square.
        contracting: |act(h)| <= |h|.
    """

    gate: bool = False
    contracting: bool = False


ACTIVATION: dict[Activation, ActivationFacts] = {
    Activation.GELU: ActivationFacts(gate=True, contracting=True),
    Activation.RELU: ActivationFacts(gate=True, contracting=True),
    Activation.QUAD: ActivationFacts(),
    Activation.IDENTITY: ActivationFacts(contracting=True),
}


class Norm(StrEnum):
    """What a block's branch does to the residual stream before its first linear layer, the mean being removed."""

    LAYERNORM = "layernorm"
    BATCHNORM = "batchnorm"
    AFFINE = "affine"

    @property
    def facts(self) -> NormFacts:
        """The kind's row in :data:`NORM`."""
        return NORM[self]


@dataclass(frozen=True, kw_only=True)
class NormFacts:
    """A norm.

    Attributes:
        private: folds statistics of its own into the matrix behind it, so that blocks cannot share that.
    """

    private: bool = False


NORM: dict[Norm, NormFacts] = {
    Norm.LAYERNORM: NormFacts(),
    Norm.BATCHNORM: NormFacts(private=True),
    Norm.AFFINE: NormFacts(),
}


class ReductionKind(StrEnum):
    """How a block gets rid of tokens."""

    EVIT = "evit"
    SPVIT = "spvit"
    WINDOW_POOL = "window_pool"

    @property
    def facts(self) -> ReductionFacts:
        """The kind's row in :data:`REDUCTION`."""
        return REDUCTION[self]


@dataclass(frozen=True, kw_only=True)
class ReductionFacts:
    """A reduction of tokens.

    Attributes:
        selects: keeps the best tokens and adds one that stands for the others; behind it there is no grid of patches.
            Else averages over windows of the grid, which is linear.
        behind_attention: stands between attention and MLP, whose queries and keys it reads; else at the block's entry.
    """

    selects: bool = False
    behind_attention: bool = False


REDUCTION: dict[ReductionKind, ReductionFacts] = {
    ReductionKind.EVIT: ReductionFacts(selects=True, behind_attention=True),
    ReductionKind.SPVIT: ReductionFacts(selects=True),
    ReductionKind.WINDOW_POOL: ReductionFacts(),
}


class Ranking(StrEnum):
    """What EViT ranks tokens by, and how those that it drops become one (:mod:`mpcvit.models.reduction.evit`)."""

    PRODUCTS = "products"
    ATTENTION = "attention"


class GateAxis(StrEnum):
    """What a gate chooses among."""

    TOKEN = "token"  # noqa: S105 - not a password
    CHANNEL = "channel"
