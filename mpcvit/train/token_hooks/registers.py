"""Registers, added to a trained model as in PH-Reg, or to a new one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.train.token_hooks.token_hook import TokenHook


@dataclass(frozen=True, kw_only=True)
class Registers(TokenHook):
    """Learnt tokens beside the patches, where attention can put what would else disturb some patch.

    Attributes:
        count: how many, at least 1.

    Raises:
        ConfigError: there are none.
    """

    kind: Literal["registers"] = "registers"
    count: int = 4

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(
                f"{self.count} registers", expected="at least 1", remedy="Correct 'token_hooks', or leave the hook out."
            )

    def extend(self, config: ViTConfig) -> ViTConfig:
        return replace(config, registers=config.registers + self.count)
