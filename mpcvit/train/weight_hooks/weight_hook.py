"""What every weight hook is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class WeightHook(ABC):
    """Something that a run does to weights besides the optimiser's steps; a frozen dataclass of its settings.

    A subclass has a field ``kind``, a literal, by which documents tell it from others. What it needs to continue an
    interrupted run belongs into the model's parameters and buffers, which checkpoints hold.
    """

    @abstractmethod
    def install(self, model: nn.Module) -> None:
        """Change ``model`` for training, in place, before its optimiser is made.

        Raises:
            ConfigError: that model cannot be changed so.
        """

    @abstractmethod
    def after_step(self, model: nn.Module, progress: float) -> None:
        """Change weights after a step of the optimiser; ``progress`` is the share of the run's steps that are done."""

    @abstractmethod
    def collapse(self, model: nn.Module) -> None:
        """Make of ``model``, in place, what it was before :meth:`install`, trained."""
