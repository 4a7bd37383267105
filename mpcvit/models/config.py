"""What a ViT is made of, as data that a search can produce and a file can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from mpcvit.errors import ConfigError
from mpcvit.models.block import BlockConfig, with_columns
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis, ReductionKind
from mpcvit.models.prompts import Prompts
from mpcvit.models.structure import check_sharing, check_structure, check_transformations
from mpcvit.models.token_flow import BlockTokens, Tokens, token_flow


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """A pre-norm ViT with norm and linear head on the mean of the patches, or on a class token.

    Attributes:
        image_size: side of the square input, pixels; a multiple of ``patch_size``.
        patch_size: side of a square patch, pixels.
        classes: number of labels.
        dim: width of the residual stream; a multiple of the number of heads unless ``head_width`` is set.
        blocks: at least one; all have equally many heads unless ``head_width`` is set.
        channels: colour channels of the input.
        class_token: whether a learnt token is put before the patches, and read by the head instead of the mean.
        registers: learnt tokens between a class token and the patches that attention may use and no head reads.
        prompts: tokens behind the registers that are made of the picture's patches, which no head reads either; None
            for none.
        denoiser: whether the last block has a position embedding of its own (DVT's denoiser).
        linformer_rank: rows of the matrices that project keys and values of linformer heads.
        pooled_side: side of the grid that keys and values of pooled_kv heads are averaged to.
        gmm: Gaussians per head of the mask on its scores; 0 for no mask.
        lepe: convolution filters that are applied to V and added to the attention of a block with ``head_count`` heads,
            of which it is a multiple; equally many for every head, and for blocks with fewer heads accordingly fewer.
            Filters of a head divide ``head_dim``. 0 for none. Blocks whose tokens are no grid have none.
        head_width: width of a head; 0 for ``dim`` divided by the number of heads. Where it is set, the heads of a block
            together may be narrower or wider than ``dim``, and blocks may have different numbers of them.
        norm_epsilon: what layer norms add to the variance; positive.

    Raises:
        ConfigError: the numbers do not fit together.
    """

    image_size: int
    patch_size: int
    classes: int
    dim: int
    blocks: tuple[BlockConfig, ...]
    channels: int = 3
    class_token: bool = False
    registers: int = 0
    prompts: Prompts | None = None
    denoiser: bool = False
    linformer_rank: int = 16
    pooled_side: int = 4
    gmm: int = 0
    lepe: int = 0
    head_width: int = 0
    norm_epsilon: float = 1e-4

    #: Tells configurations of this family on disk.
    family: ClassVar[str] = "vit"

    def __post_init__(self) -> None:
        _check_sizes(self)
        check_structure(self.blocks, self.dim, self.head_dim)
        _check_gates(self)
        _check_attention_options(self)
        check_sharing(self.blocks, self.block_tokens)
        check_transformations(self.blocks, self.block_tokens)
        _check_grids(self)
        _check_extra_tokens(self)

    @classmethod
    def uniform(
        cls, kind: AttentionKind, activation: Activation, *, depth: int, head_count: int, hidden: int, **fields: Any
    ) -> ViTConfig:
        """Return ``depth`` blocks, all alike: ``head_count`` heads of one kind each, MLPs of width ``hidden``.

        Args:
            fields: those that are left.

        Raises:
            ConfigError: the numbers do not fit together.
        """
        block = BlockConfig(heads=(kind,) * head_count, activation=activation, hidden=hidden)
        return cls(blocks=(block,) * depth, **fields)

    def with_blocks(self, **columns: Sequence[Any]) -> ViTConfig:
        """Return this model with fields of its blocks replaced; see :func:`~mpcvit.models.block.with_columns`.

        Raises:
            ConfigError: as there, or the numbers do not fit together.
        """
        return replace(self, blocks=with_columns(self.blocks, **columns))

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def head_count(self) -> int:
        """Heads of the block that has most; where ``head_width`` is not set, of every block."""
        return max(len(block.heads) for block in self.blocks)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.head_width or self.dim // self.head_count

    @property
    def filters_per_head(self) -> int:
        """Convolution filters that each head's values have."""
        return self.lepe // self.head_count

    @property
    def owners(self) -> tuple[int, ...]:
        """Per block, the number of the block whose matrices it uses: its own, or that of its group's first block."""
        found: list[int] = []
        for number, block in enumerate(self.blocks):
            found.append(found[-1] if block.shares else number)
        return tuple(found)

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
        """Number of patches, and of all tokens before them."""
        return self.patches + self.own_tokens

    @property
    def own_tokens(self) -> int:
        """Number of tokens before the patches: class token, registers, prompts."""
        return self.class_token + self.registers + (0 if self.prompts is None else self.prompts.count)

    @property
    def extra_tokens(self) -> int:
        """Number of tokens that no head reads: registers and prompts. They lie behind a class token."""
        return self.own_tokens - self.class_token

    @property
    def input_tokens(self) -> Tokens:
        """The tokens that enter the first block."""
        return Tokens(count=self.tokens, own=self.own_tokens, side=self.patch_side)

    @cached_property
    def block_tokens(self) -> tuple[BlockTokens, ...]:
        """Every block's tokens."""
        return tuple(token_flow(self.input_tokens, [block.reduction for block in self.blocks]))

    @property
    def output_tokens(self) -> Tokens:
        """The tokens behind the last block, of which the head reads the first or the mean of those that are not own."""
        return self.block_tokens[-1].mlp

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """[channels, height, width] of a picture."""
        return self.channels, self.image_size, self.image_size

    @property
    def patch_values(self) -> int:
        """Numbers in one patch."""
        return self.channels * self.patch_size**2


def _check_sizes(config: ViTConfig) -> None:
    """Raise ConfigError unless sizes and numbers of heads fit together."""
    sizes = (config.image_size, config.patch_size, config.classes, config.dim, config.channels)
    counts = {len(block.heads) for block in config.blocks}
    equal = len(counts) == 1 and 0 not in counts
    problems = [
        (min(sizes) < 1, f"sizes {sizes}", "positive sizes"),
        (
            config.patch_size < 1 or config.image_size % max(config.patch_size, 1) != 0,
            f"image {config.image_size} and patch {config.patch_size}",
            "an image size that the patch size divides",
        ),
        (
            not counts or 0 in counts or (not equal and config.head_width == 0),
            f"blocks with {sorted(counts)} heads",
            "equally many heads (at least one) in every block, or head_width and at least one",
        ),
        (config.head_width < 0, f"head_width {config.head_width}", "a positive width, or 0"),
        (
            equal and config.head_width == 0 and config.dim % max(counts) != 0,
            f"dim {config.dim} for {max(counts, default=0)} heads",
            "a width that the number of heads divides",
        ),
        (not config.norm_epsilon > 0, f"norm_epsilon {config.norm_epsilon}", "a positive number"),
    ]
    _refuse(problems)


def _check_gates(config: ViTConfig) -> None:
    """Raise ConfigError unless gates fit the rest, which is valid."""
    for number, block in enumerate(config.blocks):
        gate = block.gate
        sizes = {GateAxis.TOKEN: config.block_tokens[number].mlp.count, GateAxis.CHANNEL: block.hidden}
        if gate is not None and gate.kept[-1] >= sizes[gate.axis]:
            raise ConfigError(
                f"a gate in block {number} that keeps {gate.axis} {gate.kept[-1]}",
                expected=f"positions below {sizes[gate.axis]}",
                remedy="Correct the model configuration.",
            )


def _check_attention_options(config: ViTConfig) -> None:
    """Raise ConfigError unless the options of attention kinds fit the rest, which is valid."""
    kinds = {kind for block in config.blocks for kind in block.heads}
    sides = [
        tokens.attention.side or 0
        for tokens, block in zip(config.block_tokens, config.blocks, strict=True)
        if any(kind.facts.pooled for kind in block.heads)
    ]
    unscored = ", ".join(sorted(kind for kind in kinds if not kind.facts.scored))
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
            config.gmm > 0 and bool(unscored),
            f"a mask on the scores of {unscored} heads",
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
    _refuse(problems)


def _check_grids(config: ViTConfig) -> None:
    """Raise ConfigError if something depends on where a patch lies in a block whose tokens were selected."""
    for number, (block, tokens) in enumerate(zip(config.blocks, config.block_tokens, strict=True)):
        needing: list[str] = []
        if tokens.attention.side is None:
            needing += [f"{kind} heads" for kind in sorted(set(block.heads)) if kind.facts.placed]
            needing += ["masks on scores"] if config.gmm else []
        if tokens.mlp.side is None and block.gate is not None and block.gate.axis is GateAxis.TOKEN:
            needing.append("a gate over tokens")
        if needing:
            raise ConfigError(
                f"{', '.join(needing)} in block {number}, where tokens have been selected",
                expected="only what does not depend on where a patch lies",
                remedy="Select tokens in a later block, or choose other heads, no masks and no token gates there.",
            )


def _check_extra_tokens(config: ViTConfig) -> None:
    """Raise ConfigError unless registers, prompts and denoiser fit the rest, which is valid."""
    ranked = [block for block in config.blocks if block.reduction and block.reduction.kind is ReductionKind.EVIT]
    extra = config.extra_tokens
    problems = [
        (config.registers < 0, f"{config.registers} registers", "none or some"),
        (
            extra > 0 and bool(ranked) and not config.class_token,
            f"EViT in a model with {extra} registers or prompts and no class token",
            "a class token whose attention ranks the others, or no registers and prompts",
        ),
        (
            config.denoiser and config.block_tokens[-1].entry.side is None,
            "a denoiser where tokens have been selected",
            "a grid of patches before the last block",
        ),
    ]
    _refuse(problems)


def _refuse(problems: Sequence[tuple[bool, str, str]]) -> None:
    """Raise ConfigError for the first problem (wrong, got, expected) there is."""
    for wrong, got, expected in problems:
        if wrong:
            raise ConfigError(got, expected=expected, remedy="Correct the model configuration.")
