"""A ViT that gives logits for every place of a picture: the Segmenter with a linear decoder.

Strudel et al. 2021, "Segmenter: Transformer for Semantic Segmentation", section 3.2.1: a linear layer on every patch's
encoding. Here a patch may have several cells, which a pixel shuffle lays out, instead of bilinear upsampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """A ViT whose norm and head read every patch's token.

    Attributes:
        vit: with ``classes`` logits for every cell of a patch: label by label, and within a label row by row. It has no
            class token, and keeps all patches to the end.
        cells: cells along each side of a patch.

    Raises:
        ConfigError: the numbers do not fit together.
    """

    vit: ViTConfig
    cells: int = 1

    #: Tells configurations of this family on disk.
    family: ClassVar[str] = "segmenter"

    def __post_init__(self) -> None:
        if self.cells < 1 or self.vit.classes % self.cells**2 or not self.classes:
            raise ConfigError(
                f"{self.vit.classes} logits of a patch with {self.cells} cells a side",
                expected="equally many for every cell",
                remedy="Correct the model configuration.",
            )
        if self.vit.class_token or self.vit.output_tokens.side != self.vit.patch_side:
            raise ConfigError(
                "a segmenter whose tokens are not one for every patch",
                expected="no class token, and no reduction of tokens",
                remedy="Correct the model configuration.",
            )

    @property
    def classes(self) -> int:
        """Number of labels."""
        return self.vit.classes // self.cells**2

    @property
    def side(self) -> int:
        """Places in a row of the map, and in a column."""
        return self.vit.patch_side * self.cells

    @property
    def image_size(self) -> int:
        """Side of the square input, pixels."""
        return self.vit.image_size

    @property
    def channels(self) -> int:
        """Colour channels of the input."""
        return self.vit.channels

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """[channels, height, width] of a picture."""
        return self.vit.input_shape


class Segmenter(nn.Module):
    """The model of a :class:`SegmenterConfig`.

    Attributes:
        vit: whose head is applied to every token.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = VisionTransformer(config.vit)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, classes, rows, columns] of normalised images."""
        x_BND, _ = self.vit.tokens(images_BCHW)
        logits_BKN = self.vit.head(self.vit.norm(x_BND)).mT
        side = self.config.vit.patch_side
        return pixel_shuffle(logits_BKN.unflatten(2, (side, side)), self.config.cells)
