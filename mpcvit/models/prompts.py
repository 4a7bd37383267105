"""How many prompts a model has, and how wide what makes them is."""

from __future__ import annotations

from dataclasses import dataclass

from mpcvit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """What :class:`mpcvit.models.dynamic_prompts.DynamicPrompts` are made of.

    Attributes:
        count: P, at least 1.
        width: W, at least 1.

    Raises:
        ConfigError: one of them is not.
    """

    count: int
    width: int

    def __post_init__(self) -> None:
        if min(self.count, self.width) < 1:
            raise ConfigError(
                f"{self.count} prompts with a bottleneck of {self.width}",
                expected="at least 1 of either",
                remedy="Correct the model configuration; without prompts, leave the field out.",
            )
