"""Prompts that are made of the picture (DVPT); see :mod:`mpcvit.models.dynamic_prompts`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.models.prompts import Prompts
from mpcvit.train.token_hooks.token_hook import TokenHook


@dataclass(frozen=True, kw_only=True)
class DynamicPrompt(TokenHook):
    """Prompts beside the patches; DVPT trains them and the head alone (``trained: ["prompts.*", "head.*"]``).

    Attributes:
        count: how many, at least 1.
        width: of the bottleneck, at least 1.
    """

    kind: Literal["prompts"] = "prompts"
    count: int = 4
    width: int = 16

    def extend(self, config: ViTConfig) -> ViTConfig:
        if config.prompts is not None:
            raise ConfigError(
                "prompts for a model that has some",
                expected="a model without prompts",
                remedy="Train it on without this hook.",
            )
        return replace(config, prompts=Prompts(count=self.count, width=self.width))
