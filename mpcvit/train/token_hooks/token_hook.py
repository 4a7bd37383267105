"""What every token hook is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer


class TokenHook(ABC):
    """Something that a run adds to the tokens of the model that it begins with; a frozen dataclass of its settings.

    A subclass has a field ``kind``, a literal, by which documents tell it from others.
    """

    @abstractmethod
    def extend(self, config: ViTConfig) -> ViTConfig:
        """Return the architecture with what this adds.

        Raises:
            ConfigError: it cannot be added to that architecture.
        """

    def start(self, model: VisionTransformer) -> None:  # noqa: B027 - most kinds have nothing to do
        """Give what was added to ``model`` its first values, where those of a new model will not do."""
