"""What the sampler chooses from: every head's kind, every block's activation and norms, and two widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import starmap
from typing import cast

import numpy as np
import optuna

from mpcvit.errors import ConfigError
from mpcvit.models.block import FULL, BlockConfig
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, Norm

Choice = str | int
Choices = dict[str, Choice]

#: Norm pairs by the names that trials carry.
NORM_PAIRS: dict[str, tuple[Norm, Norm]] = {
    "layernorm": (Norm.LAYERNORM, Norm.LAYERNORM),
    "batchnorm_mlp": (Norm.LAYERNORM, Norm.BATCHNORM),
}


@dataclass(frozen=True, kw_only=True)
class Space:
    """A set of configurations.

    Attributes:
        base: everything that is not chosen: sizes of pictures and patches, depth, number of heads.
        kinds, activations: most expensive first.
        norms: names in :data:`NORM_PAIRS`.
        dims: widths of the residual stream; multiples of the number of heads.
        expansions: widths of the MLP in parts of ``dim``, in percent.

    Raises:
        ConfigError: a part has nothing to choose from, or blocks of the base have sizes, ranks or weights that do not
            go with other widths.
    """

    base: ViTConfig
    kinds: tuple[AttentionKind, ...]
    activations: tuple[Activation, ...]
    norms: tuple[str, ...] = ("layernorm",)
    dims: tuple[int, ...] = ()
    expansions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (self.kinds and self.activations and self.norms):
            raise ConfigError(
                "a search space without choices",
                expected="kinds, activations and norms",
                remedy="Name at least one of each.",
            )
        compressed = any(block.ranks != FULL or block.shares for block in self.base.blocks)
        if self.base.head_width or len(self._widths) > 1 or compressed:
            raise ConfigError(
                "a search space around a compressed model",
                expected="a base without head_width, different hidden widths, ranks and shared weights",
                remedy="Search first, and compress what was found.",
            )

    @property
    def options(self) -> dict[str, tuple[Choice, ...]]:
        """All parameters with their values. The most expensive values come first, the cheapest last."""
        base, options = self.base, dict[str, tuple[Choice, ...]]()
        for block in range(base.depth):
            for head in range(base.head_count):
                options[f"block{block}.head{head}"] = tuple(kind.value for kind in self.kinds)
            options[f"block{block}.activation"] = tuple(kind.value for kind in self.activations)
            options[f"block{block}.norms"] = self.norms
        options["dim"] = tuple(sorted(self.dims, reverse=True)) or (base.dim,)
        options["expansion"] = tuple(sorted(self.expansions, reverse=True)) or (100 * max(self._widths) // base.dim,)
        return options

    @property
    def _widths(self) -> set[int]:
        """Widths of the base's MLPs."""
        return {block.hidden for block in self.base.blocks}

    def suggest(self, trial: optuna.Trial) -> Choices:
        """Let optuna's sampler choose everything."""
        return {name: cast(Choice, trial.suggest_categorical(name, values)) for name, values in self.options.items()}

    def random(self, rng: np.random.Generator) -> Choices:
        """Choose everything at random; how often a kind comes up is drawn first, so that choices differ in price."""
        leaning = rng.dirichlet(np.ones(len(self.kinds)))
        chosen: Choices = {}
        for name, values in self.options.items():
            weights = leaning if ".head" in name else np.full(len(values), 1 / len(values))
            chosen[name] = values[int(rng.choice(len(values), p=weights))]
        return chosen

    def ends(self) -> list[Choices]:
        """Return the most expensive choice and the cheapest."""
        options = self.options
        return [{name: values[end] for name, values in options.items()} for end in (0, -1)]

    def build(self, chosen: Mapping[str, Choice]) -> ViTConfig:
        """Return the configuration of a choice. Heads are sorted: their order in a block changes nothing."""
        dim, order = int(chosen["dim"]), list(AttentionKind)

        def block(number: int, before: BlockConfig) -> BlockConfig:
            heads = (AttentionKind(str(chosen[f"block{number}.head{head}"])) for head in range(self.base.head_count))
            return replace(
                before,
                heads=tuple(sorted(heads, key=order.index)),
                activation=Activation(str(chosen[f"block{number}.activation"])),
                hidden=dim * int(chosen["expansion"]) // 100,
                norms=NORM_PAIRS[str(chosen[f"block{number}.norms"])],
            )

        return replace(self.base, dim=dim, blocks=tuple(starmap(block, enumerate(self.base.blocks))))
