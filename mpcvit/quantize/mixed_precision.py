"""Greedy mixed precision (MPTQ-ViT, 2024) with a cost of ours as the budget.

All layers start at many bits. Again and again the width of one layer's weights or activations is lowered, where the
cost saved per loss of performance is largest, until the budget holds. What counts as cost is up to the caller: on
secret shares, what gates (comparisons, lookups) read is worth narrowing and linear layers are not (dossier D.6).

The loss is the squared error of the logits on calibration pictures. It is measured once for every layer, part and
width, all others being at their starting widths and nothing being reconstructed, and added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum

import torch

from mpcvit.errors import ConfigError
from mpcvit.models.check_images import check_images
from mpcvit.models.vit import Attention, VisionTransformer
from mpcvit.quantize.capture import Trace, trace
from mpcvit.quantize.config import Bits, QuantizeConfig
from mpcvit.quantize.quantize import FIRST_LAYER_BITS, quantize
from mpcvit.quantize.quantized import with_places

_BATCH = 32

#: What a model costs whose layers (and attentions, of which only the activation bits count) have these widths.
Cost = Callable[[Mapping[str, Bits]], float]


class Part(StrEnum):
    """What of a layer has a width of its own."""

    WEIGHT = "weight"
    ACTIVATION = "activation"

    def of(self, bits: Bits) -> int:
        """This part's width."""
        return bits.weight if self is Part.WEIGHT else bits.activation

    def at(self, bits: Bits, width: int) -> Bits:
        """``bits`` with this part at another width."""
        return replace(bits, weight=width) if self is Part.WEIGHT else replace(bits, activation=width)


#: Squared error of the logits by layer, part and width.
Losses = dict[tuple[str, Part, int], float]
_LEAST_LOSS = 1e-12


@torch.no_grad()
def mixed_precision(
    model: VisionTransformer,
    start: QuantizeConfig,
    images: torch.Tensor,
    cost: Cost,
    budget: float,
    lowest: Bits,
) -> QuantizeConfig:
    """``start`` with narrower layers, so that ``cost`` is at most ``budget``.

    Quantizes the model once for every width below those in ``start``, for weights and for activations.

    Args:
        start: the method and the widths to start with.
        images: calibration pictures, float [count, channels, size, size].
        cost: of the widths by layer name; must not grow when a width falls.
        lowest: widths that no layer goes below. What the first layer reads also keeps ``FIRST_LAYER_BITS`` bits.

    Raises:
        InputError: ``images`` has another shape than the model's input.
        ConfigError: ``quantize`` refuses ``start``, or even the lowest widths cost more than the budget.
    """
    check_images(images, model.config.input_shape)
    reference = with_places(model)
    traced = trace(reference, images[:1])
    attentions = {name for name, module in reference.named_modules() if isinstance(module, Attention)}
    widths = {name: start.bits_of(name) for name in sorted(set(traced.layers.values()))}
    floors = {}
    for name, bits in widths.items():
        activation = max(lowest.activation, FIRST_LAYER_BITS) if name == traced.first else lowest.activation
        weight = bits.weight if name in attentions else min(bits.weight, lowest.weight)
        floors[name] = Bits(weight=weight, activation=min(bits.activation, activation))
    parts = [(name, part) for name in widths for part in Part if part is Part.ACTIVATION or name not in attentions]
    least = cost(floors)
    if least > budget:
        raise ConfigError(
            f"a budget of {budget:g}",
            expected=f"at least {least:g}, the cost at the lowest widths",
            remedy="Raise the budget, or allow fewer bits.",
        )
    losses = _losses(model, start, images, _logits(reference, images), traced, parts, floors)
    while (current := cost(widths)) > budget:
        choices = []
        for name, part in parts:
            before = part.of(widths[name])
            for lower in range(part.of(floors[name]), before):
                saved = current - cost({**widths, name: part.at(widths[name], lower)})
                lost = max(losses[name, part, lower] - losses[name, part, before], _LEAST_LOSS)
                choices.append((saved / lost, -lost, name, part, lower))
        _, _, name, part, lower = max(choices)
        widths[name] = part.at(widths[name], lower)
    return replace(start, layers=tuple((name, bits) for name, bits in widths.items() if bits != start.bits))


def _losses(
    model: VisionTransformer,
    start: QuantizeConfig,
    images: torch.Tensor,
    expected: torch.Tensor,
    traced: Trace,
    parts: list[tuple[str, Part]],
    floors: dict[str, Bits],
) -> Losses:
    """The losses, against the logits ``expected``, of every layer's part alone from its starting width down."""
    start = replace(start, reconstruct=False)
    quantized = quantize(model, start, images)
    base = _loss(quantized, images, expected)
    losses = {(name, part, part.of(start.bits_of(name))): base for name, part in parts}
    for part in Part:
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


def _modules(quantized: VisionTransformer, traced: Trace, name: str) -> list[str]:
    """The names of the modules that hold what was calibrated for a layer: with the norm that was rewritten for it."""
    if isinstance(quantized.get_submodule(name), Attention):
        return [place for place, owner in traced.layers.items() if owner == name]
    return [name, traced.norms[name]] if name in traced.norms else [name]


@contextmanager
def _grafted(model: VisionTransformer, donor: VisionTransformer, names: list[str]) -> Iterator[None]:
    """``model`` with the donor's modules ``names`` meanwhile."""
    own = {name: model.get_submodule(name) for name in names}
    try:
        for name in names:
            model.set_submodule(name, donor.get_submodule(name))
        yield
    finally:
        for name, module in own.items():
            model.set_submodule(name, module)


def _loss(model: VisionTransformer, images: torch.Tensor, expected: torch.Tensor) -> float:
    """Squared error of the logits, per picture."""
    return float((_logits(model, images) - expected).square().sum() / len(images))


def _logits(model: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(batch) for batch in images.split(_BATCH)])
