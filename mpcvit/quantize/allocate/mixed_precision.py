"""Greedy mixed precision (MPTQ-ViT, 2024) with a cost of ours as the budget.

All layers start at many bits. Again and again the width of one layer's weights or activations is lowered, where the
cost saved per loss of performance is largest, until the budget holds. What counts as cost is up to the caller: on
secret shares, what gates (comparisons, lookups) read is worth narrowing and linear layers are not.

The loss is the squared error of the logits on calibration pictures. It is measured once for every layer, part and
width, all others being at their starting widths and nothing being reconstructed, and added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from functools import cached_property

import torch

from mpcvit.errors import ConfigError
from mpcvit.models.check_images import check_images
from mpcvit.models.vit import Attention, VisionTransformer
from mpcvit.quantize.calibrate.capture import ForwardTrace, trace
from mpcvit.quantize.config import Bits, QuantizeConfig
from mpcvit.quantize.places import QuantLinear, shared_parameters, with_places
from mpcvit.quantize.quantize import FIRST_LAYER_BITS, quantize

_BATCH = 32

#: What a model costs whose layers (and attentions, of which only the activation bits count) have these widths.
WidthCost = Callable[[Mapping[str, Bits]], float]


class LayerPart(StrEnum):
    """What of a layer has a width of its own."""

    WEIGHT = "weight"
    ACTIVATION = "activation"

    def of(self, bits: Bits) -> int:
        """Return this part's width."""
        return bits.weight if self is LayerPart.WEIGHT else bits.activation

    def at(self, bits: Bits, width: int) -> Bits:
        """Return ``bits`` with this part at another width."""
        return replace(bits, weight=width) if self is LayerPart.WEIGHT else replace(bits, activation=width)


#: Squared error of the logits by layer, part and width.
Losses = dict[tuple[str, LayerPart, int], float]
_LEAST_LOSS = 1e-12


class MixedPrecision:
    """What narrower layers would lose, measured once for any number of budgets.

    Args:
        start: the method and the widths to start with.
        images: calibration pictures, float [count, channels, size, size].
        lowest: widths that no layer goes below. What the first layer reads also keeps ``FIRST_LAYER_BITS`` bits, and
            weights that layers share keep those of ``start``.

    Raises:
        InputError: ``images`` has another shape than the model's input.
    """

    @torch.no_grad()
    def __init__(self, model: VisionTransformer, start: QuantizeConfig, images: torch.Tensor, lowest: Bits) -> None:
        check_images(images, model.config.input_shape)
        self._model, self._start, self._images = model, start, images
        self._reference = with_places(model)
        self._traced = trace(self._reference, images[:1])
        fixed = _fixed_weights(self._reference)
        self._widths = {name: start.bits_of(name) for name in sorted(set(self._traced.layers.values()))}
        self._floors = {}
        for name, bits in self._widths.items():
            activation = max(lowest.activation, FIRST_LAYER_BITS) if name == self._traced.first else lowest.activation
            weight = bits.weight if name in fixed else min(bits.weight, lowest.weight)
            self._floors[name] = Bits(weight=weight, activation=min(bits.activation, activation))
        self._parts = [
            (name, part)
            for name in self._widths
            for part in LayerPart
            if part is LayerPart.ACTIVATION or name not in fixed
        ]

    def least(self, cost: WidthCost) -> float:
        """Return ``cost`` of the lowest widths."""
        return cost(self._floors)

    def cost_of(self, config: QuantizeConfig, cost: WidthCost) -> float:
        """Return ``cost`` of the widths in ``config``."""
        return cost({name: config.bits_of(name) for name in self._widths})

    def within(self, cost: WidthCost, budget: float) -> QuantizeConfig:
        """Return the configuration to start with, with narrower layers, so that ``cost`` is at most ``budget``.

        Args:
            cost: of the widths by layer name; must not grow when a width falls.

        Raises:
            ConfigError: ``quantize`` refuses the start, or even the lowest widths cost more than the budget.
        """
        widths = dict(self._widths)
        least = self.least(cost)
        if least > budget:
            raise ConfigError(
                f"a budget of {budget:g}",
                expected=f"at least {least:g}, the cost at the lowest widths",
                remedy="Raise the budget, or allow fewer bits.",
            )
        while (current := cost(widths)) > budget:
            choices, losses = [], self._losses
            for name, part in self._parts:
                before = part.of(widths[name])
                for lower in range(part.of(self._floors[name]), before):
                    saved = current - cost({**widths, name: part.at(widths[name], lower)})
                    lost = max(losses[name, part, lower] - losses[name, part, before], _LEAST_LOSS)
                    choices.append((saved / lost, -lost, name, part, lower))
            _, _, name, part, lower = max(choices)
            widths[name] = part.at(widths[name], lower)
        layers = tuple((name, bits) for name, bits in widths.items() if bits != self._start.bits)
        return replace(self._start, layers=layers)

    @cached_property
    @torch.no_grad()
    def _losses(self) -> Losses:
        """Of every layer's part alone, from its starting width down, against the logits of the float model."""
        expected = _logits(self._reference, self._images)
        return _losses(self._model, self._start, self._images, expected, self._traced, self._parts, self._floors)


def _fixed_weights(model: VisionTransformer) -> set[str]:
    """Return the names of attentions, which have no weights, and of layers whose weight others have, too."""
    shared = shared_parameters(model)
    return {
        name
        for name, module in model.named_modules()
        if isinstance(module, Attention) or (isinstance(module, QuantLinear) and module.weight in shared)
    }


def _losses(
    model: VisionTransformer,
    start: QuantizeConfig,
    images: torch.Tensor,
    expected: torch.Tensor,
    traced: ForwardTrace,
    parts: list[tuple[str, LayerPart]],
    floors: dict[str, Bits],
) -> Losses:
    """Return the losses, against the logits ``expected``, of every layer's part alone from its starting width down."""
    start = replace(start, reconstruct=False)
    quantized = quantize(model, start, images)
    base = _loss(quantized, images, expected)
    losses = {(name, part, part.of(start.bits_of(name))): base for name, part in parts}
    for part in LayerPart:
        lowered = [
            (name, part.of(floors[name]), part.of(start.bits_of(name))) for name, other in parts if other is part
        ]
        for width in range(min(floor for _, floor, _ in lowered), max(before for *_, before in lowered)):
            names = [name for name, floor, before in lowered if floor <= width < before]
            layers = tuple((name, part.at(start.bits_of(name), width)) for name in names)
            others = tuple((name, bits) for name, bits in start.layers if name not in names)
            narrow = quantize(model, replace(start, layers=layers + others), images)
            for name in names:
                with _grafted(quantized, narrow, _modules(quantized, traced, name)):
                    losses[name, part, width] = _loss(quantized, images, expected)
    return losses


def _modules(quantized: VisionTransformer, traced: ForwardTrace, name: str) -> list[str]:
    """Return the names of the modules that hold what was calibrated for a layer: with the norm that was rewritten for
    it.
    """
    if isinstance(quantized.get_submodule(name), Attention):
        return [place for place, owner in traced.layers.items() if owner == name]
    return [name, traced.norms[name]] if name in traced.norms else [name]


@contextmanager
def _grafted(model: VisionTransformer, donor: VisionTransformer, names: list[str]) -> Iterator[None]:
    """Give ``model`` the donor's modules ``names`` meanwhile."""
    own = {name: model.get_submodule(name) for name in names}
    try:
        for name in names:
            model.set_submodule(name, donor.get_submodule(name))
        yield
    finally:
        for name, module in own.items():
            model.set_submodule(name, module)


def _loss(model: VisionTransformer, images: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the squared error of the logits, per picture."""
    return float((_logits(model, images) - expected).square().sum() / len(images))


def _logits(model: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(batch) for batch in images.split(_BATCH)])
