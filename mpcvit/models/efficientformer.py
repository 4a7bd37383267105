"""EfficientFormer (Li et al. 2022): convolutions and pooling at high resolution, attention on the last small grid.

Under MPC this is thrifty: pooling, convolutions and batch norms are linear and cost no round of their own, and
attention and layer norms see few tokens.

Axes: B batch, C channels, H and W rows and columns, N tokens, D width, M queries or keys of all heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from mpcvit.errors import ConfigError
from mpcvit.models.activation import ACTIVATIONS
from mpcvit.models.kinds import Activation
from mpcvit.models.norm import LayerNorm

#: What the first and the downsampling convolutions look like.
WINDOW, STRIDE, BORDER = 3, 2, 1
#: Layer scales before training.
_FIRST_SCALE = 1e-5


@dataclass(frozen=True, kw_only=True)
class EfficientFormerConfig:
    """An EfficientFormer of any size.

    Attributes:
        image_size: side of the square input, pixels.
        classes: number of labels.
        depths: blocks per stage.
        widths: channels per stage; the first one even.
        hidden: width of the MLPs per stage.
        attention_blocks: how many blocks at the end have attention; at least one, at most the last stage's.
        channels: colour channels of the input.
        heads: of each attention block.
        key_dim, value_dim: width of a head's queries and keys, and of its values.
        pool_side: side of the square that pooling averages over, odd.
        activation: of the MLPs: gelu or relu. The stem always has ReLU.
        norm_epsilon: what layer norms add to the variance; positive.

    Raises:
        ConfigError: the numbers do not fit together.
    """

    image_size: int
    classes: int
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    hidden: tuple[int, ...]
    attention_blocks: int
    channels: int = 3
    heads: int = 8
    key_dim: int = 32
    value_dim: int = 128
    pool_side: int = 3
    activation: Activation = Activation.GELU
    norm_epsilon: float = 1e-5

    #: Tells configurations of this family on disk.
    family: ClassVar[str] = "efficientformer"

    def __post_init__(self) -> None:
        lengths = {len(self.depths), len(self.widths), len(self.hidden)}
        sizes = (self.image_size, self.classes, self.channels, self.heads, self.key_dim, self.value_dim)
        problems = [
            (len(lengths) != 1 or 0 in lengths, f"{sorted(lengths)} stages", "the same number of stages everywhere"),
            (
                min(*sizes, *self.depths, *self.widths, *self.hidden, 1) < 1,
                f"sizes {sizes}, depths {self.depths}, widths {self.widths}, hidden {self.hidden}",
                "positive sizes",
            ),
            (bool(self.widths) and self.widths[0] % 2 != 0, f"a first width of {self.widths[:1]}", "an even one"),
            (
                bool(self.depths) and not 1 <= self.attention_blocks <= self.depths[-1],
                f"{self.attention_blocks} attention blocks in a last stage of {self.depths[-1:]}",
                "at least one, and at most as many as the stage has",
            ),
            (
                len(self.depths) == 1 and self.attention_blocks == self.depths[0],
                "a model of one stage, all blocks of which have attention",
                "a block with pooling, or a stage, before them",
            ),
            (self.pool_side < 1 or self.pool_side % 2 == 0, f"pool_side {self.pool_side}", "an odd side"),
            (not self.activation.facts.gate, f"activation {self.activation}", "gelu or relu"),
            (not self.norm_epsilon > 0, f"norm_epsilon {self.norm_epsilon}", "a positive number"),
        ]
        for wrong, got, expected in problems:
            if wrong:
                raise ConfigError(got, expected=expected, remedy="Correct the model configuration.")

    @property
    def side(self) -> int:
        """Rows of the last stage's grid: every convolution with stride 2 halves them, rounding up."""
        size = self.image_size
        for _ in range(len(self.depths) + 1):
            size = (size + 1) // 2
        return size


class ConvNorm(nn.Module):
    """A convolution and the batch norm behind it."""

    def __init__(self, channels: int, out: int, side: int = WINDOW, stride: int = STRIDE, border: int = BORDER) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, side, stride, border)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return [B, out, H', W']."""
        normed: torch.Tensor = self.norm(self.conv(x_BCHW))
        return normed


class PoolBlock(nn.Module):
    """x + scale1 (average around x - x), then an MLP of 1 x 1 convolutions beside it."""

    def __init__(self, config: EfficientFormerConfig, width: int, hidden: int) -> None:
        super().__init__()
        self.pool_side = config.pool_side
        self.scale1 = nn.Parameter(torch.full((width,), _FIRST_SCALE))
        self.fc1 = ConvNorm(width, hidden, 1, 1, 0)
        self.act = ACTIVATIONS[config.activation]()
        self.fc2 = ConvNorm(hidden, width, 1, 1, 0)
        self.scale2 = nn.Parameter(torch.full((width,), _FIRST_SCALE))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the same grid, mixed."""
        averages = avg_pool2d(x_BCHW, self.pool_side, 1, self.pool_side // 2, count_include_pad=False)
        x_BCHW = x_BCHW + self.scale1[:, None, None] * (averages - x_BCHW)
        changed: torch.Tensor = self.fc2(self.act(self.fc1(x_BCHW)))
        return x_BCHW + self.scale2[:, None, None] * changed


class BiasedAttention(nn.Module):
    """Softmax attention with a learnt bias per head and distance of tokens on the grid.

    ``qkv`` holds all heads' Q, then all K, then all V; ``biases`` [heads, side * side] a bias for every distance in
    rows times side plus distance in columns.
    """

    places: torch.Tensor

    def __init__(self, config: EfficientFormerConfig) -> None:
        super().__init__()
        self.heads, self.key_dim = config.heads, config.key_dim
        keys, values, width = config.heads * config.key_dim, config.heads * config.value_dim, config.widths[-1]
        self.widths = (keys, keys, values)
        self.qkv = nn.Linear(width, 2 * keys + values)
        self.proj = nn.Linear(values, width)
        self.biases = nn.Parameter(torch.zeros(config.heads, config.side**2))
        self.register_buffer("places", bias_places(config.side), persistent=False)

    def score_bias(self) -> torch.Tensor:
        """Return what is added to the scores: [heads, N, N]."""
        return self.biases[:, self.places]

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Return mixed tokens, of the shape of ``x_BND``."""
        q_BHNM, k_BHNM, v_BHNM = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x_BND).split(self.widths, dim=-1)
        )
        scores = q_BHNM @ k_BHNM.mT * self.key_dim**-0.5 + self.score_bias()
        mixed = scores.softmax(dim=-1) @ v_BHNM
        projected: torch.Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return projected


class AttentionBlock(nn.Module):
    """x + scale1 attention(norm(x)), then x + scale2 mlp(norm(x))."""

    def __init__(self, config: EfficientFormerConfig) -> None:
        super().__init__()
        width, hidden = config.widths[-1], config.hidden[-1]
        self.norm1 = LayerNorm(width, config.norm_epsilon)
        self.attn = BiasedAttention(config)
        self.scale1 = nn.Parameter(torch.full((width,), _FIRST_SCALE))
        self.norm2 = LayerNorm(width, config.norm_epsilon)
        self.fc1 = nn.Linear(width, hidden)
        self.act = ACTIVATIONS[config.activation]()
        self.fc2 = nn.Linear(hidden, width)
        self.scale2 = nn.Parameter(torch.full((width,), _FIRST_SCALE))

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Return mixed tokens, of the shape of ``x_BND``."""
        x_BND = x_BND + self.scale1 * self.attn(self.norm1(x_BND))
        changed: torch.Tensor = self.fc2(self.act(self.fc1(self.norm2(x_BND))))
        return x_BND + self.scale2 * changed


class Stage(nn.Module):
    """Blocks of one width, behind a convolution that halves the grid in all stages but the first."""

    def __init__(self, config: EfficientFormerConfig, number: int) -> None:
        super().__init__()
        width, hidden = config.widths[number], config.hidden[number]
        self.downsample = ConvNorm(config.widths[number - 1], width) if number else None
        attention = config.attention_blocks if number == len(config.depths) - 1 else 0
        pooling = config.depths[number] - attention
        self.pool_blocks = nn.ModuleList(PoolBlock(config, width, hidden) for _ in range(pooling))
        self.attention_blocks = nn.ModuleList(AttentionBlock(config) for _ in range(attention))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the grid behind the stage; tokens [B, N, D] behind the last."""
        x = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        for block in self.pool_blocks:
            x = block(x)
        if self.attention_blocks:
            x = x.flatten(2).transpose(1, 2)
        for block in self.attention_blocks:
            x = block(x)
        return x


class EfficientFormer(nn.Module):
    """The model of an :class:`EfficientFormerConfig`. The two heads of the distilled original are one, their mean."""

    def __init__(self, config: EfficientFormerConfig) -> None:
        super().__init__()
        self.config = config
        first = config.widths[0]
        self.stem1 = ConvNorm(config.channels, first // 2)
        self.stem2 = ConvNorm(first // 2, first)
        self.stages = nn.ModuleList(Stage(config, number) for number in range(len(config.depths)))
        self.norm = LayerNorm(config.widths[-1], config.norm_epsilon)
        self.head = nn.Linear(config.widths[-1], config.classes)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, classes] of normalised images."""
        x = self.stem2(self.stem1(images_BCHW).relu()).relu()
        for stage in self.stages:
            x = stage(x)
        logits: torch.Tensor = self.head(self.norm(x).mean(dim=1))
        return logits


def bias_places(side: int) -> torch.Tensor:
    """Return where the bias of every pair of tokens of a square grid lies: [N, N]."""
    row, column = torch.arange(side**2) // side, torch.arange(side**2) % side
    return (row[:, None] - row).abs() * side + (column[:, None] - column).abs()
