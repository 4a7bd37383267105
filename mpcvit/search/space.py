"""What the sampler chooses from: every head's kind, every block's activation and norms, and two widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import optuna

from mpcvit.errors import ConfigError
from mpcvit.models.config import Activation, AttentionKind, Norm, ViTConfig

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
        kinds, activations: dearest first.
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
        if self.base.head_width or self.base.hiddens or self.base.ranks or self.base.sharing:
            raise ConfigError(
                "a search space around a compressed model",
                expected="a base without head_width, hiddens, ranks and sharing",
                remedy="Search first, and compress what was found.",
            )

    @property
    def options(self) -> dict[str, tuple[Choice, ...]]:
        """All parameters with their values. The dearest values come first, the cheapest last."""
        base, options = self.base, dict[str, tuple[Choice, ...]]()
        for block in range(base.depth):
            for head in range(base.head_count):
                options[f"block{block}.head{head}"] = tuple(kind.value for kind in self.kinds)
            options[f"block{block}.activation"] = tuple(kind.value for kind in self.activations)
            options[f"block{block}.norms"] = self.norms
        options["dim"] = tuple(sorted(self.dims, reverse=True)) or (base.dim,)
        options["expansion"] = tuple(sorted(self.expansions, reverse=True)) or (100 * base.hidden // base.dim,)
        return options

    def suggest(self, trial: optuna.Trial) -> Choices:
        """A choice of everything by optuna's sampler."""
        return {name: cast(Choice, trial.suggest_categorical(name, values)) for name, values in self.options.items()}

    def random(self, rng: np.random.Generator) -> Choices:
        """A choice of everything; how often a kind comes up is drawn first, so that choices differ in price."""
        leaning = rng.dirichlet(np.ones(len(self.kinds)))
        chosen: Choices = {}
        for name, values in self.options.items():
            weights = leaning if ".head" in name else np.full(len(values), 1 / len(values))
            chosen[name] = values[int(rng.choice(len(values), p=weights))]
        return chosen

    def ends(self) -> list[Choices]:
        """The dearest choice and the cheapest."""
        options = self.options
        return [{name: values[end] for name, values in options.items()} for end in (0, -1)]

    def build(self, chosen: Mapping[str, Choice]) -> ViTConfig:
        """The configuration of a choice. Heads are sorted: their order in a block changes nothing."""
        blocks, per_block = range(self.base.depth), range(self.base.head_count)
        dim, order = int(chosen["dim"]), list(AttentionKind)

        def kinds(block: int) -> tuple[AttentionKind, ...]:
            found = (AttentionKind(str(chosen[f"block{block}.head{head}"])) for head in per_block)
            return tuple(sorted(found, key=order.index))

        norms = tuple(NORM_PAIRS[str(chosen[f"block{block}.norms"])] for block in blocks)
        return replace(
            self.base,
            dim=dim,
            hidden=dim * int(chosen["expansion"]) // 100,
            heads=tuple(map(kinds, blocks)),
            activations=tuple(Activation(str(chosen[f"block{block}.activation"])) for block in blocks),
            norms=() if all(pair == NORM_PAIRS["layernorm"] for pair in norms) else norms,
        )
