"""Global structural pruning under a cost model (NViT, CVPR 2023), with seconds of secure inference as the cost.

Heads and MLP channels of all blocks compete: whatever loses least per second saved goes next. NViT looks latencies up
in a table; here the whole configuration is priced before and after, so that savings under MPC are known exactly: the
last expensive head of a block saves its rounds, the ones before it only bytes. So besides single heads, all heads of
one kind in a block are a candidate. Differences to the paper: its other prunable dimensions
(residual width, widths within heads) hardly matter under MPC and are left alone. On the way importances are estimated
anew, what goes is replaced by its best linear estimate from what stays, and, if asked for, what is left is trained to
answer as the whole model does (:mod:`mpcvit.compress.fitting.settle`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import torch

from mpcvit.compress.compression import Compression, Notify
from mpcvit.compress.fitting.settle import settle
from mpcvit.compress.pruning.dimap import data_free_importance
from mpcvit.compress.pruning.importance import Importance, taylor_importance, unit_moments
from mpcvit.compress.pruning.prune import Kept, pruned, pruned_config
from mpcvit.compress.requirements import check_ordinary_layers, check_own_weights
from mpcvit.errors import ConfigError
from mpcvit.link_profile import link_profile
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import GateAxis
from mpcvit.models.vit import VisionTransformer
from mpcvit.pricing.table import PriceTable

#: What a configuration costs; in any unit.
ConfigPrice = Callable[[ViTConfig], float]


class Estimate(StrEnum):
    """How importance is estimated: on calibration pictures, or from weights alone.

    The latter is :mod:`mpcvit.compress.pruning.dimap`.
    """

    TAYLOR = "taylor"
    DIMAP = "dimap"


@dataclass(frozen=True, kw_only=True)
class NViT(Compression):
    """Fewer heads and channels.

    Attributes:
        cost: share of the model's cost that the result may have, between 0 and 1.
        profile: the network whose prices are the cost.
        estimate: of importance.
        granularity: channels that go together.
        refreshes: how often importances are estimated on the way, at least once.
        training: gradient steps after each of these; 0 for none. The paper has 100 for every 32 units that go.
        rate: learning rate of these steps, positive.
        seed: of the labels that are drawn and of the pictures of gradient steps; not negative.

    Raises:
        ConfigError: a number is out of its range.
    """

    name: ClassVar[str] = "nvit"
    cost: float
    profile: str = "wan"
    estimate: Estimate = Estimate.TAYLOR
    granularity: int = 16
    refreshes: int = 4
    training: int = 0
    rate: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        negative = min(self.seed, self.training) < 0 or not self.rate > 0
        if not 0 < self.cost < 1 or min(self.granularity, self.refreshes) < 1 or negative:
            raise ConfigError(
                f"a cost share of {self.cost}, {self.granularity} channels at a time, {self.refreshes} estimates,"
                f" {self.training} gradient steps at {self.rate}, seed {self.seed}",
                expected="a share between 0 and 1, positive numbers, and steps and a seed that are not negative",
                remedy="Correct the settings.",
            )
        link_profile(self.profile)

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        seconds = PriceTable(link_profile(self.profile)).seconds
        return prune_globally(
            model, images, self, seconds, lambda _, share: report(f"{share:.1%} of the cost are left")
        )


def prune_globally(
    model: VisionTransformer,
    images: torch.Tensor,
    settings: NViT,
    cost: ConfigPrice,
    report: Callable[[Kept, float], None] = lambda kept, share: None,
) -> VisionTransformer:
    """Return ``model`` without what it misses least, at no more than the share of ``cost`` that is asked for.

    Args:
        cost: of a configuration; what it does not count is not saved.
        report: called after every step, with what is left of the original model, and its share of the cost.

    Raises:
        ConfigError: the cost cannot be reached, or layers are of low rank or shared.
    """
    check_ordinary_layers(model, settings.name)
    check_own_weights(model, settings.name)
    whole = cost(model.config)
    kept, result = Kept.everything(model.config), model
    for stage in range(1, settings.refreshes + 1):
        target = whole * (1 - (1 - settings.cost) * stage / settings.refreshes)
        if settings.estimate is Estimate.DIMAP:
            given, importance = None, data_free_importance(result)
        else:
            given = unit_moments(result, images)
            importance = taylor_importance(result, images, given, settings.seed + stage)
        here = Kept.everything(result.config)
        for here in _steps(result.config, importance, cost, target, settings.granularity):
            left = _within(kept, here)
            report(left, cost(pruned_config(model.config, left)) / whole)
        kept, result = _within(kept, here), pruned(result, here, given)
        settle(result, model, images, steps=settings.training, rate=settings.rate, seed=settings.seed + stage)
    return result


def _steps(
    config: ViTConfig, importance: Importance, cost: ConfigPrice, target: float, granularity: int
) -> Iterator[Kept]:
    """Yield what is left after each step, until it costs no more than ``target``."""
    kept = Kept.everything(config)
    now = cost(config)
    while now > target:
        # (importance lost per cost saved, position for ties, what is left, its cost)
        best: tuple[float, int, Kept, float] | None = None
        for position, (lost, smaller) in enumerate(_moves(config, kept, importance, granularity)):
            price = cost(pruned_config(config, smaller))
            if price < now and (best is None or lost / (now - price) < best[0]):
                best = lost / (now - price), position, smaller, price
        if best is None:
            raise ConfigError(
                f"a cost of {target:.3g}",
                expected=f"at least {now:.3g}, with one head and at most {granularity} channels in every block",
                remedy="Ask for a larger share of the cost, or take a smaller granularity.",
            )
        _, _, kept, now = best
        yield kept


def _moves(config: ViTConfig, kept: Kept, importance: Importance, granularity: int) -> Iterator[tuple[float, Kept]]:
    """Yield what may go next, with the importance that goes: a head, all heads of a kind, some channels."""
    for block in range(config.depth):
        heads, channels = kept.heads[block], kept.channels[block]
        by_kind: dict[str, list[int]] = {}
        for head in sorted(heads, key=lambda head: float(importance.heads[block][head])):
            by_kind.setdefault(config.blocks[block].heads[head], []).append(head)
        for members in by_kind.values():
            for gone in {1: members[:1], len(members): members}.values():
                if len(gone) < len(heads):
                    lost = float(importance.heads[block][gone].sum())
                    yield lost, kept.with_heads(block, tuple(head for head in heads if head not in gone))
        gate, scores = config.blocks[block].gate, importance.channels[block]
        # idle channels cost nothing
        active = channels if gate is None or gate.axis is GateAxis.TOKEN else set(gate.kept).intersection(channels)
        if len(active) > granularity:
            least = set(sorted(active, key=lambda channel: (float(scores[channel]), channel))[:granularity])
            lost = float(scores[list(least)].sum())
            yield lost, kept.with_channels(block, tuple(channel for channel in channels if channel not in least))


def _within(kept: Kept, inner: Kept) -> Kept:
    """Return what is left of the whole if ``inner`` is left of ``kept``."""
    return Kept(
        tuple(tuple(outer[n] for n in numbers) for outer, numbers in zip(kept.heads, inner.heads, strict=True)),
        tuple(tuple(outer[n] for n in numbers) for outer, numbers in zip(kept.channels, inner.channels, strict=True)),
    )
