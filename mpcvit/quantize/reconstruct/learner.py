"""What is learnt in a part of a model, in which stages."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn


@dataclass(frozen=True)
class Rate:
    """Parameters and Adam's learning rate for them.

    Attributes:
        parameters: leaf tensors.
        start: the rate of the first step.
        cosine: whether it falls to 0 along a cosine; else it stays.
    """

    parameters: tuple[nn.Parameter, ...]
    start: float
    cosine: bool

    def at(self, share: float) -> float:
        """Return the rate when ``share`` of the steps are done."""
        return self.start * (1 + math.cos(math.pi * share)) / 2 if self.cosine else self.start


@dataclass(frozen=True)
class LearningStage:
    """One optimisation of a part.

    Attributes:
        rates: what is learnt.
        penalty: added to the error when a share of the steps, 0 to 1, is done.
    """

    rates: tuple[Rate, ...]
    penalty: Callable[[float], torch.Tensor] | None = None


class Learner(ABC):
    """What is learnt in a part, and in which stages.

    Attributes:
        batch: pictures per step.
    """

    batch: ClassVar[int]

    @abstractmethod
    def stages(self, part: nn.Module, steps: int, learnt: Set[nn.Parameter] = frozenset()) -> Iterator[LearningStage]:
        """Prepare ``part`` for a stage of that many steps and yield it; once resumed, take up what was learnt.

        Args:
            learnt: weights of earlier parts, which stay as they are where this part shares them.
        """
