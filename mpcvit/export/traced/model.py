"""A module that is exported through ``torch.export``, as what export asks of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn


@dataclass(frozen=True, kw_only=True)
class TracedConfig:
    """What a traced model reads and answers.

    Attributes:
        input_shape: [channels, height, width] of a picture, or the shape of another input.
        output_shape: [classes], or [classes, rows, columns] for logits of every place of a map.
    """

    family: ClassVar[str] = "traced"
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def classes(self) -> int:
        """Number of logits, of a map at every place."""
        return self.output_shape[0]


@dataclass(frozen=True, repr=False, eq=False)
class TracedModel:
    """Any module that gives logits [count, \\*output_shape] for normalised inputs [count, \\*input_shape].

    Attributes:
        module: in eval mode.
    """

    module: nn.Module
    config: TracedConfig
