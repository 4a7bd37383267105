"""A module that is exported through ``torch.export``, as what export asks of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn


@dataclass(frozen=True, kw_only=True)
class TracedConfig:
    """What a traced model reads and answers.

    Attributes:
        channels, image_size: of a picture, which is square; pixels.
        classes: number of logits.
    """

    family: ClassVar[str] = "traced"
    channels: int
    image_size: int
    classes: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """[channels, height, width] of a picture."""
        return self.channels, self.image_size, self.image_size


@dataclass(frozen=True, repr=False, eq=False)
class TracedModel:
    """Any module that gives logits [count, classes] for normalised pictures [count, channels, size, size].

    Attributes:
        module: in eval mode.
    """

    module: nn.Module
    config: TracedConfig
