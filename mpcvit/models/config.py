"""What a ViT is made of, as data that a search can produce and a file can hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from operator import index
from typing import Any

from mpcvit.errors import ConfigError
from mpcvit.models.structure import FULL, Ranks, check_sharing, check_structure
from mpcvit.models.token_flow import BlockTokens, Tokens, token_flow
from mpcvit.models.token_flow import Reduction as Reduction
from mpcvit.models.token_flow import ReductionKind as ReductionKind


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


#: Kinds without a score for every pair of tokens, so that a mask on the scores has nothing to multiply.
UNMASKED = frozenset({AttentionKind.LINEAR_RELU, AttentionKind.LINFORMER, AttentionKind.POOLED_KV})
#: Kinds with weights or windows that belong to places, which selected tokens do not have.
PLACED = frozenset({AttentionKind.LINFORMER, AttentionKind.THEX, AttentionKind.POOLED_KV})


class Activation(StrEnum):
    """What an MLP does between its two linear layers."""

    GELU = "gelu"
    RELU = "relu"
    QUAD = "quad"
    IDENTITY = "identity"


class Norm(StrEnum):
    """What a block's branch does to the residual stream before its first linear layer, the mean being removed."""

    LAYERNORM = "layernorm"
    BATCHNORM = "batchnorm"
    AFFINE = "affine"


class GateAxis(StrEnum):
    """What a gate chooses among."""

    TOKEN = "token"  # noqa: S105 - not a password
    CHANNEL = "channel"


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

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Gate:
        """The gate that ``dataclasses.asdict`` wrote."""
        return cls(**{**document, "axis": GateAxis(document["axis"]), "kept": tuple(map(index, document["kept"]))})


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """A pre-norm ViT with norm and linear head on the mean token, or on a class token.

    Attributes:
        image_size: side of the square input, pixels; a multiple of ``patch_size``.
        patch_size: side of a square patch, pixels.
        classes: number of labels.
        dim: width of the residual stream; a multiple of the number of heads unless ``head_width`` is set.
        hidden: width of each MLP, unless ``hiddens`` is set.
        heads: per block, the kind of each head; all blocks have equally many unless ``head_width`` is set.
        activations: per block, the activation of its MLP.
        channels: colour channels of the input.
        class_token: whether a learnt token is put before the patches, and read by the head instead of the mean.
        gates: per block, where its activation is applied, or None for everywhere; empty for no gates at all.
        norms: per block, the norm before the attention and that before the MLP; empty for layer norms only.
        linformer_rank: rows of the matrices that project keys and values of linformer heads.
        pooled_side: side of the grid that keys and values of pooled_kv heads are averaged to.
        gmm: Gaussians per head of the mask on its scores; 0 for no mask.
        lepe: convolution filters that are applied to V and added to the attention of a block with ``head_count`` heads,
            of which it is a multiple; equally many for every head, and for blocks with fewer heads accordingly fewer.
            Filters of a head divide ``head_dim``. 0 for none. Blocks whose tokens are no grid have none.
        head_width: width of a head; 0 for ``dim`` divided by the number of heads. Where it is set, the heads of a block
            together may be narrower or wider than ``dim``, and blocks may have different numbers of them.
        hiddens: per block, the width of its MLP; empty for ``hidden`` everywhere.
        ranks: per block, the ranks of its linear layers; empty for ordinary layers.
        sharing: per block, the number of the block whose matrices it uses, which is its own or, within a group of
            neighbours, the group's first (:mod:`mpcvit.models.sharing`); empty for a model in which all are its own.
        norm_epsilon: what layer norms add to the variance; positive.
        reductions: per block, how it gets rid of tokens, or None; empty for no reductions at all.

    Raises:
        ConfigError: the numbers do not fit together.
    """

    image_size: int
    patch_size: int
    classes: int
    dim: int
    hidden: int
    heads: tuple[tuple[AttentionKind, ...], ...]
    activations: tuple[Activation, ...]
    channels: int = 3
    class_token: bool = False
    gates: tuple[Gate | None, ...] = ()
    norms: tuple[tuple[Norm, Norm], ...] = ()
    linformer_rank: int = 16
    pooled_side: int = 4
    gmm: int = 0
    lepe: int = 0
    head_width: int = 0
    hiddens: tuple[int, ...] = ()
    ranks: tuple[Ranks, ...] = ()
    sharing: tuple[int, ...] = ()
    norm_epsilon: float = 1e-4
    reductions: tuple[Reduction | None, ...] = ()

    def __post_init__(self) -> None:
        sizes = (self.image_size, self.patch_size, self.classes, self.dim, self.hidden, self.channels)
        widths = {len(block) for block in self.heads}
        problems = [
            (min(sizes) < 1, f"sizes {sizes}", "positive sizes"),
            (
                self.patch_size < 1 or self.image_size % max(self.patch_size, 1) != 0,
                f"image {self.image_size} and patch {self.patch_size}",
                "an image size that the patch size divides",
            ),
            (
                not widths or 0 in widths or (len(widths) > 1 and self.head_width == 0),
                f"blocks with {sorted(widths)} heads",
                "equally many heads (at least one) in every block, or head_width and at least one",
            ),
            (self.head_width < 0, f"head_width {self.head_width}", "a positive width, or 0"),
            (
                len(self.activations) != len(self.heads),
                f"{len(self.activations)} activations for {len(self.heads)} blocks",
                "one activation per block",
            ),
            (not self.norm_epsilon > 0, f"norm_epsilon {self.norm_epsilon}", "a positive number"),
        ]
        if len(widths) == 1 and 0 not in widths and self.head_width == 0:
            problems.append(
                (
                    self.dim % self.head_count != 0,
                    f"dim {self.dim} for {self.head_count} heads",
                    "a width that the number of heads divides",
                )
            )
        for wrong, got, expected in problems:
            if wrong:
                raise ConfigError(got, expected=expected, remedy="Correct the model configuration.")
        check_structure(self)
        _check_gates_and_norms(self)
        _check_attention_options(self)
        check_sharing(self)
        _check_grids(self)

    @classmethod
    def uniform(
        cls, kind: AttentionKind, activation: Activation, *, depth: int, head_count: int, **fields: Any
    ) -> ViTConfig:
        """``depth`` blocks, all alike: ``head_count`` heads of one kind each; ``fields`` are those that are left.

        Raises:
            ConfigError: the numbers do not fit together.
        """
        return cls(heads=((kind,) * head_count,) * depth, activations=(activation,) * depth, **fields)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.heads)

    @property
    def head_count(self) -> int:
        """Heads of the block that has most; where ``head_width`` is not set, of every block."""
        return max(map(len, self.heads))

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.head_width or self.dim // self.head_count

    def inner(self, block: int) -> int:
        """Width of all heads of a block together."""
        return len(self.heads[block]) * self.head_dim

    @property
    def block_hiddens(self) -> tuple[int, ...]:
        """Every block's MLP width."""
        return self.hiddens or (self.hidden,) * self.depth

    @property
    def block_ranks(self) -> tuple[Ranks, ...]:
        """Every block's ranks."""
        return self.ranks or (FULL,) * self.depth

    @property
    def filters_per_head(self) -> int:
        """Convolution filters that each head's values have."""
        return self.lepe // self.head_count

    @property
    def block_gates(self) -> tuple[Gate | None, ...]:
        """Every block's gate."""
        return self.gates or (None,) * self.depth

    @property
    def block_norms(self) -> tuple[tuple[Norm, Norm], ...]:
        """Every block's norms: attention's, MLP's."""
        return self.norms or ((Norm.LAYERNORM, Norm.LAYERNORM),) * self.depth

    @property
    def patch_side(self) -> int:
        """Patches in a row of the image, and in a column."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Number of patches."""
        return self.patch_side**2

    @property
    def tokens(self) -> int:
        """Number of patches, and one more with a class token."""
        return self.patches + self.class_token

    @property
    def input_tokens(self) -> Tokens:
        """The tokens that enter the first block."""
        return Tokens(count=self.tokens, own=int(self.class_token), side=self.patch_side)

    @property
    def block_reductions(self) -> tuple[Reduction | None, ...]:
        """Every block's reduction."""
        return self.reductions or (None,) * self.depth

    @cached_property
    def block_tokens(self) -> tuple[BlockTokens, ...]:
        """Every block's tokens."""
        return tuple(token_flow(self.input_tokens, self.block_reductions))

    @property
    def output_tokens(self) -> Tokens:
        """The tokens behind the last block, of which the head reads the mean or the first."""
        return self.block_tokens[-1].mlp

    @property
    def block_lepe(self) -> tuple[int, ...]:
        """Every block's convolution filters: ``lepe``, and 0 where tokens are no grid."""
        return tuple(0 if tokens.attention.side is None else self.lepe for tokens in self.block_tokens)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """[channels, height, width] of a picture."""
        return self.channels, self.image_size, self.image_size

    @property
    def patch_values(self) -> int:
        """Numbers in one patch."""
        return self.channels * self.patch_size**2

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict that :meth:`from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ViTConfig:
        """The configuration that :meth:`to_json` wrote.

        Raises:
            ConfigError: a field or a kind is unknown or missing.
        """
        try:
            heads = tuple(tuple(AttentionKind(kind) for kind in block) for block in document["heads"])
            activations = tuple(Activation(kind) for kind in document["activations"])
            fields = {**document, "heads": heads, "activations": activations}
            if "gates" in document:
                fields["gates"] = tuple(None if gate is None else Gate.from_json(gate) for gate in document["gates"])
            if "norms" in document:
                fields["norms"] = tuple(tuple(Norm(kind) for kind in block) for block in document["norms"])
            if "ranks" in document:
                fields["ranks"] = tuple(map(Ranks.from_json, document["ranks"]))
            for name in ("hiddens", "sharing"):
                if name in document:
                    fields[name] = tuple(map(index, document[name]))
            if "reductions" in document:
                fields["reductions"] = tuple(one and Reduction.from_json(one) for one in document["reductions"])
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"a model configuration with {error}",
                expected="the fields of ViTConfig and known kinds",
                remedy="Write configurations with ViTConfig.to_json.",
            ) from error


def _check_gates_and_norms(config: ViTConfig) -> None:
    """Raise ConfigError unless gates, norms and reductions fit the rest, which is valid."""
    lengths = {"gates": len(config.gates), "norms": len(config.norms), "reductions": len(config.reductions)}
    for name, length in lengths.items():
        if length not in (0, config.depth):
            raise ConfigError(
                f"{length} {name} for {config.depth} blocks",
                expected=f"one of the {name} per block, or none",
                remedy="Correct the model configuration.",
            )
    for number, gate in enumerate(config.gates):
        sizes = {GateAxis.TOKEN: config.block_tokens[number].mlp.count, GateAxis.CHANNEL: config.block_hiddens[number]}
        if gate is not None and gate.kept[-1] >= sizes[gate.axis]:
            raise ConfigError(
                f"a gate in block {number} that keeps {gate.axis} {gate.kept[-1]}",
                expected=f"positions below {sizes[gate.axis]}",
                remedy="Correct the model configuration.",
            )
    for pair in config.norms:
        if len(pair) != 2:
            raise ConfigError(
                f"{len(pair)} norms in a block", expected="attention's and MLP's", remedy="Give a pair per block."
            )


def _check_attention_options(config: ViTConfig) -> None:
    """Raise ConfigError unless the options of attention kinds fit the rest, which is valid."""
    kinds = {kind for block in config.heads for kind in block}
    sides = [
        tokens.attention.side or 0
        for tokens, block in zip(config.block_tokens, config.heads, strict=True)
        if AttentionKind.POOLED_KV in block
    ]
    unmasked = ", ".join(sorted(kinds & UNMASKED))
    problems = [
        (
            config.linformer_rank < 1 or config.gmm < 0,
            f"linformer_rank {config.linformer_rank} and gmm {config.gmm}",
            "a positive rank, and no or some Gaussians",
        ),
        (
            config.pooled_side < 1 or any(side % config.pooled_side for side in sides),
            f"pooled_side {config.pooled_side} for grids of {sides or config.patch_side} patches a side",
            "a positive side that divides the patches' in models with pooled_kv heads",
        ),
        (
            config.gmm > 0 and bool(unmasked),
            f"a mask on the scores of {unmasked} heads",
            "gmm = 0, or only kinds with a score for every pair of tokens",
        ),
        (
            config.lepe < 0
            or config.lepe % config.head_count != 0
            or (config.lepe > 0 and config.head_dim % config.filters_per_head != 0),
            f"lepe {config.lepe} for {config.head_count} heads of width {config.head_dim}",
            "0, or equally many filters for every head and equally many channels for every filter",
        ),
    ]
    for wrong, got, expected in problems:
        if wrong:
            raise ConfigError(got, expected=expected, remedy="Correct the model configuration.")


def _check_grids(config: ViTConfig) -> None:
    """Raise ConfigError if something depends on where a patch lies in a block whose tokens were selected."""
    for number, tokens in enumerate(config.block_tokens):
        needing: list[str] = []
        if tokens.attention.side is None:
            needing += [f"{kind} heads" for kind in sorted(PLACED.intersection(config.heads[number]))]
            needing += ["masks on scores"] if config.gmm else []
        gate = config.block_gates[number]
        if tokens.mlp.side is None and gate is not None and gate.axis is GateAxis.TOKEN:
            needing.append("a gate over tokens")
        if needing:
            raise ConfigError(
                f"{', '.join(needing)} in block {number}, where tokens have been selected",
                expected="only what does not depend on where a patch lies",
                remedy="Select tokens in a later block, or choose other heads, no masks and no token gates there.",
            )
