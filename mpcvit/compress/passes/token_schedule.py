"""How many tokens to keep where, so that an inference takes no longer than a budget.

SPViT's latency-aware schedule (Kong et al., ECCV 2022, section 3.4), simplified: it knows seconds by keep ratio, puts
selectors in from the last block on, and lowers each ratio as long as accuracy, after training, falls by less than half
a percent. Here nothing is trained. From all stages that could keep less, the one is chosen again and again that changes
the answers least for what it saves, until the budget is met. What a ratio does to answers is measured with EViT's
scores, which need no training, and which new selectors of SPViT imitate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch.nn.functional import kl_div

from mpcvit.compress.compression import Compression, Notify
from mpcvit.compress.tokens.reduction import check_blocks, reduced, selection, with_reductions
from mpcvit.compress.tokens.selector_imitation import imitate_scores
from mpcvit.errors import ConfigError
from mpcvit.link_profile import link_profile
from mpcvit.models.check_images import check_images
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import ReductionKind
from mpcvit.models.vit import VisionTransformer
from mpcvit.pricing.table import PriceTable

#: Ratios that a stage can have, largest first; 1 is no stage.
_RATIOS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
#: Less change of answers than this counts as this, so that among harmless stages savings decide.
_HARMLESS = 1e-4

Ratios = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TokenSchedule(Compression):
    """Keep so many tokens in some blocks that an inference takes a share of its seconds.

    Attributes:
        cost: share of the model's predicted seconds that the result may take, between 0 and 1.
        blocks: where tokens may be dropped, ascending.
        kind: of the selections, evit or spvit; selectors of the latter imitate the former's scores at first.
        profile: the network whose seconds are meant.
        seed: of the weights that selectors are fitted from.

    Raises:
        ConfigError: a setting is out of its range.
    """

    name: ClassVar[str] = "token_schedule"
    cost: float
    blocks: tuple[int, ...]
    kind: ReductionKind = ReductionKind.EVIT
    profile: str = "wan"
    seed: int = 0

    def __post_init__(self) -> None:
        check_blocks(self.blocks)
        check_selects(self.kind)
        link_profile(self.profile)
        if not 0 < self.cost < 1:
            raise ConfigError(
                f"a cost share of {self.cost}", expected="between 0 and 1", remedy="Correct the settings."
            )

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        table = PriceTable(link_profile(self.profile))

        def seconds(config: ViTConfig) -> float:
            report(f"the price of {', '.join(str(tokens.mlp.count) for tokens in config.block_tokens)} tokens")
            return table.seconds(config)

        budget = self.cost * seconds(model.config)
        stages = schedule(model, images, blocks=self.blocks, cost=seconds, budget=budget, kind=self.kind)
        report(", ".join(f"{ratio:.0%} kept in block {block}" for block, ratio in stages))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.seed)
            smaller = with_schedule(model, stages, self.kind)
        imitate_scores(model, smaller, self.blocks, images, report)
        return smaller


def with_schedule(
    model: VisionTransformer, stages: Sequence[tuple[int, float]], kind: ReductionKind
) -> VisionTransformer:
    """Return ``model`` with selections of ``kind`` that keep these ratios in these blocks."""
    config = model.config
    for block, ratio in stages:
        config = with_reductions(config, (block,), partial(selection, kind, ratio))
    return reduced(model, config)


def check_selects(kind: ReductionKind) -> None:
    """Raise ConfigError unless ``kind`` selects tokens."""
    if not kind.facts.selects:
        raise ConfigError(
            f"a schedule of {kind}",
            expected=f"one of {', '.join(sorted(other for other in ReductionKind if other.facts.selects))}",
            remedy="Pooling has no ratio to choose.",
        )


def schedule(
    model: VisionTransformer,
    images: torch.Tensor,
    *,
    blocks: Sequence[int],
    cost: Callable[[ViTConfig], float],
    budget: float,
    kind: ReductionKind = ReductionKind.EVIT,
) -> tuple[tuple[int, float], ...]:
    """Return the blocks with the ratios to keep there, for the passes of ``kind``, one per stage in this order.

    Few or none.

    Args:
        images: normalised pictures on which answers are compared, float [count, channels, size, size].
        blocks: where tokens may be dropped, ascending.
        cost: of a configuration, in seconds for instance; asked once per configuration, some dozen of them.
        budget: in the same unit.
        kind: of the selections that ``cost`` sees; one of the two that select.

    Raises:
        ConfigError: no ratios meet the budget, the blocks do not fit the model, or ``kind`` does not select.
        InputError: ``images`` has another shape than the model's input.
    """
    check_selects(kind)
    check_blocks(blocks)
    check_images(images, model.config.input_shape)
    search = _Search(model, images, tuple(blocks), cost, kind)
    ratios = (1.0,) * len(blocks)
    while (seconds := search.cost(ratios)) > budget:
        better = [move for move in search.moves(ratios) if search.cost(move) < seconds]
        if not better:
            raise ConfigError(
                f"a budget of {budget:g}",
                expected=f"at least {seconds:g}, with ratios {dict(zip(blocks, ratios, strict=True))}",
                remedy="Allow selections in earlier blocks, or reduce the cost of other parts first.",
            )
        ratios = search.best(ratios, better, budget)
    return tuple((block, ratio) for block, ratio in zip(blocks, ratios, strict=True) if ratio < 1)


class _Search:
    """Costs and changes of answers, each computed once per configuration."""

    def __init__(
        self,
        model: VisionTransformer,
        images: torch.Tensor,
        blocks: tuple[int, ...],
        cost: Callable[[ViTConfig], float],
        kind: ReductionKind,
    ) -> None:
        self._model, self._images, self._blocks, self._kind = model, images, blocks, kind
        self._ask = cost
        self._whole = self._answers(reduced(model, model.config))
        self._costs: dict[ViTConfig, float] = {}
        self._changes: dict[ViTConfig, float] = {}

    def moves(self, ratios: Ratios) -> Iterator[Ratios]:
        """Yield every stage's every lower ratio: a small step may cost more than it saves where a large one does
        not.
        """
        for stage, ratio in enumerate(ratios):
            for lower in _RATIOS[_RATIOS.index(ratio) + 1 :]:
                yield (*ratios[:stage], lower, *ratios[stage + 1 :])

    def best(self, ratios: Ratios, moves: Sequence[Ratios], budget: float) -> Ratios:
        """Return the move of least change for what it saves; what is saved beyond the budget does not count."""
        now = self.cost(ratios)

        def price(move: Ratios) -> tuple[float, float]:
            change = max(self.change(move) - self.change(ratios), _HARMLESS)
            return change / (now - max(self.cost(move), budget)), self.cost(move)

        return min(moves, key=price)

    def cost(self, ratios: Ratios) -> float:
        """Return what a model with these ratios costs."""
        config = self._config(ratios, self._kind)
        if config not in self._costs:
            self._costs[config] = self._ask(config)
        return self._costs[config]

    def change(self, ratios: Ratios) -> float:
        """Return the mean divergence of the answers from those of the whole model, in nats."""
        config = self._config(ratios, ReductionKind.EVIT)
        if config not in self._changes:
            answers = self._answers(reduced(self._model, config))
            self._changes[config] = float(kl_div(answers, self._whole, reduction="batchmean", log_target=True))
        return self._changes[config]

    @torch.no_grad()
    def _answers(self, model: VisionTransformer) -> torch.Tensor:
        """Return the log arithms of probabilities [count, classes]."""
        logits: torch.Tensor = model.eval()(self._images)
        return logits.double().log_softmax(-1)

    def _config(self, ratios: Ratios, kind: ReductionKind) -> ViTConfig:
        config = self._model.config
        for block, ratio in zip(self._blocks, ratios, strict=True):
            config = with_reductions(config, (block,), partial(selection, kind, ratio))
        return config
