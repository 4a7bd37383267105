"""What a quantized model becomes on secret shares: plain weights, coarser values at gates, and no clamps.

On shares any weight costs the same, so quantized weights are simply the weights; scales and zero points that methods
have moved into norms and weights stay there. Activations are fixed point without clamps, which would cost two
comparisons an element. Low widths pay only where a gate makes the value: comparisons look at fewer bits, splines need
fewer knots (:attr:`mpcvit.export.builder.Precision.steps`). There a uniform quantizer's step is kept, rounded down to a
power of two; everywhere else, and for logarithms and twin ranges, values have the ordinary step, which is finer. A
quadratic activation is no gate, and export reads and gives it in other units (:mod:`mpcvit.export.fold_mlp`).
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

import torch

from mpcvit.models.config import Activation, AttentionKind
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.adalog import AdaLog
from mpcvit.quantize.power_of_two import PowerOfTwo
from mpcvit.quantize.quantized import QuantLinear, places, quantizers, without_places
from mpcvit.quantize.quantizer import Quantizer
from mpcvit.quantize.uniform import Uniform

#: Steps whose keys depend on a layer's activation bits: a block's activation, and its ReLU-softmax weights.
_GATE = re.compile(rf"block(\d+)\.(act\b|attn\.{AttentionKind.RELU_SOFTMAX}\.weights\b).*")
_PLACE = re.compile(r"blocks\.(\d+)\.(.+)")
_COARSE = "fixed point with the largest power of two below the step, not clamped"
_ORDINARY = "ordinary fixed point, finer and not clamped"
#: Activations that are gates.
_GATES = frozenset({Activation.GELU, Activation.RELU})
#: A gate reads its input this much finer than its result is known, so that rounding both costs little more than one.
_READ_FINER = 2


@dataclass(frozen=True)
class Replacement:
    """A quantizer that the secure path does not have.

    Attributes:
        places: where it sits, by name.
        quantizer: its kind and width.
        instead: what the secure path does there.
    """

    places: tuple[str, ...]
    quantizer: str
    instead: str


@dataclass(frozen=True)
class Lowered:
    """A quantized model as export takes it.

    Attributes:
        model: without quantizers; its weights are the quantized ones.
        steps: for ``Precision.steps``.
        replaced: what is different from the quantized model.
    """

    model: VisionTransformer
    steps: tuple[tuple[str, float], ...]
    replaced: tuple[Replacement, ...]


@torch.no_grad()
def lower(quantized: VisionTransformer) -> Lowered:
    """What ``quantized`` (of :func:`mpcvit.quantize.quantize`, not changed) is on secret shares."""
    found = quantizers(quantized)
    values = {place: _values(place, quantizer, quantized) for place, quantizer in found.items()}
    steps = {name: step for its_values in values.values() for name, step in its_values.items()}
    coarse = {place for place, its_values in values.items() if its_values}
    return Lowered(without_places(_without_shifts(quantized)), tuple(sorted(steps.items())), _replaced(found, coarse))


def narrowing_layer(step: str) -> str | None:
    """The layer whose activation bits decide what the Program's step called ``step`` costs; None if no layer's do."""
    match = _GATE.fullmatch(step)
    if match is None:
        return None
    return f"blocks.{match[1]}." + ("mlp.fc2" if match[2] == "act" else "attn")


def _without_shifts(quantized: VisionTransformer) -> VisionTransformer:
    """A copy in which no layer's bias has taken up a shift of its input's quantizer."""
    clear = copy.deepcopy(quantized)
    for name, quantizer in quantizers(clear).items():
        layer = places(clear)[name].module
        if isinstance(quantizer, AdaLog) and not quantizer.restore and isinstance(layer, QuantLinear):
            layer.add_to_bias(quantizer.shift * layer.quantized_weight().sum(dim=1))
            quantizer.restore = True
    return clear


def _values(place: str, quantizer: Quantizer, model: VisionTransformer) -> dict[str, float]:
    """The values that a gate makes or reads for this quantizer, and how coarse they may be; none if it has no gate."""
    step, match = _step(quantizer), _PLACE.fullmatch(place)
    if step is None or match is None:
        return {}
    block, weights = f"block{match[1]}", f"attn.{AttentionKind.RELU_SOFTMAX}"
    if match[2] == "mlp.fc2.quantize_input" and model.config.activations[int(match[1])] in _GATES:
        return {f"{block}.act": step, f"{block}.fc1": step / _READ_FINER}
    if match[2] == f"attn.kernels.{AttentionKind.RELU_SOFTMAX}.quantize_weights":
        return {f"{block}.{weights}.weights": step, f"{block}.{weights}.scores": step / _READ_FINER}
    return {}


def _step(quantizer: Quantizer) -> float | None:
    """The step between codes; None where it is not the same everywhere."""
    if isinstance(quantizer, Uniform) and quantizer.scale.numel() == 1:
        return float(quantizer.scale)
    return float(torch.exp2(-quantizer.frac)) if isinstance(quantizer, PowerOfTwo) else None


def _replaced(found: dict[str, Quantizer], coarse: set[str]) -> tuple[Replacement, ...]:
    """Activations' quantizers by what becomes of them; weights' are kept as they are.

    Args:
        coarse: places whose step is kept.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for place, quantizer in found.items():
        if not place.endswith("quantize_weight"):
            instead = _COARSE if place in coarse else _ORDINARY
            groups.setdefault((f"{quantizer.kind}, {quantizer.bits} bits", instead), []).append(place)
    return tuple(Replacement(tuple(places), *what) for what, places in groups.items())
